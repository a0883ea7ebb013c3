"""Arrays of a file are read whole, or not at all."""

import zipfile

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.files.npz import read_npz
from tests.damage import check_reader


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


def test_a_damaged_header_that_asks_for_less_is_refused(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, x=np.arange(1000))
    file.write_bytes(file.read_bytes().replace(b"(1000,)", b"(100 ,)"))
    with pytest.raises(InputError, match=r"x\.npy is not what was written"):
        read_npz(file)


def test_an_archive_of_other_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
    with pytest.raises(InputError, match=r"notes\.txt is no array"):
        read_npz(tmp_path / "a.npz")


def test_a_single_array_is_no_npz_file(tmp_path):
    with (tmp_path / "a.npz").open("wb") as stream:
        np.save(stream, np.ones(3))
    with pytest.raises(InputError, match="not a readable"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.fuzz
def test_no_damaged_archive_of_arrays_passes(tmp_path, rng):
    arrays = {"x": rng.integers(0, 256, (5, 4, 4)), "y": np.arange(5)}
    file = tmp_path / "a.npz"
    np.savez_compressed(file, **arrays)

    def is_right(found):
        return all(np.array_equal(found[name], arrays[name]) for name in found)

    assert check_reader(read_npz, file, is_right) > 0
    np.savez(file, **arrays)
    assert check_reader(read_npz, file, is_right) > 0
