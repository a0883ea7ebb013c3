"""Growing one tree: compiled for one CPU, or in JAX for any devices; the same bits."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Float
from jaxlab.trees.grow import fixed_point
from jaxlab.trees.grow.expand import Grower
from jaxlab.trees.grow.histogram import choose
from jaxlab.trees.grow.problem import Grown, Masks, PlacedTable, TreeSpec
from jaxlab.trees.grow.split import SplitNumbers
from jaxlab.trees.grow.tree import NUM_WORDS, Nodes

__all__ = ["can_compile", "grow_tree"]


def can_compile(implementation: str, *, has_counts: bool, num_devices: int) -> bool:
    """Tell whether the compiled grower (`kernels/expand.h`) can grow such trees.

    It sums gradients and hessians, but no counts, on one device. The rest is grown in
    JAX, with compiled histograms.
    """
    is_one = not has_counts and num_devices == 1
    return is_one and choose(implementation) == "native"


def grow_tree(
    table: PlacedTable,
    gradient: Float[Array, " n"],
    hessian: Float[Array, " n"],
    used: Any,
    masks: Masks,
    rules: SplitNumbers,
    spec: TreeSpec,
) -> Grown:
    """Grow a tree on the gradients and hessians of a loss.

    Args:
        table: The rows; those at and after `num_rows` are not looked at.
        gradient: Of the loss by the raw score, weights multiplied in.
        hessian: Likewise, not negative.
        used: bool [n], rows to grow on (the others only find their leaf); None: all.
        masks: Features to choose from.
        rules: What a split must fulfil.
        spec: Sizes, policy and implementation.

    Returns:
        The tree, the same bits for every implementation and number of devices.
        Needs `jax.enable_x64`.
    """
    if used is not None:
        gradient = jnp.where(used, gradient, 0)
        hessian = jnp.where(used, hessian, 0)
    bits = fixed_point.num_bits(spec.num_rows)
    units = jnp.stack(
        [
            fixed_point.unit(fixed_point.exponent(values, spec.axis_name), bits)
            for values in (gradient, hessian)
        ]
    )
    if spec.is_whole:
        return _grow_compiled(table, gradient, hessian, used, masks, rules, units, spec)
    return Grower(table, gradient, hessian, used, masks, rules, units, spec).grow()


def _grow_compiled(
    table: PlacedTable,
    gradient: Array,
    hessian: Array,
    used: Any,
    masks: Masks,
    rules: SplitNumbers,
    units: Array,
    spec: TreeSpec,
) -> Grown:
    num_rows, width = len(gradient), spec.num_nodes
    rows, num_used = jnp.zeros(0, jnp.int32), table.num_rows
    if used is not None:  # used rows first, padding last
        is_real = jnp.arange(num_rows, dtype=jnp.int32) < table.num_rows
        kind = jnp.where(is_real, jnp.where(used, 0, 1), 2).astype(jnp.int8)
        rows = jnp.argsort(kind, stable=True).astype(jnp.int32)
        num_used = (kind == 0).sum(dtype=jnp.int32)
    call = jax.ffi.ffi_call(
        "jaxlab_grow",
        (
            jax.ShapeDtypeStruct((5, width), jnp.int32),
            jax.ShapeDtypeStruct((2, width), jnp.float64),
            jax.ShapeDtypeStruct((width, 2), jnp.int64),
            jax.ShapeDtypeStruct((width, NUM_WORDS), jnp.uint32),
            jax.ShapeDtypeStruct((num_rows,), jnp.int32),
        ),
    )
    numbers = [rules.l2, rules.l1, rules.min_hessian, rules.min_gain]
    numbers += [rules.min_rows, rules.max_delta_step]
    fields, (gain, weight), total, left_bins, leaf = call(
        table.bins,
        table.columns,
        gradient,
        hessian,
        rows,
        jnp.stack([num_used, table.num_rows]),
        *table.features,
        table.groups,
        jnp.concatenate([jnp.stack(numbers), units]),
        *masks,
        num_bins=spec.num_bins,
        max_depth=spec.depth,
        max_leaves=spec.max_leaves,
        best_first=spec.best_first,
        max_onehot=spec.limits.max_onehot,
        has_monotone=spec.limits.has_monotone,
    )
    left, feature, bin, missing_left, count = fields
    g, h = total[:, 0] * units[0], total[:, 1] * units[1]
    nodes = Nodes(
        left,
        feature,
        bin,
        missing_left == 1,
        left_bins,
        weight,
        gain.astype(jnp.float32),
        g.astype(jnp.float32),
        h.astype(jnp.float32),
        count,
    )
    return Grown(nodes, leaf)
