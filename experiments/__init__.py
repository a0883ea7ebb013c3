"""Experiments: each file one small study, run as `python -m experiments.NAME`."""
