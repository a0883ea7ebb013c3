"""The best split of each node, from its histogram.

With the sums G of gradients and H of hessians left (L) and right (R) of a split,

    gain = score(L) + score(R) - score(L + R),   score(G, H) = T(G)^2 / (H + l2),

where T shrinks G by l1 towards zero (Chen & Guestrin 2016, arXiv:1603.02754, eq. 7,
without the factor 1/2 and gamma, as the XGBoost library reports it). Sums are exact
integers and gains float64 without a multiplication whose product is only added, so
that no compiler can fuse the two: all devices and the compiled twin
(`kernels/split.h`) agree to the bit.

Among equal gains the first one counts, as in scikit-learn and XGBoost: the lower
feature; missing values right, then left; bins upwards, then downwards.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Bool, Float, Int, PyTree
from jaxlab.trees.grow.tree import NUM_WORDS

__all__ = [
    "SplitFeatures",
    "SplitNumbers",
    "SplitSpec",
    "Splits",
    "find_splits",
    "leaf_weight",
]


class SplitNumbers(NamedTuple):
    """What a split must fulfil: numbers (float64), free to change without compiling."""

    l2: PyTree  # added to the hessian
    l1: PyTree  # takes this much off the gradient
    min_hessian: PyTree  # of each child
    min_gain: PyTree  # to be exceeded
    min_rows: PyTree  # of the node
    max_delta_step: PyTree  # largest leaf value; infinity: any
    min_leaf_rows: PyTree  # of each child; looked at if there is a channel of counts


@dataclasses.dataclass(frozen=True)
class SplitSpec:
    """What the compiled program depends on."""

    has_categories: bool = False
    has_monotone: bool = False
    max_onehot: int = 4  # categories up to which one is split off from the others


class SplitFeatures(NamedTuple):
    """What is known of the features."""

    num_values: PyTree  # int32 [j], bins of values in use
    is_categorical: PyTree  # bool [j]
    monotone: PyTree  # int32 [j]: 1 rising, -1 falling, 0 free


class Splits(NamedTuple):
    """The best split of each node; `gain` is -inf where there is none."""

    gain: PyTree  # float64 [q]
    feature: PyTree  # int32 [q]
    bin: PyTree  # int32 [q]
    missing_left: PyTree  # bool [q]
    left_bins: PyTree  # uint32 [q, 8]
    left: PyTree  # int64 [q, c], sums of the left child


def leaf_weight(
    g: Float[Array, "*q"], h: Float[Array, "*q"], rules: SplitNumbers
) -> Float[Array, "*q"]:
    """Give a leaf's value, -T(G) / (H + l2), within the largest step; 0 if empty."""
    scale = h + rules.l2
    shrunk = jnp.sign(g) * jnp.maximum(jnp.abs(g) - rules.l1, 0.0)
    weight = jnp.where(scale > 0, -shrunk / jnp.where(scale > 0, scale, 1.0), 0.0)
    return jnp.clip(weight, -rules.max_delta_step, rules.max_delta_step)


def _score(
    g: Array, h: Array, rules: SplitNumbers, limits: SplitSpec, bounds: Array
) -> tuple[Array, Array]:
    """Give score and leaf weight; the weight only where a limit on it needs it."""
    kept = jnp.maximum(jnp.abs(g) - rules.l1, 0.0)
    scale = h + rules.l2
    scale = jnp.where(scale > 0, scale, 1.0)
    if not limits.has_monotone:
        # Where the step is limited to m: m^2 (2 kept / m - scale), without a product
        # as the last operation.
        most = rules.max_delta_step
        limited = (2 * kept / most - scale) / (1 / (most * most))
        whole = kept * kept / scale
        return jnp.where(kept > scale * most, limited, whole), jnp.zeros_like(g)
    weight = leaf_weight(g, h, rules)
    shape = (-1,) + (1,) * (g.ndim - 1)
    low, high = bounds[:, 0].reshape(shape), bounds[:, 1].reshape(shape)
    weight = jnp.clip(weight, low, high)
    # -w (2 g + scale w + 2 l1 sign w), written with divisions for the same reason.
    inverse = 1 / weight
    slope = 2 * g + scale / inverse + 2 * rules.l1 * jnp.sign(weight)
    return slope / -inverse, weight


