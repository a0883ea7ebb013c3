"""Compressed images to arrays."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxlab.core.errors import InputError
from jaxlab.data.images.decode import decode_image, resize_images


@pytest.fixture
def color(rng):
    return rng.integers(0, 256, (6, 9, 3)).astype(np.uint8)


def encoded(array, kind="png"):
    """The bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
def test_lossless_files_give_the_pixels_that_were_written(color, kind):
    np.testing.assert_array_equal(decode_image(encoded(color, kind), 0), color)


def test_a_grey_image_has_one_channel_unless_three_are_asked_for(color):
    grey = color[..., 0]
    np.testing.assert_array_equal(decode_image(encoded(grey), 0), grey[..., None])
    tripled = decode_image(encoded(grey), 0, channels=3)
    np.testing.assert_array_equal(tripled, np.stack([grey] * 3, -1))
    assert decode_image(encoded(color), 0, channels=1).shape == (6, 9, 1)


def test_an_alpha_channel_is_left_out(color):
    with_alpha = np.concatenate([color, np.full((6, 9, 1), 255, np.uint8)], -1)
    np.testing.assert_array_equal(decode_image(encoded(with_alpha), 0), color)


@pytest.mark.parametrize("size", [1, 3, 6, 12])
@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (7, 7), (6, 31)])
def test_a_size_makes_squares_of_any_shape(size, shape):
    image = np.full((*shape, 3), 77, np.uint8)
    result = decode_image(encoded(image), size)
    assert result.shape == (size, size, 3)
    assert (result == 77).all()


def test_a_size_of_the_shorter_side_crops_the_centre(color):
    np.testing.assert_array_equal(decode_image(encoded(color), 6), color[:, 1:7])


def test_bytes_that_are_no_image_are_an_input_error(color):
    for data in (b"", b"no image", encoded(color)[:40]):
        with pytest.raises(InputError, match="not a readable image"):
            decode_image(data, 0)


def test_an_absurdly_large_image_is_an_input_error(color, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # an error above twice that
    with pytest.raises(InputError, match="exceeds limit"):
        decode_image(encoded(color), 0)


def test_deep_grey_images_are_scaled_and_not_clipped():
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    decoded = decode_image(stream.getvalue(), 0)
    np.testing.assert_array_equal(decoded[..., 0], [[0, 1, 128, 255]])


def test_arrays_are_resized_as_files_are(rng):
    pixels = rng.integers(0, 255, (2, 6, 8, 3), dtype=np.uint8)
    for image, resized in zip(pixels, resize_images(pixels, 4), strict=True):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        np.testing.assert_array_equal(resized, decode_image(stream.getvalue(), 4))
    assert resize_images(pixels[..., :1], 4).shape == (2, 4, 4, 1)
