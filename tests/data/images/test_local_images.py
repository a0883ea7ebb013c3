"""Image sets that need no network."""

import importlib.util

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.images.local_images import digits, npz_images


def all_rows(source):
    return source.rows(np.arange(len(source)))


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
