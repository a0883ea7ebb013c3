"""What chooses is not what tests, and rows are drawn the same each time."""

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.images.image_set import ArraySource, ImageSplits
from jaxlab.data.images.splits import divide, split_kind


class Labelless:
    """A source whose labels are known only by reading the rows."""

    def __init__(self, source):
        self.rows, self._size = source.rows, len(source)

    def __len__(self):
        return self._size


def make(size, start=0):
    """Give rows whose images are their numbers, of classes 0 (most), 1 and 2 (few)."""
    number = np.arange(start, start + size)
    label = np.where(number % 10 < 7, 0, np.where(number % 10 < 9, 1, 2))
    image = number.astype(np.uint8).reshape(-1, 1, 1, 1)
    return ArraySource(image, label.astype(np.int32))


def numbers(source):
    return source.rows(np.arange(len(source)))["image"].ravel().tolist()


def found(train=100, valid=0, test=0):
    """Give a set of so many rows; 0: it names none."""
    held_out = [
        size and make(size, start) for size, start in ((valid, 100), (test, 150))
    ]
    sources = [make(train), *(source or None for source in held_out)]
    return ImageSplits("mine", *sources, ("a", "b", "c"), (1, 1, 1), "classes: many")


def test_a_share_of_each_class_of_the_training_rows_chooses():
    data = divide(found(test=10), 0.1)
    assert (len(data.train), len(data.valid), len(data.test)) == (90, 10, 10)
    labels = data.valid.rows(np.arange(10))["label"]
    assert np.bincount(labels).tolist() == [7, 2, 1]
    assert sorted(numbers(data.train) + numbers(data.valid)) == list(range(100))
    assert numbers(data.test) == list(range(150, 160))
    assert numbers(data.valid) != list(range(10))
    # A run is resumed with the same rows, whatever its seed.
    again = divide(found(test=10), 0.1)
    assert numbers(again.valid) == numbers(data.valid)
    assert data.layout == (
        "classes: many; held out: 10 of the 100 to train on choose, 10 test"
    )
    assert str(data) == "mine (90 train, 10 valid, 10 test, 1 x 1 x 1)"
    rows = {"train": 90, "valid": 10, "test": 10}
    assert data.facts == {"sets": rows}
    assert list(data.held_out) == ["valid", "test"]


def test_without_a_share_all_rows_are_trained_on_and_nothing_chooses():
    data = divide(found(valid=20, test=10), 0.0)
    assert numbers(data.train) == list(range(100))
    assert data.valid is None
    assert numbers(data.test) == list(range(150, 160))
    assert data.layout.endswith("held out: 10 test; nothing is chosen")
    assert data.facts["sets"] == {"train": 100, "valid": 0, "test": 10}


def test_named_rows_choose_and_test():
    data = divide(found(valid=20, test=10), 0.1)
    assert numbers(data.train) == list(range(100))
    assert numbers(data.valid) == list(range(100, 120))
    assert numbers(data.test) == list(range(150, 160))


def test_without_a_test_half_of_those_for_validation_test():
    data = divide(found(valid=20), 0.1)
    assert numbers(data.train) == list(range(100))
    assert sorted(numbers(data.valid) + numbers(data.test)) == list(range(100, 120))
    assert (len(data.valid), len(data.test)) == (10, 10)
    assert "half of its 20 rows for validation choose, 10 test" in data.layout
    alone = divide(found(valid=20), 0.0)
    assert alone.valid is None
    assert numbers(alone.test) == list(range(100, 120))
    assert "its 20 rows for validation test; nothing is chosen" in alone.layout


def test_rows_are_drawn_without_their_labels_where_these_are_not_at_hand():
    whole = found(test=10)
    source = Labelless(whole.train)
    data = divide(ImageSplits("mine", source, None, whole.test, ("a",), (1, 1, 1)), 0.1)
    assert len(data.valid) == 10
    assert sorted(numbers(data.train) + numbers(data.valid)) == list(range(100))


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0])
def test_rates_that_are_no_shares_are_refused(rate):
    with pytest.raises(InputError, match=f"valid_rate {rate} must be 0"):
        divide(found(test=10), rate)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(InputError, match=r"0\.1 of 4 rows leaves none.*--valid-rate"):
        divide(found(train=4, test=10), 0.1)
    with pytest.raises(InputError, match=r"0\.5 of 1 rows leaves none"):
        divide(found(valid=1), 0.1)


def test_names_of_splits_are_known_in_any_case():
    names = ("TRAIN", "Training", "val", "Dev", "eval", "Validation", "Test", "testing")
    kinds = ["train"] * 2 + ["valid"] * 4 + ["test"] * 2
    assert [split_kind(name) for name in names] == kinds
    assert [split_kind(name) for name in ("cat", "trains", "")] == [""] * 3
