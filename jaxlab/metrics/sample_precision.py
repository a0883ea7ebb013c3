"""How much of what is generated is real, and how much of the real is generated.

Each set of features is widened to balls around its points, up to their k-th neighbour.
Distances are taken in float64 and by blocks; the whole matrix is never kept.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.metrics.feature_distances import check_features

__all__ = ["precision_recall"]

_Rows = Float[Array | np.ndarray, "..."]
_BLOCK = 2**22  # distances at a time: 32 MiB


class _Balls(NamedTuple):
    """Points and the squared distances to their neighbours.

    Attributes:
        center: What was taken off the points: distances lose fewer digits.
        points: (n, j), float64.
        squares: (n,), |point|^2.
        radii: Of each k the squared distance of each point to its k-th neighbour, (n,).
    """

    center: np.ndarray
    points: np.ndarray
    squares: np.ndarray
    radii: dict[int, np.ndarray]


def _balls_of(
    features: _Rows, neighbors: tuple[int, ...], center: np.ndarray | None = None
) -> _Balls:
    """Find the radii of a set; the point itself is none of its neighbours.

    Args:
        features: (n, j).
        neighbors: Values of k.
        center: Any point near the features; their mean by default.

    Raises:
        InputError: If no k fits, there are not more rows than k, or one is not finite.
    """
    if not neighbors or min(neighbors) < 1:
        raise InputError(
            f"neighbors {neighbors} must be 1 or more: the papers take 3, 5"
        )
    (rows,) = check_features(max(neighbors) + 1, given=features)
    points = rows.astype(np.float64)
    center = points.mean(0) if center is None else center
    points -= center
    squares = np.einsum("nj,nj->n", points, points)
    found = _Balls(center, points, squares, {})
    ranks = sorted({k - 1 for k in neighbors})
    nearest = np.empty((len(ranks), len(points)))
    for part, distances in _distances(found, found):
        own = np.arange(part.start, part.stop)
        distances[own - part.start, own] = np.inf
        nearest[:, part] = np.partition(distances, ranks, axis=1)[:, ranks].T
    radii = {rank + 1: row for rank, row in zip(ranks, nearest, strict=True)}
    return found._replace(radii=radii)


def _distances(first: _Balls, second: _Balls) -> Iterator[tuple[slice, np.ndarray]]:
    """Give squared distances of some rows of the first to all of the second."""
    step = max(1, _BLOCK // len(second.points))
    for start in range(0, len(first.points), step):
        part = slice(start, min(start + step, len(first.points)))
        found = first.points[part] @ second.points.T
        found *= -2
        found += first.squares[part, None]
        found += second.squares[None, :]
        yield part, np.maximum(found, 0, out=found)


def precision_recall(
    real: _Rows,
    generated: _Rows,
    *,
    neighbors: int = 3,
    density_neighbors: int = 5,
) -> dict[str, float]:
    """Score fidelity and variety apart, by nearest neighbours.

    Args:
        real: Features, (n, j).
        generated: Features, (m, j); as many, for recall to be fair to both.
        neighbors: k of precision and recall.
        density_neighbors: k of density and coverage.

    Returns:
        `precision`: the share of generated rows inside a ball of a real row.
        `recall`: the share of real rows inside a ball of a generated row.
        `density`: how many real balls hold a generated row, over k: about 1 if it were
        real, above 1 in the thick of it.
        `coverage`: the share of real balls that hold a generated row.
        On the rim, up to rounding, is inside.

    Raises:
        InputError: If a set has not more rows than k, one is not finite, or the numbers
            of features differ.

    References:
        Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991, equations 1 and 2.
        Naeem et al. 2020, https://arxiv.org/abs/2002.09797, equations 4 and 5.
    """
    check_features(1, real=real, generated=generated)
    true = _balls_of(real, (neighbors, density_neighbors))
    fake = _balls_of(generated, (neighbors,), true.center)
    # What float64 rounds away of a difference of squares.
    rim = 64 * np.finfo(np.float64).eps * (true.squares.max() + fake.squares.max())
    outer = {k: radii + rim for k, radii in true.radii.items()}
    is_precise = np.zeros(len(fake.points), bool)
    is_recalled, is_covered = np.zeros((2, len(true.points)), bool)
    held = 0
    for part, distances in _distances(true, fake):
        is_precise |= (distances <= outer[neighbors][part, None]).any(0)
        is_recalled[part] = (distances <= fake.radii[neighbors] + rim).any(1)
        is_held = distances <= outer[density_neighbors][part, None]
        is_covered[part] = is_held.any(1)
        held += int(is_held.sum())
    return {
        "precision": float(is_precise.mean()),
        "recall": float(is_recalled.mean()),
        "density": held / (density_neighbors * len(fake.points)),
        "coverage": float(is_covered.mean()),
    }
