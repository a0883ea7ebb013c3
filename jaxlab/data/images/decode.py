"""Compressed images to arrays of one size."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxlab.core.errors import InputError

__all__ = ["decode_image", "resize_images"]

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
