"""Folders of image files as a data set."""

import numpy as np
import pytest
from PIL import Image

from jaxlab.core.errors import InputError
from jaxlab.data.batches import streamed_batches
from jaxlab.data.images import image_folders as module
from jaxlab.data.images.find import find_images
from jaxlab.data.images.image_folders import folder_images
from jaxlab.data.order import Order
from tests.data.images.image_files import all_rows, encoded, write_image


def test_a_folder_with_splits_is_read_as_laid_out(tmp_path):
    write_image(tmp_path / "Train" / "cat" / "1.png", 10)
    write_image(tmp_path / "Train" / "cat" / "2.PNG", 20)
    write_image(tmp_path / "Train" / "dog" / "deep" / "1.ppm", 30)
    write_image(tmp_path / "val" / "dog" / "1.png", 40)
    write_image(tmp_path / "test" / "cat" / "1.bmp", 50)
    found = folder_images(tmp_path)
    assert found.class_names == ("cat", "dog")
    assert found.shape == (4, 5, 3)
    train = all_rows(found.train)
    # In turn of each class: the first rows show all of them.
    assert train["image"][:, 0, 0, 0].tolist() == [10, 30, 20]
    assert train["label"].tolist() == [0, 1, 0]
    assert train["label"].dtype == np.int32
    assert train["image"].dtype == np.uint8
    valid, test = all_rows(found.valid), all_rows(found.test)
    assert (valid["image"][0, 0, 0, 0], valid["label"].tolist()) == (40, [1])
    assert (test["image"][0, 0, 0, 0], test["label"].tolist()) == (50, [0])
    assert found.layout == "classes: cat 2, dog 1"
    assert find_images(str(tmp_path), valid_rate=0.1).layout == (
        "classes: cat 2, dog 1; held out: 1 choose, 1 test"
    )


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


def test_mixed_sizes_are_an_error_that_names_the_flag_which_mends_it(tmp_path):
    write_image(tmp_path / "train" / "a" / "1.png", 1)
    write_image(tmp_path / "train" / "a" / "2.png", 2, (8, 8, 3))
    write_image(tmp_path / "test" / "a" / "1.png", 3)
    with pytest.raises(InputError, match=r"2\.png is \(8, 8, 3\).*--image-size"):
        all_rows(folder_images(tmp_path).train)
    data = folder_images(tmp_path, image_size=4)
    assert data.shape == (4, 4, 3)
    assert all_rows(data.train)["image"].shape == (2, 4, 4, 3)


def test_a_folder_laid_out_otherwise_is_an_error_that_shows_how(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        folder_images(tmp_path / "absent")
    write_image(tmp_path / "1.png", 1)
    with pytest.raises(InputError, match=r"no images .* train/CLASS/\*\.png"):
        folder_images(tmp_path)
    write_image(tmp_path / "a" / "1.png", 1)
    with pytest.raises(InputError, match="1 images are too few to hold out every"):
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


def test_one_colour_file_makes_a_set_colour(tmp_path):
    for number in range(600):
        shape = (4, 4, 3) if number == 307 else (4, 4)
        write_image(tmp_path / "a" / f"{number:03}.png", number % 256, shape)
    found = folder_images(tmp_path)
    assert found.shape == (4, 4, 3)
    assert all_rows(found.train)["image"].shape == (540, 4, 4, 3)


def test_a_colour_image_that_was_not_looked_at_is_named(tmp_path, monkeypatch):
    for number in range(4):
        shape = (4, 4, 3) if number == 1 else (4, 4)
        write_image(tmp_path / "train" / "a" / f"{number}.png", number, shape)
    write_image(tmp_path / "test" / "a" / "1.png", 3, (4, 4))
    monkeypatch.setattr(module, "_MOST_HEADS", 2)
    found = folder_images(tmp_path)
    assert found.shape == (4, 4, 1)
    with pytest.raises(
        InputError, match=r"1\.png is in colour.* make it grey, or leave"
    ):
        all_rows(found.train)


def test_images_whose_heads_are_damaged_are_counted_and_named_at_once(tmp_path):
    for number in range(20):
        write_image(tmp_path / "train" / "a" / f"{number:02}.png", number)
    write_image(tmp_path / "test" / "a" / "1.png", 3)
    for number in (3, 7, 11, 12):
        (tmp_path / "train" / "a" / f"{number:02}.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"^4 of 21 images cannot be read") as caught:
        folder_images(tmp_path)
    for name in ("03.png", "07.png", "11.png", "and 1 more"):
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_damaged_further_on_are_named_together(tmp_path, rng):
    for number in range(5):
        file = tmp_path / "train" / "a" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        content = encoded(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file.write_bytes(content[:-60] if number in (1, 3) else content)
    write_image(tmp_path / "test" / "a" / "1.png", 3, (8, 8, 3))
    found = folder_images(tmp_path)
    with pytest.raises(
        InputError, match=r"1\.png: not a read.*; .*3\.png: not"
    ) as caught:
        all_rows(found.train)
    assert "\n" not in str(caught.value)
    (tmp_path / "train" / "a" / "0.png").unlink()
    with pytest.raises(InputError, match=r"0\.png: .*No such file"):
        found.train.rows(np.arange(1))


def test_an_orientation_is_applied_and_numbers_without_a_range_are_named(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    write_image(tmp_path / "test" / "a" / "1.png", 3, (4, 5, 3))
    turned = Image.Exif()
    turned[0x0112] = 6
    content = encoded(np.full((5, 4, 3), 9, np.uint8), "jpeg", exif=turned)
    (tmp_path / "train" / "a" / "1.jpg").write_bytes(content)
    assert folder_images(tmp_path).shape == (4, 5, 3)
    floats = encoded(np.ones((4, 5), np.float32), "tiff")
    (tmp_path / "train" / "a" / "1.tiff").write_bytes(floats)
    with pytest.raises(InputError, match=r"1\.tiff: its pixels are floating-point"):
        all_rows(folder_images(tmp_path).train)


def test_a_damaged_image_of_a_stream_is_told_as_it_is(tmp_path, rng):
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        for number in range(4):
            content = encoded(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            is_damaged = split == "train" and number == 2
            content = content[:-60] if is_damaged else content
            (tmp_path / split / "a" / f"{number}.png").write_bytes(content)
    found = folder_images(tmp_path)
    with pytest.raises(InputError, match=r"2\.png: not a readable image"):
        next(streamed_batches(found.train, Order(4, 4))(0))


def test_the_only_image_of_a_class_is_trained_on(tmp_path):
    for number in range(9):
        write_image(tmp_path / "cat" / f"{number}.png", number)
    write_image(tmp_path / "zebra" / "1.png", 99)
    for number in range(10):
        write_image(tmp_path / "zoo" / f"{number}.png", number)
    found = folder_images(tmp_path)
    assert set(all_rows(found.train)["label"].tolist()) == {0, 1, 2}
    assert all_rows(found.test)["label"].tolist() == [2]
