"""Compressed images to arrays."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from jaxlab.core.errors import InputError
from jaxlab.data.images.decode import decode_image, resize_images, stored_channels
from tests.damage import check_reader
from tests.data.images.image_files import encoded


@pytest.fixture
def color(rng):
    return rng.integers(0, 256, (6, 9, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "ppm"])
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
    for kind in ("png", "tiff", "ppm"):
        decoded = decode_image(encoded(values, kind), 0)
        np.testing.assert_array_equal(decoded[..., 0], [[0, 1, 128, 255]])


def test_arrays_are_resized_as_files_are(rng):
    pixels = rng.integers(0, 255, (2, 6, 8, 3), dtype=np.uint8)
    for image, resized in zip(pixels, resize_images(pixels, 4), strict=True):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        np.testing.assert_array_equal(resized, decode_image(stream.getvalue(), 4))
    assert resize_images(pixels[..., :1], 4).shape == (2, 4, 4, 1)


def saved(image, kind="png", **options):
    """The bytes of a PIL image's file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_images_of_one_row_are_resized_too():
    pixels = np.full((2, 1, 5, 1), 7, np.uint8)
    assert (resize_images(pixels, 2) == 7).all()


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), "floating-point"),
        (np.full((3, 4), 70_000, np.int32), "numbers of 32 bits, signed"),
    ],
)
def test_numbers_without_a_range_are_refused(pixels, reason):
    with pytest.raises(InputError, match=f"{reason}.*save it with 8 or 16 bits"):
        decode_image(encoded(pixels, "tiff"), 0)


def test_signed_numbers_are_refused():
    content = encoded(np.full((3, 4), 9, np.uint16), "tiff", tiffinfo={339: 2})
    with pytest.raises(InputError, match="numbers of 16 bits, signed"):
        decode_image(content, 0)


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_an_orientation_is_applied(color, kind):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter to the right
    options = {"lossless": True} if kind == "webp" else {}
    content = encoded(color, kind, exif=turned, **options)
    np.testing.assert_array_equal(decode_image(content, 0), np.rot90(color, -1))


def test_what_is_transparent_lies_on_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[..., 3] = 255, 0, 51  # opaque, clear, a fifth
    decoded = decode_image(encoded(pixels), 0)
    assert decoded[0].tolist() == [[0] * 3, [255] * 3, [204] * 3]
    grey = decode_image(encoded(pixels[..., 2:]), 0)
    assert grey[0].tolist() == [[0], [255], [204]]


def test_one_value_or_colour_of_a_palette_may_be_transparent():
    grey = np.array([[0, 7, 255]], np.uint8)
    decoded = decode_image(encoded(grey, transparency=7), 0)
    assert decoded[0, :, 0].tolist() == [0, 255, 255]
    deep = decode_image(encoded(grey.astype(np.uint16) * 257, transparency=7 * 257), 0)
    assert deep[0, :, 0].tolist() == [0, 255, 255]
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    decoded = decode_image(saved(palette), 0)
    assert decoded[0].tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    decoded = decode_image(saved(palette, transparency=1), 0)
    assert decoded[0].tolist() == [[10, 20, 30], [255] * 3, [70, 80, 90]]


def test_colours_of_print_become_those_of_a_screen():
    red = Image.new("CMYK", (2, 2), (0, 255, 255, 0))
    for kind in ("tiff", "jpeg"):
        decoded = decode_image(saved(red, kind), 0)
        assert decoded[0, 0].tolist() == [255, 0, 0]


def test_the_head_of_a_file_tells_grey_from_colour(tmp_path, color):
    file = tmp_path / "a.png"
    for pixels in (color, color[..., 0], color[..., :2], color[..., 0].astype("u2")):
        file.write_bytes(encoded(pixels))
        assert stored_channels(file) == decode_image(file.read_bytes(), 0).shape[2]
    file.write_bytes(b"no image")
    with pytest.raises(InputError, match="not a readable image: it is none of PNG"):
        stored_channels(file)


def test_files_that_run_other_programs_are_not_opened():
    script = saved(Image.new("L", (2, 2)), "eps")
    with pytest.raises(InputError, match="it is none of PNG"):
        decode_image(script, 0)


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")  # PIL's, of damaged tags
@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "gif", "tiff", "ppm", "webp"])
def test_damaged_files_are_refused_or_have_the_shape_of_their_head(kind, tmp_path, rng):
    pixels = rng.integers(0, 256, (24, 17, 3), dtype=np.uint8)
    file = tmp_path / f"a.{kind}"
    file.write_bytes(encoded(pixels, kind))
    expected = decode_image(file.read_bytes(), 0)

    def read(file: pathlib.Path):
        content = file.read_bytes()
        try:
            decoded = decode_image(content, 0)
        except InputError as error:
            raise InputError(f"{file.name}: {error}") from None
        with Image.open(io.BytesIO(content)) as head:
            return decoded, head.size

    def is_right(found):
        decoded, (width, height) = found
        if kind == "png":  # whose every part has a checksum
            return np.array_equal(decoded, expected)
        is_whole = decoded.dtype == np.uint8 and decoded.ndim == 3
        # A damaged orientation is another one.
        return is_whole and sorted(decoded.shape[:2]) == sorted((height, width))

    check_reader(read, file, is_right)
