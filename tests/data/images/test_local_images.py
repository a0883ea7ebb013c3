"""Image sets that need no network."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from jaxlab.core.errors import InputError
from jaxlab.data.images.local_images import digits, folder_images, npz_images


def write_image(path, value, shape=(4, 5, 3)):
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


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


@pytest.mark.parametrize("held_out", ["test", "val", "validation"])
def test_a_folder_with_train_and_test_is_read_as_laid_out(tmp_path, held_out):
    write_image(tmp_path / "train" / "cat" / "1.png", 10)
    write_image(tmp_path / "train" / "cat" / "2.PNG", 20)
    write_image(tmp_path / "train" / "dog" / "deep" / "1.bmp", 30)
    write_image(tmp_path / held_out / "dog" / "1.png", 40)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".cache").mkdir()
    data = folder_images(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert data.shape == (4, 5, 3)
    train = all_rows(data.train)
    assert train["image"][:, 0, 0, 0].tolist() == [10, 20, 30]
    assert train["label"].tolist() == [0, 0, 1]
    assert train["label"].dtype == np.int32
    test = data.test.rows(np.array([0, 0]))
    assert test["image"].shape == (2, 4, 5, 3)
    assert test["label"].tolist() == [1, 1]


@pytest.mark.parametrize("root", ["", "train"])
def test_of_a_folder_without_test_every_tenth_image_is_held_out(tmp_path, root):
    for number in range(12):
        write_image(tmp_path / root / "a" / f"{number:02}.png", number)
        write_image(tmp_path / root / "b" / f"{number:02}.png", 100 + number)
    data = folder_images(tmp_path)
    assert data.class_names == ("a", "b")
    test = all_rows(data.test)
    assert test["image"][:, 0, 0, 0].tolist() == [9, 107]
    assert test["label"].tolist() == [0, 1]
    assert len(data.train) == 22


def test_a_class_may_be_called_train(tmp_path):
    for number in range(10):
        write_image(tmp_path / "train" / f"{number}.png", number)
        write_image(tmp_path / "bus" / f"{number}.png", number)
    assert folder_images(tmp_path).class_names == ("bus", "train")


def test_mixed_sizes_are_an_error_that_names_the_flag_which_mends_it(tmp_path):
    write_image(tmp_path / "train" / "a" / "1.png", 1)
    write_image(tmp_path / "train" / "a" / "2.png", 2, (8, 8, 3))
    write_image(tmp_path / "test" / "a" / "1.png", 3)
    with pytest.raises(InputError, match=r"2\.png is \(8, 8, 3\).*--image-size"):
        all_rows(folder_images(tmp_path).train)
    data = folder_images(tmp_path, image_size=4)
    assert data.shape == (4, 4, 3)
    assert all_rows(data.train)["image"].shape == (2, 4, 4, 3)


def test_a_damaged_image_is_named(tmp_path):
    for name in ("1", "2"):
        write_image(tmp_path / "train" / "a" / f"{name}.png", 1)
    write_image(tmp_path / "test" / "a" / "1.png", 3)
    data = folder_images(tmp_path)
    for name in ("2", "1"):
        (tmp_path / "train" / "a" / f"{name}.png").write_bytes(b"damaged")
        with pytest.raises(InputError, match=rf"{name}\.png: not a readable image"):
            all_rows(data.train)
    with pytest.raises(InputError, match=r"1\.png: not a readable image"):
        folder_images(tmp_path)


def test_a_folder_laid_out_otherwise_is_an_error_that_shows_how(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        folder_images(tmp_path / "absent")
    write_image(tmp_path / "1.png", 1)
    with pytest.raises(InputError, match=r"0 images .* train/CLASS/\*\.png"):
        folder_images(tmp_path)


def test_a_class_of_the_test_images_alone_is_an_error(tmp_path):
    write_image(tmp_path / "train" / "a" / "1.png", 1)
    write_image(tmp_path / "test" / "a" / "1.png", 1)
    write_image(tmp_path / "test" / "b" / "1.png", 1)
    with pytest.raises(InputError, match="has the classes b, which are not in"):
        folder_images(tmp_path)


def test_one_grey_file_does_not_make_a_set_grey(tmp_path, rng):
    (tmp_path / "a").mkdir()
    for number in range(12):
        shape = (4, 4) if number == 0 else (4, 4, 3)
        pixels = rng.integers(0, 255, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a" / f"{number:02}.png")
    data = folder_images(tmp_path)
    assert data.shape == (4, 4, 3)
    assert data.train.rows(np.arange(2))["image"].shape == (2, 4, 4, 3)


def test_a_colour_image_that_turns_up_late_in_a_grey_set_is_an_error(tmp_path):
    for number in range(2):
        write_image(tmp_path / "train" / "a" / f"{number}.png", number, (4, 4))
    write_image(tmp_path / "test" / "a" / "1.png", 3, (4, 4, 3))
    data = folder_images(tmp_path)
    assert data.shape == (4, 4, 1)
    with pytest.raises(InputError, match=r"1\.png is \(4, 4, 3\)"):
        all_rows(data.test)
