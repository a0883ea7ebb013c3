"""Compressed images to arrays of one size."""

import io
import pathlib
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxlab.core.errors import InputError

__all__ = ["decode_image", "resize_images", "stored_channels"]

# What is read; PIL knows others, one of which runs another program (EPS).
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_BITS_PER_SAMPLE = 258  # the tag of TIFF
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode_image(data: bytes, size: int, channels: int = 0) -> np.ndarray:
    """Decode a PNG, JPEG, BMP, GIF, WebP, TIFF, PPM or PGM file to uint8 `(y, x, c)`.

    The image is turned as its EXIF orientation says; 16 bits are scaled to 8; what is
    transparent lies on white; of several frames the first counts. Numbers without a
    range of their own, which are floating-point or 32 bits wide, are refused.

    Args:
        data: The file's bytes.
        size: Pixels a side after scaling the shorter side and cropping the centre; 0
            leaves the image as it is.
        channels: 1 or 3; 0: as stored (1 for grey, else 3).

    Raises:
        InputError: If the bytes are not an image, or one without a range.
    """
    try:
        _check_chunks(data)
        stored: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
        is_grey = channels == 1 or (channels == 0 and stored.mode in _GREY)
        _check_range(stored)
        stored.load()
        image = _eight_bits(ImageOps.exif_transpose(stored), is_grey)
    except InputError:
        raise
    except Exception as error:  # PIL raises anything for damaged files
        raise _unreadable(error) from None
    if size:
        image = _resize_and_crop(image, size)
    array = np.asarray(image)
    return array[..., None] if is_grey else array


def stored_channels(path: pathlib.Path) -> int:
    """Read from the head of a file whether it is grey (1) or in colour (3).

    Raises:
        InputError: If the file is not an image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as stored:
            return 1 if stored.mode in _GREY else 3
    except Exception as error:  # PIL raises anything for damaged files
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = f"it is none of {', '.join(_FORMATS)}, or damaged"
    return InputError(f"not a readable image: {reason}")


def _check_chunks(data: bytes) -> None:
    """Compare the checksums of a PNG file, which PIL does for some of its parts.

    Raises:
        ValueError: If one differs.
    """
    place = len(_PNG_SIGNATURE)
    if not data.startswith(_PNG_SIGNATURE):
        return
    while place < len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4])
        kind = data[place + 4 : place + 8]
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise ValueError(f"the checksum of its part {kind!r} is wrong")
        if kind == b"IEND":
            return
        place = end + 4


def _check_range(stored: Image.Image) -> None:
    """Refuse numbers of which nobody says what is black and what is white."""
    if stored.mode == "F":
        raise InputError(
            "its pixels are floating-point numbers, which have no range of their own; "
            "save it with 8 or 16 bits"
        )
    bits = getattr(stored, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    # PIL holds the 16 bits of a PGM file in 32; the 16 of a TIFF file may be signed.
    is_wide = stored.mode == "I" and stored.format not in ("PNG", "PPM")
    if is_wide or (stored.mode.startswith("I;") and bits != 16):
        raise InputError(
            f"its pixels are numbers of {bits} bits, signed or without a range of "
            "their own; save it with 8 or 16 bits, unsigned"
        )


def _eight_bits(image: Image.Image, is_grey: bool) -> Image.Image:
    """Bring the pixels of any kind of image to 8 bits, grey or red, green and blue."""
    if image.mode.startswith("I"):  # 16 bits, which PIL would clip
        wide = np.asarray(image)
        # One value may stand for what is transparent; the rest has none.
        clear = wide == image.info.get("transparency", -1)
        pixels = np.where(clear, 255, (wide / 257).round())
        image = Image.fromarray(pixels.astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if is_grey else "RGB")


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """Scale and crop uint8 images `(n, y, x, c)` to `(n, size, size, c)`."""
    is_grey = images.shape[-1] == 1
    resized = [
        np.asarray(_resize_and_crop(Image.fromarray(image), size))
        for image in (images[..., 0] if is_grey else images)
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
