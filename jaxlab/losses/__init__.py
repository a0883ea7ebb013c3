"""Losses as pure functions of outputs and targets, one family a file."""
