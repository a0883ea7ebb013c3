"""Compressed images to arrays, and the cache of decoded sets."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from jaxlab.core.errors import InputError
from jaxlab.data.decode import (
    cached_arrays,
    decode_image,
    files_key,
    read_npz,
    resize_images,
)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache folder."""
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def color(rng):
    return rng.integers(0, 256, (6, 9, 3)).astype(np.uint8)


def encoded(array, kind="png"):
    """The bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def counting(calls, arrays):
    """A function that makes arrays and counts its calls."""

    def make():
        calls.append(1)
        return arrays

    return make


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


def test_arrays_are_made_once_and_read_the_second_time(cache):
    arrays = {"x": np.arange(6, dtype=np.uint8).reshape(2, 3), "y": np.array(["a"])}
    calls = []
    for _ in range(2):
        found = cached_arrays("key", counting(calls, arrays))
        assert set(found) == {"x", "y"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    assert len(calls) == 1
    cached_arrays("another", counting(calls, arrays))
    assert len(calls) == 2
    assert sorted(file.name for file in cache.iterdir()) == ["another.npz", "key.npz"]


@pytest.mark.parametrize("damage", [b"", b"garbage", b"PK\x03\x04 half a zip file"])
def test_a_damaged_cache_is_made_again(cache, damage):
    calls = []
    make = counting(calls, {"x": np.arange(1000)})
    cached_arrays("key", make)
    (cache / "key.npz").write_bytes(damage)
    for _ in range(2):
        assert cached_arrays("key", make)["x"][-1] == 999
    assert len(calls) == 2


@pytest.mark.parametrize("place", [100, 4000, -30])
def test_a_cache_cut_short_or_with_a_changed_byte_is_made_again(cache, place):
    make = counting([], {"x": np.arange(1000)})
    cached_arrays("key", make)
    file = cache / "key.npz"
    whole = file.read_bytes()
    file.write_bytes(whole[:place])
    assert cached_arrays("key", make)["x"].sum() == 999 * 500
    changed = bytearray(whole)
    changed[place] ^= 255
    file.write_bytes(changed)
    assert cached_arrays("key", make)["x"].sum() == 999 * 500


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_is_read_whole_or_not_at_all(tmp_path, save):
    file = tmp_path / "a.npz"
    save(file, x=np.arange(1000), y=np.ones((2, 3)))
    found = read_npz(file)
    np.testing.assert_array_equal(found["x"], np.arange(1000))
    np.testing.assert_array_equal(found["y"], np.ones((2, 3)))
    changed = bytearray(file.read_bytes())
    changed[200:204] = b"\xff\xff\xff\xff"
    file.write_bytes(changed)
    with pytest.raises(InputError, match=r"a\.npz is not a readable \.npz file"):
        read_npz(file)


def test_a_single_array_is_no_npz_file(tmp_path):
    with (tmp_path / "a.npz").open("wb") as stream:
        np.save(stream, np.ones(3))
    with pytest.raises(InputError, match="not a readable"):
        read_npz(tmp_path / "a.npz")


def test_a_failure_while_making_or_writing_leaves_nothing_behind(cache, monkeypatch):
    def fail():
        raise InputError("no data")

    with pytest.raises(InputError, match="no data"):
        cached_arrays("key", fail)

    def full(stream, **arrays):
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", full)
    assert cached_arrays("key", lambda: {"x": np.ones(2)})["x"].sum() == 2
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_skipped(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path / "file"))
    assert cached_arrays("key", lambda: {"x": np.ones(2)})["x"].sum() == 2


def test_a_key_changes_with_the_files_and_the_details(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text("one")
    key = files_key(files, "train", 0)
    assert key == files_key(reversed(files), "train", 0)
    assert key != files_key(files, "test", 0)
    assert key != files_key(files, "train", 32)
    assert key != files_key(files[:1], "train", 0)
    os.utime(files[0], (1, 1))
    later = files_key(files, "train", 0)
    assert later != key
    files[1].write_text("longer")
    assert files_key(files, "train", 0) != later


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
