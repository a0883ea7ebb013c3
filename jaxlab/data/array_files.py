"""A cache of arrays that take long to make."""

import contextlib
import hashlib
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxlab.core.compilation import cache_folder
from jaxlab.core.errors import InputError
from jaxlab.core.files.npz import read_npz
from jaxlab.core.files.replaced import replaced

__all__ = ["cached_arrays", "files_key"]


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
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replaced(file) as part, part.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
    return arrays
