"""Leaf values by line search, where the tree's own Newton step is not meant.

Friedman 2001, "Greedy function approximation: a gradient boosting machine", algorithms
2 to 6: after a tree is fitted to the negative gradient, each leaf gets the constant
that lowers the loss most, in one step.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Float, Int
from jaxlab.trees.grow import fixed_point
from jaxlab.trees.objectives.objective import Leaf, Objective

__all__ = ["newton_leaves", "searched_leaves"]

AxisName = str | tuple[str, ...] | None


def newton_leaves(
    gradient: Float[Array, " n"],
    hessian: Float[Array, " n"],
    leaf: Int[Array, " n"],
    num_nodes: int,
    bits: int,
    axis_name: AxisName,
) -> Float[Array, " q"]:
    """Give -G/H of each leaf, with exact sums; 0 for a leaf without a slope."""
    sums = []
    for values in (gradient, hessian):
        unit = fixed_point.unit(fixed_point.exponent(values, axis_name), bits)
        steps = fixed_point.quantize(values, unit)
        total = jnp.zeros(num_nodes, jnp.int64).at[leaf].add(steps)
        if axis_name is not None:
            total = jax.lax.psum(total, axis_name)
        sums.append(total * unit)
    g, h = sums
    return jnp.where(h > 0, -g / jnp.where(h > 0, h, 1.0), 0.0)


def searched_leaves(
    objective: Objective,
    residual: Float[Array, " n"],
    weight: Float[Array, " n"] | None,
    counts: Float[Array, " n"],
    leaf: Int[Array, " n"],
    num_nodes: int,
    alpha: Any,
    delta: Any,
) -> Float[Array, " q"]:
    """Give the quantile of the residuals of each leaf, or Friedman's step for Huber.

    Args:
        objective: Whose `leaf` is QUANTILE or HUBER.
        residual: Target minus raw score.
        weight: Of rows; None: all are 1, and quantiles interpolate between rows (as
            NumPy; with weights they are rows, scikit-learn's `_weighted_percentile`).
        counts: 1 for rows to count, else 0.
        leaf: Of each row.
        num_nodes: Places for leaves.
        alpha: The level.
        delta: Of the Huber loss.
    """
    level = 0.5 if objective.leaf is Leaf.HUBER else alpha
    middle = _quantiles(residual, weight, counts, leaf, num_nodes, level)
    if objective.leaf is Leaf.QUANTILE:
        return middle
    # Algorithm 4: the median, and the mean of what is left, clipped.
    rest = residual - middle.astype(residual.dtype)[leaf]
    clipped = (jnp.sign(rest) * jnp.minimum(delta, jnp.abs(rest))).astype(jnp.float64)
    weight = counts if weight is None else weight * counts
    zeros = jnp.zeros(num_nodes, jnp.float64)
    total = zeros.at[leaf].add(clipped * weight)
    size = zeros.at[leaf].add(weight.astype(jnp.float64))
    return middle + jnp.where(size > 0, total / jnp.where(size > 0, size, 1.0), 0.0)


def _quantiles(
    residual: Array,
    weight: Array | None,
    counts: Array,
    leaf: Array,
    num_nodes: int,
    level: Any,
) -> Array:
    """Give the quantile of each leaf's rows, float64 [q]; 0 for a leaf without."""
    key = jnp.where(counts > 0, leaf, num_nodes).astype(jnp.int32)
    mass = counts if weight is None else weight * counts
    key, value, mass = jax.lax.sort((key, residual, mass), num_keys=2)
    size = jnp.zeros(num_nodes, jnp.int64).at[key].add(1, mode="drop")
    first = jnp.cumsum(size) - size
    last = jnp.maximum(first + size - 1, 0)
    value = value.astype(jnp.float64)
    if weight is None:
        at = first + level * jnp.maximum(size - 1, 0)
        lower = jnp.floor(at).astype(jnp.int64)
        upper = jnp.minimum(lower + 1, last)
        share = at - lower
        found = value[lower] * (1 - share) + value[upper] * share
    else:
        total = jnp.cumsum(mass.astype(jnp.float64))
        before = jnp.where(first > 0, total[jnp.maximum(first - 1, 0)], 0.0)
        goal = before + level * (total[last] - before)
        at = jnp.searchsorted(total, goal)
        found = value[jnp.clip(at, first, last)]
    return jnp.where(size > 0, found, 0.0)
