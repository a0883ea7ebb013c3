"""Texts: `find` finds a set by name or path; `pairs` and `windows` make batches."""
