"""The cache of arrays that take long to make."""

import os

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.array_files import cached_arrays, files_key


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache folder."""
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def counting(calls, arrays):
    """A function that makes arrays and counts its calls."""

    def make():
        calls.append(1)
        return arrays

    return make


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