def find_splits(
    histogram: Int[Array, "q j s c"],
    total: Int[Array, "q c"],
    bounds: Float[Array, "q 2"],
    mask: Bool[Array, "q j"],
    units: Float[Array, " 2"],
    features: SplitFeatures,
    rules: SplitNumbers,
    limits: SplitSpec,
) -> Splits:
    """Find the best split of each node.

    Args:
        histogram: Sums of gradient, hessian (and count, if there is a third channel);
            the last bin holds the missing values.
        total: Sums over all rows of the node.
        bounds: Least and greatest leaf value, of monotone constraints.
        mask: Features that the node may be split on.
        units: What one step of gradient and hessian is worth.
        features: About the features.
        rules: What a split must fulfil; `min_gain` and `min_rows` are the caller's.
        limits: What is looked at.

    Returns:
        The splits. A split on a feature outside the mask has gain -inf.
    """
    values, missing = histogram[:, :, :-1], histogram[:, :, -1:]
    order = _category_order(values, units, features, rules, limits)
    if order is not None:
        values = jnp.take_along_axis(values, order[..., None], axis=2)
    left = jax.lax.associative_scan(jnp.add, values, axis=2)
    if order is not None:
        is_onehot = _is_onehot(features, limits)[None, :, None, None]
        left = jnp.where(is_onehot, values, left)
    # [q, j, direction, place, c]: missing right and upwards, missing left and down.
    left = jnp.stack([left, (left + missing)[:, :, ::-1]], axis=2)
    gain = _gains(left, total, bounds, units, features, rules, limits)
    has_missing = (missing != 0).any(-1)[:, :, :, None]  # [q, j, 1, 1]
    is_down = jnp.arange(2).reshape(1, 1, 2, 1) == 1
    allowed = mask[:, :, None, None] & (has_missing | ~is_down)
    gain = jnp.where(allowed, gain, -jnp.inf)
    num_nodes, _, _, num_places = gain.shape
    best = gain.reshape(num_nodes, -1).argmax(-1)
    feature, rest = jnp.divmod(best, 2 * num_places)
    missing_left, place = jnp.divmod(rest, num_places)
    node = jnp.arange(num_nodes)
    chosen = left[node, feature, missing_left, place]
    missing_left = missing_left == 1
    place = jnp.where(missing_left, num_places - 1 - place, place)
    left_bins = _left_bins(
        node, feature, place, missing_left, order, histogram, features, limits
    )
    return Splits(
        gain.reshape(num_nodes, -1)[node, best],
        feature.astype(jnp.int32),
        place.astype(jnp.int32),
        missing_left,
        left_bins,
        chosen,
    )


def _gains(
    left: Array,
    total: Array,
    bounds: Array,
    units: Array,
    features: SplitFeatures,
    rules: SplitNumbers,
    limits: SplitSpec,
) -> Array:
    """Give the gain of all splits, -inf where a child may not be."""
    right = total[:, None, None, None, :] - left
    (left_g, left_h), (right_g, right_h), (g, h) = (
        (part[..., 0] * units[0], part[..., 1] * units[1])
        for part in (left, right, total)
    )
    left_score, left_weight = _score(left_g, left_h, rules, limits, bounds)
    right_score, right_weight = _score(right_g, right_h, rules, limits, bounds)
    parent, _ = _score(g, h, rules, limits, bounds)
    gain = left_score + right_score - parent[:, None, None, None]
    least = rules.min_hessian
    allowed = (left_h > 0) & (right_h > 0) & (left_h >= least) & (right_h >= least)
    if left.shape[-1] == 3:
        fewest = rules.min_leaf_rows
        allowed &= (left[..., 2] >= fewest) & (right[..., 2] >= fewest)
    if limits.has_monotone:
        sign = features.monotone[None, :, None, None]
        allowed &= sign * (right_weight - left_weight) >= 0
    return jnp.where(allowed, gain, -jnp.inf)


def _is_onehot(features: SplitFeatures, limits: SplitSpec) -> Array:
    return features.is_categorical & (features.num_values <= limits.max_onehot)


def _category_order(
    values: Array,
    units: Array,
    features: SplitFeatures,
    rules: SplitNumbers,
    limits: SplitSpec,
) -> Array | None:
    """Sort the categories of a feature by their leaf value; numbers stay in order.

    For the squared loss the best of all partitions is a prefix of this order (Fisher
    1958). Categories without rows come last.
    """
    if not limits.has_categories:
        return None
    g = values[..., 0] * units[0]
    h = values[..., 1] * units[1]
    place = jnp.arange(values.shape[2], dtype=jnp.float64)[None, None, :]
    key = jnp.where(h > 0, leaf_weight(g, h, rules), jnp.inf)
    is_sorted = features.is_categorical & ~_is_onehot(features, limits)
    key = jnp.where(is_sorted[None, :, None], key, place)
    return jnp.argsort(key, axis=2, stable=True)


def _left_bins(
    node: Array,
    feature: Array,
    place: Array,
    missing_left: Array,
    order: Array | None,
    histogram: Array,
    features: SplitFeatures,
    limits: SplitSpec,
) -> Array:
    """Write what goes left as bits; a category without rows goes where missing goes."""
    num_bins = histogram.shape[2]
    bins = jnp.arange(num_bins - 1)[None, :]
    rank = jnp.broadcast_to(bins, (len(node), num_bins - 1))
    if order is not None:
        rank = jnp.argsort(order[node, feature], axis=-1)
    inside = rank <= place[:, None]
    if order is not None:
        is_onehot = _is_onehot(features, limits)[feature][:, None]
        inside = jnp.where(is_onehot, rank == place[:, None], inside)
        is_empty = (histogram[node, feature, :-1] == 0).all(-1)
        is_category = features.is_categorical[feature][:, None]
        inside = jnp.where(is_category & is_empty, missing_left[:, None], inside)
    inside = jnp.concatenate([inside, missing_left[:, None]], axis=1)
    padded = jnp.pad(inside, ((0, 0), (0, 32 * NUM_WORDS - num_bins)))
    bits = padded.reshape(len(node), NUM_WORDS, 32).astype(jnp.uint32)
    shifts = jnp.arange(32, dtype=jnp.uint32)[None, None, :]
    return (bits << shifts).sum(-1, dtype=jnp.uint32)
