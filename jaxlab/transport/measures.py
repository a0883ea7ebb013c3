"""Weights of points: defaults, and what they must fulfil."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array

__all__ = ["check_masses", "check_numbers", "host_problem", "weights_or_uniform"]


def weights_or_uniform(weights: Array | None, points: int, like: Array) -> Array:
    """Give the weights in the precision of `like`, or 1 / points for each point."""
    if points == 0:
        raise InputError("0 points have no distribution; give at least one a side")
    if weights is None:
        return jnp.full(points, 1 / points, like.dtype)
    if weights.shape[-1] != points:
        raise InputError(
            f"{weights.shape[-1]} weights for {points} points; give one for each"
        )
    return weights.astype(like.dtype)


def check_numbers(**arrays: Array | np.ndarray) -> None:
    """Refuse values that are not finite, unless a transformation hides them.

    Raises:
        InputError: Naming the array and the place.
    """
    for name, array in arrays.items():
        if isinstance(array, jax.core.Tracer):
            continue
        values = np.asarray(array)
        if not np.isfinite(values).all():
            place = tuple(map(int, np.argwhere(~np.isfinite(values))[0]))
            raise InputError(
                f"{name} is {values[place]} at {place}, but must be finite; "
                "drop or mend that entry"
            )


def check_masses(a: Array | np.ndarray, b: Array | np.ndarray) -> None:
    """Refuse weights that are negative, all zero or of different sums.

    Inside jit and vmap values are unknown and nothing is checked.

    Raises:
        InputError: Naming the values.
    """
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return
    check_numbers(a=a, b=b)
    for name, weights in (("a", np.asarray(a)), ("b", np.asarray(b))):
        if weights.size == 0 or weights.min() < 0:
            lowest = weights.min() if weights.size else "missing"
            raise InputError(
                f"a weight of {name} is {lowest}, but none may be negative; "
                "clip them or drop the points"
            )
    sums = np.asarray(a, np.float64).sum(), np.asarray(b, np.float64).sum()
    precision = max(_resolution(a), _resolution(b))
    if sums[0] == 0 or not abs(sums[0] - sums[1]) <= precision * max(sums):
        raise InputError(
            f"a sums to {sums[0]:.7g} and b to {sums[1]:.7g}, but transport moves "
            "equal masses, not zero; scale one of them, as in b * a.sum() / b.sum()"
        )


def _resolution(weights: Array | np.ndarray) -> float:
    """Give the relative error that the sum of rounded weights may have."""
    return float(np.sqrt(np.finfo(weights.dtype).eps))


def host_problem(
    cost: Array | np.ndarray,
    a: Array | np.ndarray | None,
    b: Array | np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check a discrete problem and give it in float64, b scaled to the mass of a.

    Raises:
        InputError: If a shape, a value or the masses do not fit.
    """
    cost = np.ascontiguousarray(cost, np.float64)
    if cost.ndim != 2 or 0 in cost.shape:
        raise InputError(
            f"the cost has shape {cost.shape}, but must be a matrix (n, m) of costs "
            "from each of n points to each of m"
        )
    check_numbers(cost=cost)
    given = []
    for weights, points in zip((a, b), cost.shape, strict=True):
        if weights is None:
            given.append(np.full(points, 1 / points))
            continue
        if weights.shape != (points,):
            raise InputError(
                f"weights of shape {weights.shape} do not fit a cost of shape "
                f"{cost.shape}; give one for each row (a) and each column (b)"
            )
        given.append(np.asarray(weights))
    # Total 1 is the natural mass; one measure may be given alone.
    if a is None and b is not None:
        given[0] = given[0] * given[1].sum()
    if b is None and a is not None:
        given[1] = given[1] * given[0].sum()
    check_masses(*given)
    first, second = (np.asarray(weights, np.float64) for weights in given)
    return cost, first, second * (first.sum() / second.sum())
