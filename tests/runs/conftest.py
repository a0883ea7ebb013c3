"""The small regression of the trainer's tests, whose folders are looked at here."""

from tests.train.conftest import open_run, problem

__all__ = ["open_run", "problem"]
