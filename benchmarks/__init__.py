"""Measurements beside the peers, in the same run: `make bench`."""
