"""Reading arrays from a file, each byte of them checked."""

import lzma
import pathlib
import struct
import tokenize
import zipfile
import zlib

import numpy as np

from jaxlab.core.errors import InputError

__all__ = ["read_npz"]

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
    SyntaxError,  # of the header of an array
    tokenize.TokenError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(file: pathlib.Path) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` file, the checksum of each verified.

    Raises:
        InputError: If the file is absent, damaged, or holds anything but arrays, such
            as Python objects. What was raised first is its cause.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return {
                name.removesuffix(".npy"): _array(archive, name)
                for name in archive.namelist()
            }
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{file} is not a readable .npz file: {reason}") from error


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as part:
        magic = np.lib.format.MAGIC_PREFIX
        if part.peek(len(magic))[: len(magic)] != magic:  # type: ignore[attr-defined]
            raise ValueError(f"{name} is no array")
        array = np.lib.format.read_array(part, allow_pickle=False)
        # NumPy reads no more than a header asks for, be it damaged; the checksum is
        # looked at where the part ends.
        if part.read(1):
            raise ValueError(f"{name} is not what was written: bytes are left over")
    return array
