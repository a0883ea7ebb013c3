"""The one exception for what a user can mend."""

from typing import Any, get_args

__all__ = ["InputError", "WriteError", "check_choice"]


class InputError(ValueError):
    """A value that the user gave cannot be used.

    The message names the value, what is allowed and the way out, in one sentence that
    a command line can print as it is. Bugs raise other exceptions, with a traceback.
    """


class WriteError(InputError):
    """A file could not be written: the disk is full, say. What was there is whole."""


def check_choice(name: str, value: str, choices: Any) -> None:
    """Check a word against a `Literal` type.

    Raises:
        InputError: If it is none of its words.
    """
    if value not in get_args(choices):
        known = ", ".join(get_args(choices))
        raise InputError(f"{name} {value!r} is not one of {known}")
