"""Which rows and features a tree is grown on."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Bool, Float, Key
from jaxlab.trees.grow.problem import Masks

__all__ = ["draw_masks", "goss", "kept_features", "uniform_rows"]


def kept_features(num_features: int, *rates: float) -> int:
    """Give how many features are left after sampling shares of shares, at least 1."""
    kept = num_features
    for rate in rates:
        kept = max(1, int(rate * kept))
    return kept


def uniform_rows(key: Key[Array, ""], num_rows: int, rate: Any) -> Bool[Array, " n"]:
    """Draw each row with the same chance; row i's does not depend on `num_rows`."""
    return jax.random.uniform(key, (num_rows,), jnp.float32) < rate


def goss(
    key: Key[Array, ""],
    size: Float[Array, " n"],
    is_row: Bool[Array, " n"],
    top_rate: float,
    other_rate: float,
) -> tuple[Bool[Array, " n"], Float[Array, " n"]]:
    """Keep rows of large gradient, and some of the others with greater weight.

    Gradient-based one-side sampling (Ke et al. 2017, "LightGBM", algorithm 2).

    Args:
        key: For the draw among the others.
        size: How large each row's gradient is.
        is_row: False for padding.
        top_rate: Share of rows with the largest gradients, all kept (a).
        other_rate: Share of all rows to draw from the others (b).

    Returns:
        Rows kept, and the factor of their gradients: 1, or (1 - a) / b.
    """
    size = jnp.where(is_row, size, -1.0)
    count = is_row.sum(dtype=jnp.float32)
    ranked = jnp.sort(size, descending=True)
    place = jnp.maximum(jnp.ceil(top_rate * count).astype(jnp.int32) - 1, 0)
    is_top = size >= ranked[place]
    chance = other_rate / (1 - top_rate)
    is_other = uniform_rows(key, len(size), chance) & ~is_top
    kept = is_row & (is_top | is_other)
    return kept, jnp.where(is_top, 1.0, (1 - top_rate) / other_rate)


def draw_masks(
    key: Key[Array, ""],
    num_features: int,
    num_nodes: int,
    levels: int,
    by_tree: float,
    by_level: float,
    by_node: float,
) -> Masks:
    """Draw the features of a tree, of its levels among them, of nodes among those.

    Args:
        key: Of the tree.
        num_features: To draw from.
        num_nodes: Of the tree.
        levels: Of the tree; deeper levels share the last one's features.
        by_tree: Share of features for a tree, in (0, 1].
        by_level: Share of the tree's for a level.
        by_node: Share of the level's for a node.
    """
    tree_key, level_key, node_key = jax.random.split(key, 3)
    first = kept_features(num_features, by_tree)
    second = kept_features(num_features, by_tree, by_level)
    third = kept_features(num_features, by_tree, by_level, by_node)
    of_tree = jnp.ones(num_features, bool)
    if by_tree < 1:
        of_tree = _lowest(
            jax.random.uniform(tree_key, (1, num_features), jnp.float32), first
        )[0]
    of_level = of_tree[None]
    if by_level < 1:
        drawn = jax.random.uniform(level_key, (levels, num_features), jnp.float32)
        of_level = _lowest(jnp.where(of_tree[None], drawn, jnp.inf), second)
    priority = jnp.zeros((0, num_features), jnp.float32)
    if by_node < 1:
        priority = jax.random.uniform(node_key, (num_nodes, num_features), jnp.float32)
    return Masks(
        of_level.astype(jnp.uint8),
        priority,
        jnp.full(len(of_level), third, jnp.int32),
    )


def _lowest(values: Array, count: int) -> Array:
    """Mark the `count` least values of each row."""
    rank = jnp.argsort(jnp.argsort(values, axis=-1), axis=-1)
    return rank < count
