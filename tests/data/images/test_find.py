"""Finding an image set by name or path."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from jaxlab.core.errors import InputError
from jaxlab.data.download import data_folder
from jaxlab.data.images import archives, tfds_images
from jaxlab.data.images.find import find_images
from jaxlab.data.images.image_set import ArraySource, ImageData, ImageSplits


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch, tmp_path):
    """Work in an empty folder, where TFDS keeps nothing either."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """Record what TFDS, which has nothing, and the archives are asked for."""
    asked = []
    source = ArraySource(np.zeros((1, 2, 2, 1), np.uint8), np.zeros(1, np.int32))

    def archive(*args):
        asked.append(args)
        return ImageSplits("an archive", source, None, source, ("0",), (2, 2, 1))

    monkeypatch.setattr(tfds_images, "tfds_images", lambda *args: asked.append(args))
    monkeypatch.setattr(archives, "archive_images", archive)
    return asked


def write_folder(root):
    """Write an image folder of two classes."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "1.png")


def test_an_array_source_gives_the_rows_asked_for():
    source = ArraySource(np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1), np.arange(2))
    assert len(source) == 2
    rows = source.rows(np.array([1, 0, 1]))
    assert rows["image"][:, 0, 0, 0].tolist() == [4, 0, 4]
    assert rows["label"].tolist() == [1, 0, 1]


def test_a_data_set_describes_itself_in_one_line():
    source = ArraySource(np.zeros((3, 8, 8, 1), np.uint8), np.zeros(3, np.int32))
    data = ImageData("mine", source, source, ("a",), (8, 8, 1))
    assert str(data) == "mine (3 train, 3 test, 8 x 8 x 1)"


def test_digits_are_found_without_any_file(asked):
    assert find_images("digits").name == "digits"
    assert not asked


def test_an_npz_file_is_found_by_its_path(asked):
    x, y = np.zeros((2, 4, 4), np.uint8), np.array([0, 1])
    np.savez("mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert find_images("mine.npz").shape == (4, 4, 1)
    with pytest.raises(InputError, match="no such file"):
        find_images("other.npz")
    assert not asked


def test_an_image_folder_is_found_by_its_path(asked, empty_folder):
    write_folder(pathlib.Path("pets"))
    for name in ("pets", "./pets", str(empty_folder / "pets")):
        assert find_images(name).class_names == ("a", "b")
    assert find_images("pets", image_size=2).shape == (2, 2, 3)


def test_the_home_folder_may_be_written_as_a_tilde(asked, monkeypatch, empty_folder):
    monkeypatch.setenv("HOME", str(empty_folder))
    write_folder(empty_folder / "pets")
    assert len(find_images("~/pets").train) == 2


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_a_folder_of_the_same_name_does_not_stand_for_a_known_set(asked, name):
    write_folder(pathlib.Path(name))
    assert find_images(name).name == "an archive"
    assert asked[-1] == (name, pathlib.Path(os.environ["TFDS_DATA_DIR"]))
    assert find_images(f"./{name}").class_names == ("a", "b")


def test_the_data_folder_is_the_argument_or_the_variable_or_the_home(
    asked, monkeypatch
):
    find_images("mnist", "here", image_size=8)
    assert asked[0] == ("mnist", pathlib.Path("here"), 8)
    find_images("mnist")
    assert asked[2][1] == pathlib.Path(os.environ["TFDS_DATA_DIR"])
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert data_folder() == pathlib.Path.home() / "tensorflow_datasets"


@pytest.mark.parametrize("name", ["imagenet", "set/config", "absent/folder", "/absent"])
def test_an_unknown_name_is_an_error_that_shows_every_way_out(name, empty_folder):
    with pytest.raises(InputError) as caught:
        find_images(name)
    for word in (repr(name), "TFDS_DATA_DIR", "--data-dir", "--data digits"):
        assert word in str(caught.value)
    assert str(empty_folder / "tfds" / name) in str(caught.value)


def test_sets_of_arrays_are_resized_too():
    data = find_images("digits", image_size=12)
    assert data.shape == (12, 12, 1)
    assert data.train.rows(np.arange(3))["image"].shape == (3, 12, 12, 1)
    data = find_images("digits", image_size=12, valid_rate=0.1)
    assert data.valid.rows(np.arange(3))["image"].shape == (3, 12, 12, 1)
    with pytest.raises(InputError, match="image_size -1"):
        find_images("digits", image_size=-1)


def test_of_the_digits_a_tenth_to_train_on_chooses():
    data = find_images("digits", valid_rate=0.1)
    assert str(data) == "digits (1294 train, 144 valid, 359 test, 8 x 8 x 1)"
    labels = data.valid.rows(np.arange(144))["label"]
    assert set(np.bincount(labels)) <= {13, 14, 15, 16}
    whole = find_images("digits")
    assert (len(whole.train), whole.valid) == (1438, None)
    test = [each.test.rows(np.arange(359))["image"] for each in (data, whole)]
    np.testing.assert_array_equal(*test)
