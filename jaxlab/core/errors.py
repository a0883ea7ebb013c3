"""The one exception for what a user can mend, and the checks that many files share."""

import difflib
import pathlib
import re
from collections.abc import Iterable
from typing import Any, get_args

__all__ = ["InputError", "WriteError", "check_choice", "local_path", "meant"]


class InputError(ValueError):
    """A value that the user gave cannot be used.

    The message names the value, what is allowed and the way out, in one sentence that
    a command line can print as it is. Bugs raise other exceptions, with a traceback.
    """


class WriteError(InputError):
    """A file could not be written: the disk is full, say. What was there is whole."""


def meant(name: str, names: Iterable[str]) -> str:
    """Ask whether the closest of the names was meant, if one is close.

    Returns:
        The question in brackets, to be put right after the name; or nothing.

    Examples:
        >>> meant("CIFAR-10", ["cifar10", "mnist"])
        " (did you mean 'cifar10'?)"
        >>> meant("flowers", ["cifar10", "mnist"])
        ''
    """
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""


def check_choice(name: str, value: str, choices: Any) -> None:
    """Check a word against a `Literal` type.

    Raises:
        InputError: If it is none of its words.
    """
    words = get_args(choices)
    if value not in words:
        close = meant(str(value), words)
        raise InputError(f"{name} {value!r}{close} is not one of {', '.join(words)}")


def local_path(name: str, text: str) -> pathlib.Path:
    """Return the path that a user gave, with `~` as the home folder.

    Args:
        name: What the user calls it, such as `--run-dir`.
        text: What the user gave.

    Raises:
        InputError: If it is an address, such as `gs://bucket/run`, of which a folder
            `gs:` would be made; or a home folder that is none.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise InputError(
            f"{name} {text!r} is an address, and files are read and written on disks "
            "alone; give the path of a folder or file, such as that of a mounted bucket"
        )
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError:  # ~nobody
        raise InputError(
            f"{name} {text!r} begins with a home folder that is not there; give the "
            "whole path"
        ) from None
