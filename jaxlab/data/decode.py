"""Compressed images to arrays, and a cache of whole decoded sets."""

import contextlib
import hashlib
import io
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxlab.core.compilation import cache_folder
from jaxlab.core.errors import InputError

__all__ = ["cached_arrays", "decode_image", "files_key", "read_npz", "resize_images"]

# What reading raises for a file that is absent, damaged or no `.npz` at all.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    zipfile.BadZipFile,
    zlib.error,
)


_GREY = ("1", "L", "LA")


def decode_image(data: bytes, size: int, channels: int = 0) -> np.ndarray:
    """Decode PNG, JPEG and the like to uint8 `(y, x, c)`.

    Args:
        data: The file's bytes.
        size: Pixels a side after scaling the shorter side and cropping the centre; 0
            leaves the image as it is.
        channels: 1 or 3; 0: as stored (1 for grey, else 3).

    Raises:
        InputError: If the bytes are not an image.
    """
    try:
        stored: Image.Image = Image.open(io.BytesIO(data))
        stored.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise InputError(f"not a readable image: {error}") from None
    if stored.mode.startswith("I"):  # 16 bits and more, which PIL would clip
        wide = np.asarray(stored).clip(0, 2**16 - 1)
        stored = Image.fromarray((wide / 257).round().astype(np.uint8))
    is_grey = channels == 1 or (channels == 0 and stored.mode in _GREY)
    image: Image.Image = stored.convert("L" if is_grey else "RGB")
    if size:
        image = _resize_and_crop(image, size)
    array = np.asarray(image)
    return array[..., None] if is_grey else array


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """Scale and crop uint8 images `(n, y, x, c)` to `(n, size, size, c)`."""
    resized = [
        np.asarray(_resize_and_crop(Image.fromarray(image.squeeze()), size))
        for image in images
    ]
    return np.stack(resized).reshape(len(images), size, size, images.shape[-1])


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    scale = size / min(width, height)
    if scale != 1:
        shape = (max(round(width * scale), size), max(round(height * scale), size))
        image = image.resize(shape, Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def files_key(files: Iterable[pathlib.Path], *details: Any) -> str:
    """Make a key that changes when one of the files does (by size and time)."""
    digest = hashlib.sha256(repr(details).encode())
    for file in sorted(files):
        stat = file.stat()
        digest.update(f"{file.absolute()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def read_npz(file: pathlib.Path) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` file.

    Raises:
        InputError: If the file is absent, damaged, or holds Python objects.
    """
    try:
        with file.open("rb") as stream, np.load(stream) as saved:
            return dict(saved)
    except _UNREADABLE as error:
        raise InputError(f"{file} is not a readable .npz file: {error}") from None


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
