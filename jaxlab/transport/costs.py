"""Costs between clouds of points: powers of a norm of the difference."""

import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float

__all__ = ["check_power", "power_cost"]


def power_cost(
    x: Float[Array | np.ndarray, "n j"],
    y: Float[Array | np.ndarray, "m j"],
    p: float = 1.0,
    norm: float = 2.0,
) -> Float[Array | np.ndarray, "n m"]:
    r"""Give $\|x_i - y_j\|^p$ for all pairs.

    Two NumPy arrays give a NumPy array in their own precision, for the exact solver;
    anything else goes to JAX. Differences are taken before they are squared: equal
    points cost exactly zero, which $|x|^2 + |y|^2 - 2xy$ does not give, and there the
    gradient of a norm is taken as zero.

    Args:
        x: Points.
        y: Points.
        p: Power of the norm, above 0. Up to 1 the cost is a metric.
        norm: Order of the norm, 1 up to `inf`; 2 is Euclid's.

    Raises:
        InputError: If a power is out of range.
    """
    check_power(p, norm)
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        return _on_host(x, y, p, norm)
    return _pairs(jnp.asarray(x)[:, None, :], jnp.asarray(y)[None, :, :], p, norm)


def check_power(p: float, norm: float = 2.0) -> None:
    """Refuse powers that make no cost.

    Raises:
        InputError: If p is not above 0, or the norm not in [1, inf].
    """
    if not 0 < p < np.inf:
        raise InputError(f"the power p = {p} of the cost must be above 0 and finite")
    if not norm >= 1:
        raise InputError(f"the norm's order {norm} must lie in [1, inf]; 2 is Euclid's")


def _pairs(x: Array, y: Array, p: float, norm: float) -> Array:
    away = jnp.abs(x - y)
    if norm == np.inf:
        return _power(away.max(-1), p)
    if norm == 1:
        return _power(away.sum(-1), p)
    return _power(_power(away, norm).sum(-1), p / norm)


def _power(base: Array, exponent: float) -> Array:
    """Raise to a power; the slope at zero is zero where it would be infinite."""
    if exponent == 1:
        return base
    if exponent == 2:
        return base * base
    is_zero = base == 0
    safe = jnp.where(is_zero, 1, base)
    raised = jnp.sqrt(safe) if exponent == 0.5 else safe**exponent
    return jnp.where(is_zero, 0, raised)


def _on_host(x: np.ndarray, y: np.ndarray, p: float, norm: float) -> np.ndarray:
    from scipy.spatial.distance import cdist

    if norm == 2 and p == 2:
        found = cdist(x, y, "sqeuclidean")
    elif norm == 2:
        found = cdist(x, y, "euclidean") ** p
    elif norm == np.inf:
        found = cdist(x, y, "chebyshev") ** p
    else:
        found = cdist(x, y, "minkowski", p=norm) ** p
    return found.astype(np.result_type(x, y), copy=False)
