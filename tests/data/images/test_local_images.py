"""Image sets that need no network."""

import importlib.util

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.images.local_images import digits, npz_images
from tests.damage import check_reader
from tests.data.images.image_files import all_rows


def write_npz(path, **changes):
    """Write a small right file with some arrays changed, or left out (None)."""
    arrays = {
        "x_train": np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4),
        "y_train": np.array([0, 2, 1]),
        "x_test": np.zeros((2, 4, 4), np.uint8),
        "y_test": np.array([1, 0]),
    }
    arrays = {k: v for k, v in {**arrays, **changes}.items() if v is not None}
    np.savez(path, **arrays)
    return path


def test_digits_are_1438_to_learn_from_and_359_to_test():
    data = digits()
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert data.shape == (8, 8, 1)
    assert data.class_names == tuple("0123456789")
    for source in (data.train, data.test):
        rows = all_rows(source)
        assert rows["image"].shape == (len(source), 8, 8, 1)
        assert (rows["image"].min(), rows["image"].max()) == (0, 255)
        assert (rows["image"].dtype, rows["label"].dtype) == (np.uint8, np.int32)
        assert set(rows["label"]) == set(range(10))


def test_every_fifth_digit_is_held_out_the_same_each_time():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images / 16 * 255).reshape(-1, 8, 8, 1)
    for _ in range(2):
        data = digits()
        np.testing.assert_array_equal(data.test.image, pixels[4::5])
        np.testing.assert_array_equal(data.test.label, labels[4::5])
        np.testing.assert_array_equal(data.train.image[:4], pixels[:4])
        np.testing.assert_array_equal(data.train.image[4:8], pixels[5:9])


def test_digits_come_from_the_function_where_the_packaged_file_is_not(monkeypatch):
    direct = digits()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    fallback = digits()
    for split in ("train", "test"):
        a, b = getattr(direct, split), getattr(fallback, split)
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.label, b.label)
        assert (a.image.dtype, a.label.dtype) == (b.image.dtype, b.label.dtype)


def test_an_npz_file_is_read_as_it_was_written(tmp_path):
    data = npz_images(write_npz(tmp_path / "a.npz"))
    assert data.shape == (4, 4, 1)
    assert data.class_names == ("0", "1", "2")
    rows = all_rows(data.train)
    np.testing.assert_array_equal(rows["image"].ravel(), np.arange(48))
    assert rows["label"].tolist() == [0, 2, 1]
    assert rows["label"].dtype == np.int32


def test_the_names_of_medmnist_are_understood(tmp_path):
    np.savez(
        tmp_path / "med.npz",
        train_images=np.zeros((3, 4, 4, 3), np.uint8),
        train_labels=np.array([[0], [1], [1]], np.uint8),
        val_images=np.zeros((1, 4, 4, 3), np.uint8),
        val_labels=np.array([[0]], np.uint8),
        test_images=np.ones((2, 4, 4, 3), np.uint8),
        test_labels=np.array([[1], [0]], np.uint8),
    )
    data = npz_images(tmp_path / "med.npz")
    assert data.shape == (4, 4, 3)
    assert data.train.label.tolist() == [0, 1, 1]
    assert data.valid.label.tolist() == [0]
    assert data.test.label.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "holds x_test, x_train, y_train; it must hold x_train"),
        ({"x_train": np.zeros((3, 4, 4))}, r"\(train\): images are float64 .* uint8"),
        ({"x_test": np.zeros((2, 16), np.uint8)}, r"\(test\): images are uint8 \(2, 1"),
        ({"x_test": np.zeros((0, 4, 4), np.uint8)}, r"\(test\): images are uint8 \(0,"),
        ({"y_train": np.array([0, 1])}, r"labels are int64 \(2,\) for 3 images"),
        ({"y_train": np.array([0.0, 1, 2])}, "labels are float64"),
        ({"y_train": np.array([0, -1, 1])}, "class numbers from 0"),
        ({"y_train": np.eye(3, dtype=int)}, r"labels are int64 \(9,\) for 3 images"),
        (
            {"y_train": np.array([1, 2, 3])},
            "labels 1, 2, 3 up to 3, and none of them 0",
        ),
        ({"y_train": np.array([0, 1, 5_000_000])}, "up to 5000000, and none of them 2"),
        (
            {"y_train": np.array([0, 2, 4_000_000_000], np.uint32)},
            "label 4000000000 is",
        ),
        ({"y_train": np.array([0, 2**63, 1], np.uint64)}, "is no class number"),
        (
            {"y_test": np.array([1, 3])},
            r"\(test\): label 3 is of a class without images",
        ),
        ({"x_train": np.zeros((3, 3, 32, 32), np.uint8)}, r"transpose\(0, 2, 3, 1\)"),
        ({"x_train": np.zeros((3, 4, 4, 2), np.uint8)}, "would have 2 channels"),
        ({"x_train": np.zeros((3, 0, 4), np.uint8)}, r"uint8 \(3, 0, 4, 1\)"),
        ({"x_train": np.zeros((3, 4, 4), np.float32)}, r"make \(255 \* x\)\.round"),
        ({"x_val": np.zeros((1, 4, 4), np.uint8)}, "for valid x_val and y_val alone"),
        (
            {
                "x_val": np.zeros((1, 5, 4), np.uint8),
                "y_val": np.array([0]),
            },
            r"train images are \(4, 4, 1\), valid images \(5, 4, 1\)",
        ),
        (
            {
                "test_images": np.zeros((2, 4, 4), np.uint8),
                "test_labels": np.array([0, 1]),
            },
            "for test x_test and y_test alone",
        ),
        ({"x_test": np.zeros((2, 5, 4), np.uint8)}, r"\(4, 4, 1\), test .*\(5, 4, 1\)"),
        ({"y_test": np.array([{}, {}])}, "is not a readable .npz file"),
    ],
)
def test_a_wrong_array_of_an_npz_file_is_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        npz_images(write_npz(tmp_path / "a.npz", **changes))


def test_an_npz_file_that_is_absent_or_damaged_is_an_error(tmp_path):
    file = tmp_path / "a.npz"
    with pytest.raises(InputError, match=r"a\.npz: no such file"):
        npz_images(file)
    for damage in (b"", b"garbage", b"PK\x03\x04 half"):
        file.write_bytes(damage)
        with pytest.raises(InputError, match=r"a\.npz is not a readable \.npz file"):
            npz_images(file)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_lie_last(tmp_path, channels):
    x_train, x_test = (np.zeros((n, 4, 4, channels), np.uint8) for n in (3, 2))
    data = npz_images(write_npz(tmp_path / "a.npz", x_train=x_train, x_test=x_test))
    assert data.shape == (4, 4, channels)


def test_a_set_for_validation_may_stand_for_the_test(tmp_path):
    changes = {"x_test": None, "y_test": None}
    changes |= {"x_valid": np.ones((2, 4, 4), np.uint8), "y_valid": np.array([1, 0])}
    data = npz_images(write_npz(tmp_path / "a.npz", **changes))
    assert data.test is None
    assert data.valid.label.tolist() == [1, 0]


@pytest.mark.fuzz
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_file_is_refused_or_read_right(tmp_path, save, rng):
    file = tmp_path / "a.npz"
    x_train = rng.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    y_train = np.array([0, 2, 1, 1, 0, 2])
    save(file, x_train=x_train, y_train=y_train, x_test=x_train, y_test=y_train)

    def is_right(found):
        return all(
            np.array_equal(source.image, x_train)
            and np.array_equal(source.label, y_train)
            for source in (found.train, found.test)
        )

    check_reader(npz_images, file, is_right)
