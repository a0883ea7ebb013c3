"""Rows to learn from, to choose by and to test with: named ones, or a share."""

import dataclasses

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.data.batches import Source
from jaxlab.data.images.image_set import ImageData, ImageSplits

__all__ = ["SPLIT_NAMES", "SourcePart", "divide", "split_kind"]

# How folders and arrays are called that hold a split, in lower case.
SPLIT_NAMES: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "validate", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
_SEED = 0  # of the rows that are drawn; the same for every run


def split_kind(name: str) -> str:
    """Return `train`, `valid` or `test` for a name of one, in any case, else nothing.

    Examples:
        >>> split_kind("Validation"), split_kind("cat")
        ('valid', '')
    """
    found = (kind for kind, names in SPLIT_NAMES.items() if name.lower() in names)
    return next(found, "")


@dataclasses.dataclass(frozen=True)
class SourcePart:
    """Some examples of a source.

    Attributes:
        source: The whole.
        chosen: Which examples, by number.
    """

    source: Source
    chosen: np.ndarray

    def __len__(self) -> int:
        return len(self.chosen)

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        return self.source.rows(self.chosen[index])


def divide(found: ImageSplits, valid_rate: float) -> ImageData:
    """Make sure that what chooses is not what tests.

    A set that is named for validation chooses, one that is named for the test tests.
    Where none is named to choose by, a share of the training rows does. Where none is
    named to test with, half of those named for validation do, or all of them if nothing
    is chosen. Rows are drawn with a fixed seed, of each class in proportion where the
    labels are known without reading the images.

    Args:
        found: The set as it lies on disk.
        valid_rate: Share of the training rows to choose by, if the set names none; 0:
            nothing is chosen, and rows named for validation are used for nothing else
            than to stand for a test set.

    Raises:
        InputError: If the rate is out of range, or leaves a part empty.
    """
    if not 0 <= valid_rate < 1:
        raise InputError(
            f"valid_rate {valid_rate} must be 0 (all rows are trained on, nothing is "
            "chosen) or a share below 1, as 0.1"
        )
    train, valid, test = found.train, found.valid, found.test
    if test is None:
        assert valid is not None
        if valid_rate:
            test, valid = _drawn(found.name, valid, 0.5)
            how = f"the set names no test: half of its {len(test) + len(valid)} rows "
            how += f"for validation choose, {len(test)} test"
        else:
            test, valid = valid, None
            how = f"the set names no test: its {len(test)} rows for validation test"
    elif not valid_rate:
        valid, how = None, f"{len(test)} test"
    elif valid is None:
        train, valid = _drawn(found.name, train, valid_rate)
        how = f"{len(valid)} of the {len(found.train)} to train on choose, "
        how += f"{len(test)} test"
    else:
        how = f"{len(valid)} choose, {len(test)} test"
    how += "" if valid_rate else "; nothing is chosen"
    return ImageData(
        found.name,
        train,
        test,
        found.class_names,
        found.shape,
        valid,
        "; ".join(filter(None, (found.layout, f"held out: {how}"))),
    )


def _drawn(name: str, source: Source, rate: float) -> tuple[Source, Source]:
    """Draw a share of a source: give what is left and what is drawn, in their order."""
    size = len(source)
    order = np.random.default_rng(_SEED).permutation(size)
    labels = getattr(source, "label", None)  # of sources that know them at once
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    # Evenly spaced among rows sorted by class: of each class its share, to within one.
    is_drawn = np.diff(np.floor(np.arange(size + 1) * rate + 0.5)) > 0
    if not 0 < is_drawn.sum() < size:
        raise InputError(
            f"data {name}: a share of {rate} of {size} rows leaves none to choose by "
            "or to train on; give another --valid-rate, or 0 to choose nothing"
        )
    left, drawn = np.sort(order[~is_drawn]), np.sort(order[is_drawn])
    return SourcePart(source, left), SourcePart(source, drawn)
