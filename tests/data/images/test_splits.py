"""What chooses a checkpoint is not what it is tested with."""

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.images.find import find_images
from jaxlab.data.images.image_set import ArraySource, ImageSplits
from jaxlab.data.images.splits import divide, split_kind


def source(start, size):
    """Give images whose pixels are numbered from `start`, of three classes."""
    numbers = np.arange(start, start + size)
    image = np.broadcast_to(numbers[:, None, None, None], (size, 1, 1, 1))
    return ArraySource(image.astype(np.uint8), (numbers % 3).astype(np.int32))


def numbers(part):
    return part.rows(np.arange(len(part)))["image"].ravel().tolist()


def splits(train, valid=None, test=None):
    return ImageSplits("mine", train, valid, test, ("a", "b", "c"), (1, 1, 1))


def test_a_share_of_the_training_rows_chooses_and_the_test_rows_stay():
    train, test = source(0, 60), source(100, 9)
    data = divide(splits(train, test=test), 0.1)
    assert sorted(numbers(data.train) + numbers(data.valid)) == numbers(train)
    assert len(data.valid) == 6
    labels = data.valid.rows(np.arange(6))["label"]
    assert np.bincount(labels).tolist() == [2, 2, 2]
    assert data.test is test
    assert data.facts == {"sets": {"train": 54, "valid": 6, "test": 9}}
    assert "6 of the 60 to train on choose, 9 test" in data.layout
    again = divide(splits(train, test=test), 0.1)
    assert numbers(again.valid) == numbers(data.valid)


def test_without_a_share_all_rows_are_trained_on_and_nothing_is_chosen():
    train, test = source(0, 60), source(100, 9)
    data = divide(splits(train, test=test), 0.0)
    assert (data.train, data.valid, data.test) == (train, None, test)
    assert list(data.held_out) == ["test"]
    assert data.layout.endswith("9 test; nothing is chosen")


def test_named_splits_are_what_they_are_named():
    train, valid, test = source(0, 60), source(70, 6), source(100, 9)
    data = divide(splits(train, valid, test), 0.1)
    assert (data.train, data.valid, data.test) == (train, valid, test)


def test_of_a_set_without_a_test_half_the_validation_rows_test():
    valid = source(70, 12)
    data = divide(splits(source(0, 60), valid), 0.1)
    assert sorted(numbers(data.valid) + numbers(data.test)) == numbers(valid)
    assert (len(data.valid), len(data.test), len(data.train)) == (6, 6, 60)
    assert divide(splits(source(0, 60), valid), 0.0).test is valid


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan"), 0.001])
def test_a_share_that_leaves_nothing_is_refused(rate):
    with pytest.raises(InputError, match=r"valid_rate|leaves none to choose by"):
        divide(splits(source(0, 60), test=source(100, 9)), rate)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Train", "train"), ("VAL", "valid"), ("dev", "valid"), ("testing", "test")],
)
def test_names_of_splits_are_known_in_any_case(name, kind):
    assert split_kind(name) == kind
    assert not split_kind(f"{name}s of a class")


def test_digits_get_all_three():
    data = find_images("digits", valid_rate=0.1)
    sizes = {"train": 1294, "valid": 144, "test": 359}
    assert data.facts == {"sets": sizes}
