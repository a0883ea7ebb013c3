"""Arrays in a file, whole or not at all: written beside it, moved there, verified."""

import io
import lzma
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError, WriteError

__all__ = ["read_arrays", "write_arrays"]

# What reading raises for a file that is damaged or no `.npz` at all.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,  # encrypted, or packed in a way that Python does not know
    MemoryError,
    OverflowError,
    SyntaxError,  # of the header of an array
    TypeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def write_arrays(path: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` file: a reader, or a kill, never meets half of one.

    Raises:
        WriteError: If it cannot be written; a file that was there is then as it was.
    """
    path = pathlib.Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with part.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
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
        with open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
            # `read` looks at a part's checksum; `np.load` may stop before it.
            return {
                name.removesuffix(".npy"): _array(archive.read(name))
                for name in archive.namelist()
            }
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; give a file of save_model") from error
    except _UNREADABLE as error:
        raise InputError(
            f"{path} is no model of save_model, or not a whole one; save it again"
        ) from error


def _array(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    array = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.read(1):
        raise ValueError("more bytes than its shape says")
    return array
