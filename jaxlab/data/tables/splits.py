"""Which rows are trained on, which choose the model, and which test it."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxlab.core.errors import InputError

__all__ = ["TableRows", "split_rows"]


@dataclasses.dataclass(frozen=True)
class TableRows:
    """Rows of a table.

    Attributes:
        features: float64 (float32 if an `.npz` file holds that), `(n, j)`: numbers, or
            codes of categories; NaN: missing.
        target: float64, `(n,)`; of classes int32, from 0.
    """

    features: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.target)


def split_rows(
    name: str,
    sizes: Mapping[str, int],
    target: np.ndarray,
    *,
    stratify: bool,
    test_rate: float,
    valid_rate: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Give the numbers of the rows of `train`, `valid` and `test`, each in order.

    Args:
        name: Name of the table, for errors.
        sizes: Rows of each file, by what they are; at least those of `train`.
        target: Target of all rows, those of one file after the other.
        stratify: Draw of each class in proportion, and leave one row of it.
        test_rate: Share of the training rows to draw, unless there is a `test`.
        valid_rate: Share of those left to draw, unless there is a `valid`; 0: none is
            held out, and the rows of a `valid` are trained on.
        seed: Seed of the draw.

    Raises:
        InputError: If there are too few rows.
    """
    ends = np.cumsum(list(sizes.values()))
    rows = dict(zip(sizes, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))

    def hold_out(rate: float, flag: str) -> np.ndarray:
        train = rows["train"]
        if len(train) < 2:
            raise InputError(
                f"table {name} has one row to train on, and none to hold out; it needs "
                f"more rows{flag}"
            )
        is_held = _drawn(target[train], stratify, rate, seed)
        rows["train"] = train[~is_held]
        return train[is_held]

    if "test" not in rows:
        rows["test"] = hold_out(test_rate, "")
    if "valid" not in rows and valid_rate:
        rows["valid"] = hold_out(valid_rate, ", or --valid-rate 0")
    elif not valid_rate:
        train, valid = rows["train"], rows.get("valid", rows["train"][:0])
        rows["train"], rows["valid"] = np.concatenate([train, valid]), valid[:0]
    return rows


def _drawn(target: np.ndarray, stratify: bool, rate: float, seed: int) -> np.ndarray:
    """Draw rows, bool (n,)."""
    count = len(target)
    held = min(max(round(rate * count), 1), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    if stratify:
        order = order[np.argsort(target[order], kind="stable")]
    # Evenly spaced in that order: of each class its share, up to one row. Half a step
    # in, so that a rare last class is not always the one held out.
    picked = np.diff((np.arange(count + 1) * held + count // 2) // count) > 0
    is_held = np.zeros(count, bool)
    is_held[order[picked]] = True
    if stratify:
        _leave_one_of_each(target, is_held, order)
    return is_held


def _leave_one_of_each(
    target: np.ndarray, is_held: np.ndarray, order: np.ndarray
) -> None:
    """Put back a row of each class that is held out whole, and hold another instead."""
    for value in np.setdiff1d(target[is_held], target[~is_held]):
        left = np.bincount(target[~is_held], minlength=target.max() + 1)
        spare = [row for row in order if not is_held[row] and left[target[row]] > 1]
        if spare:
            back = next(row for row in order if target[row] == value)
            is_held[[back, spare[0]]] = False, True
