"""The shapes of buckets that leave the least padding."""

import numpy as np

__all__ = ["best_shapes"]

_MOST_WIDTHS = 32  # of one side, among which those of the buckets are chosen


def best_shapes(lengths: np.ndarray, count: int) -> np.ndarray:
    """Find growing shapes, (buckets, 2), whose padded arrays have the least area.

    Exact, by dynamic programming, for widths from at most 32 a side.
    """
    sides = [_candidates(one) for one in lengths.T]
    places = [np.searchsorted(*one) for one in zip(sides, lengths.T, strict=True)]
    table = np.zeros([len(one) for one in sides])
    np.add.at(table, tuple(places), 1)
    fitting = table.cumsum(axis=0).cumsum(axis=1).ravel()  # pairs by largest shape
    shapes = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    width = shapes.sum(axis=1)
    is_grown = (shapes[:, None] <= shapes).all(axis=-1)
    added = np.where(is_grown, (fitting - fitting[:, None]) * width, np.inf)
    # areas[k][i]: of all pairs that fit shape i, in k + 1 buckets; before[k - 1][i]:
    # the shape of the bucket before the last.
    areas, before = [fitting * width], []
    for _ in range(count - 1):
        total = areas[-1][:, None] + added
        before.append(total.argmin(axis=0))
        areas.append(total.min(axis=0))
    used = int(np.argmin([area[-1] for area in areas]))
    chosen = [len(shapes) - 1]
    for previous in reversed(before[:used]):
        chosen.insert(0, int(previous[chosen[0]]))
    return shapes[chosen]


def _candidates(lengths: np.ndarray) -> np.ndarray:
    found = np.unique(lengths)
    if len(found) <= _MOST_WIDTHS:
        return found
    shares = np.arange(1, _MOST_WIDTHS + 1) / _MOST_WIDTHS
    return np.unique(np.quantile(lengths, shares, method="higher"))
