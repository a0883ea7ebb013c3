"""Files of arrays, and a cache of arrays that take long to make."""

import contextlib
import hashlib
import lzma
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxlab.core.compilation import cache_folder
from jaxlab.core.errors import InputError

__all__ = ["cached_arrays", "files_key", "read_npz"]

# What reading raises for a file that is absent, damaged or no `.npz` at all.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    MemoryError,
    OverflowError,
    RuntimeError,  # encrypted, or packed in a way that Python does not know
    SyntaxError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(file: pathlib.Path) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` file, the checksum of each verified.

    Raises:
        InputError: If the file is absent, damaged, or holds anything but arrays, such
            as Python objects.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            # NumPy reads no more than a header asks for, be it damaged; checksums are
            # looked at where a part ends.
            if bad := archive.testzip():
                raise ValueError(f"{bad} is not what was written")
        with np.load(file) as saved:
            arrays = dict(saved)
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is no array")
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{file} is not a readable .npz file: {reason}") from None
    return arrays


def files_key(files: Iterable[pathlib.Path], *details: Any) -> str:
    """Make a key that changes when one of the files does (by size and time)."""
    digest = hashlib.sha256(repr(details).encode())
    for file in sorted(files):
        stat = file.stat()
        digest.update(f"{file.absolute()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def cached_arrays(
    key: str, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Make arrays once and keep them below `cache_folder()`.

    A cache that cannot be read is made again; one that cannot be written is skipped.
    """
    file = cache_folder() / "images" / f"{key}.npz"
    with contextlib.suppress(InputError):
        return read_npz(file)
    arrays = make()
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        part.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
    return arrays
