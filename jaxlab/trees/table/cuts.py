"""Where to cut a feature into bins: between its values, or at quantiles.

The quantiles are the averaged inverse of the (weighted) distribution function, type 2
of Hyndman & Fan 1996, as in scikit-learn's histogram trees: weights that are whole
numbers give the cuts of the rows repeated that many times.
"""

import ctypes
import dataclasses

import numpy as np

from jaxlab.core.native import pointer
from jaxlab.trees.native import library

__all__ = [
    "MAX_SAMPLE",
    "Sample",
    "distinct_values",
    "draw_sample",
    "find_cuts",
    "midpoints",
    "quantile_cuts",
    "round_down",
]

MAX_SAMPLE = 200_000  # rows that quantiles are taken from, as in scikit-learn
_FEWEST = 10 * 256  # values in a sample; of rarer ones, all are taken
_FIRST_CHUNK = 1024


def distinct_values(values: np.ndarray, limit: int) -> np.ndarray | None:
    """Find the distinct values of a column, if they are few.

    Args:
        values: float32 or float64; NaN is left out.
        limit: At most 512.

    Returns:
        Sorted float64, or None as soon as there are more than `limit`.
    """
    native = library()
    if native is None:
        return _distinct_by_chunks(values, limit)
    found = np.empty(limit + 1)
    count = native.jaxlab_distinct(
        pointer(values),
        ctypes.c_int64(values.strides[0]),
        ctypes.c_int64(len(values)),
        ctypes.c_int32(values.dtype == np.float64),
        ctypes.c_int64(limit),
        pointer(found),
    )
    return None if count > limit else np.sort(found[:count])


def _distinct_by_chunks(values: np.ndarray, limit: int) -> np.ndarray | None:
    known = np.empty(0, values.dtype)
    start, step = 0, _FIRST_CHUNK  # grows: many distinct values show at once
    while start < len(values):
        chunk = values[start : start + step]
        place = np.searchsorted(known, chunk)
        seen = np.append(known, np.nan)[place] == chunk
        known = np.union1d(known, chunk[~seen & ~np.isnan(chunk)])
        if len(known) > limit:
            return None
        start, step = start + step, min(2 * step, 2**18)
    return known.astype(np.float64) + 0.0  # -0 becomes 0


def find_cuts(
    values: np.ndarray, max_bins: int, weight: np.ndarray | None = None
) -> np.ndarray:
    """Cut a column: between each two values if they are few, else at quantiles.

    Args:
        values: float32 or float64, finite, in any order.
        max_bins: Bins at most, 2 to 255.
        weight: Positive, one a value; all 1 by default.

    Returns:
        Increasing float64, fewer than `max_bins`.
    """
    distinct = distinct_values(values, max_bins)
    if distinct is None:
        return quantile_cuts(values, max_bins, weight)
    return midpoints(distinct[:-1], distinct[1:])


def midpoints(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Find float64 cuts between values: lower <= cut < upper, or lower where equal.

    The middle; where rounding or overflow takes it out of that range, `lower`.
    """
    lower, upper = lower.astype(np.float64), upper.astype(np.float64)
    with np.errstate(over="ignore"):
        middle = (lower + upper) / 2
    return np.where((lower <= middle) & (middle < upper), middle, lower)


def quantile_cuts(
    values: np.ndarray, max_bins: int, weight: np.ndarray | None = None
) -> np.ndarray:
    """Cut values into bins of equal weight.

    Args:
        values: Without NaN, in any order.
        max_bins: Bins at most; equal cuts are merged.
        weight: Positive, one a value; all 1 by default.

    Returns:
        Increasing float64, fewer than `max_bins`.
    """
    shares = np.linspace(0, 100, max_bins + 1)[1:-1] / 100  # rounds as NumPy's does
    if weight is None:
        values = np.sort(values)
        target = len(values) * shares
        # The first of the values that target or more of them do not exceed.
        first, after = np.ceil(target).astype(int) - 1, np.floor(target).astype(int)
    else:
        order = np.argsort(values)
        values = values[order]
        reached = np.cumsum(weight[order], dtype=np.float64)
        target = reached[-1] * shares
        first = np.searchsorted(reached, target, side="left")
        after = np.searchsorted(reached, target, side="right")
    last = len(values) - 1  # a sum may round below its share
    first, after = np.clip(first, 0, last), np.clip(after, 0, last)
    return np.unique(midpoints(values[first], values[after]))


@dataclasses.dataclass(frozen=True)
class Sample:
    """The rows that cuts are found from.

    Attributes:
        counted: Rows of positive weight.
        weight: Their weights; None where all are equal.
        drawn: Rows drawn in proportion to their weight; None where all are taken.
    """

    counted: np.ndarray | slice
    weight: np.ndarray | None
    drawn: np.ndarray | None

    def take(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Take from a column what quantiles need, without NaN: values and weights."""
        if self.drawn is not None:
            chosen = values[self.drawn]
            chosen = chosen[~np.isnan(chosen)]
            if len(chosen) >= _FEWEST:
                return chosen, None
        chosen = values[self.counted]
        present = ~np.isnan(chosen)
        weight = None if self.weight is None else self.weight[present]
        return chosen[present], weight


def draw_sample(num_rows: int, weight: np.ndarray | None, seed: int) -> Sample:
    """Choose rows for quantiles: all, or `MAX_SAMPLE` of them.

    Args:
        num_rows: Rows of the table.
        weight: Not negative, and one at least positive; all 1 by default.
        seed: Of the draw.
    """
    counted: np.ndarray | slice = slice(None)
    shared = weight
    if weight is not None:
        if not weight.all():
            counted = np.flatnonzero(weight)
        shared = weight[counted]
        num_rows = len(shared)
        if shared.min() == shared.max():
            shared = None
    drawn = None
    if num_rows > MAX_SAMPLE:
        places = _draw_rows(num_rows, shared, seed)
        drawn = places if isinstance(counted, slice) else counted[places]
    return Sample(counted, shared, drawn)


def _draw_rows(num_rows: int, weight: np.ndarray | None, seed: int) -> np.ndarray:
    # Stratified: the rows' weights laid end to end are cut into equal pieces, and a
    # point drawn in each. Whole weights draw what repeated rows would, and the rows
    # come in order, which is kind to the cache.
    rng = np.random.default_rng(seed)
    points = (np.arange(MAX_SAMPLE) + rng.random(MAX_SAMPLE)) / MAX_SAMPLE
    if weight is None:
        rows = (points * num_rows).astype(int)
    else:
        reached = np.cumsum(weight, dtype=np.float64)
        rows = np.searchsorted(reached, points * reached[-1], side="right")
    return np.minimum(rows, num_rows - 1)


def round_down(cuts: np.ndarray) -> np.ndarray:
    """Give float32 cuts that compare with every float32 value as the float64 ones do.

    The largest float32 at most the cut: x <= cut is the same, for x in float32.
    """
    with np.errstate(over="ignore"):
        rounded = cuts.astype(np.float32)
    return np.where(rounded > cuts, np.nextafter(rounded, np.float32(-np.inf)), rounded)
