"""The file of a fitted model, told in a model's words."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError, WriteError
from jaxlab.core.files.npz import read_npz
from jaxlab.core.files.replaced import replaced

__all__ = ["read_arrays", "write_arrays"]


def write_arrays(path: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` file: a reader, or a kill, never meets half of one.

    Raises:
        WriteError: If it cannot be written; a file that was there is then as it was.
    """
    try:
        with replaced(pathlib.Path(path)) as part, part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error}); give another path, "
            "or make room"
        ) from error


def read_arrays(path: Any) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` file, each byte of them checked.

    Raises:
        InputError: If the file is absent, damaged, or holds Python objects.
    """
    try:
        return read_npz(pathlib.Path(path))
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(
                f"{path} is not there; give a file of save_model"
            ) from error
        raise InputError(
            f"{path} is no model of save_model, or not a whole one; save it again"
        ) from error
