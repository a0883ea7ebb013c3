"""Tables: `find` finds one by name or path, `sources` load, `columns` give types."""
