"""Laying training data over the devices, padded to sizes that data sets share."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlab.trees.binning import Binner
from jaxlab.trees.histogram import is_by_rows
from jaxlab.trees.plan import Table
from jaxlab.trees.ranking import Groups
from jaxlab.trees.round import Eval, Plan, TrainData
from jaxlab.trees.split import Features

__all__ = [
    "padded_rows",
    "place_evaluation",
    "place_rows",
    "place_scores",
    "replicate",
]

_LEAST_ROWS = 256
# Up to so many features, a second copy of the bins by feature is worth its memory: the
# compiled grower parts rows three times faster with it.
_MOST_COLUMNS = 40
_BLOCK_ROWS = 1024


def padded_rows(num_rows: int, num_devices: int = 1) -> int:
    """Round rows up to one of eight sizes an octave, which the devices can share.

    The same for one, two, four and eight devices, and so are sums in order of rows.
    """
    step = max(_LEAST_ROWS, 1 << max((num_rows - 1).bit_length() - 4, 0))
    step = math.lcm(step, num_devices)
    return -(-max(num_rows, 1) // step) * step


def _put(plan: Plan, array: np.ndarray, spec: P) -> jax.Array:
    if plan.mesh is None:
        return jnp.asarray(array)
    return jax.device_put(array, NamedSharding(plan.mesh, spec))


def replicate(plan: Plan, tree: Any) -> Any:
    """Copy arrays to every device."""
    return jax.tree.map(lambda leaf: _put(plan, np.asarray(leaf), P()), tree)


def place_scores(plan: Plan, raw: np.ndarray) -> jax.Array:
    """Lay raw scores [outputs, padded rows] out by rows."""
    return _put(plan, raw, P(None, plan.shape.axis_name))


def _pad(values: Any, size: int, fill: float = 0.0) -> np.ndarray:
    padded = np.full(size, fill, np.float32)
    padded[: len(values)] = values
    return padded


def _by_feature(bins: np.ndarray) -> np.ndarray:
    """Copy bins by rows to bins by features, in blocks that stay in the cache."""
    columns = np.empty(bins.shape[::-1], np.uint8)
    for start in range(0, len(bins), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        columns[:, rows] = bins[rows].T
    return columns


def place_rows(
    plan: Plan,
    config: Any,
    bins: np.ndarray,
    binner: Binner,
    target: np.ndarray,
    weight: np.ndarray | None,
    groups: Groups | None,
) -> TrainData:
    """Lay the training rows out, the bins as the histograms want them."""
    size, rows = plan.shape.num_rows, P(plan.shape.axis_name)
    if len(bins) != size:
        bins = np.pad(bins, ((0, size - len(bins)), (0, 0)))
    if is_by_rows(plan.shape.implementation):
        placed = _put(plan, bins, rows)
    else:
        columns = _by_feature(bins)
        placed = _put(plan, columns, P(None, plan.shape.axis_name))
    num_features = binner.num_features
    by_feature = np.zeros((0, 0), np.uint8)
    if plan.shape.is_whole and num_features <= _MOST_COLUMNS:
        by_feature = _by_feature(bins)
    monotone = np.asarray(config.monotone or (0,) * num_features, np.int32)
    sets = np.zeros((len(config.interactions), num_features), bool)
    for place, features in enumerate(config.interactions):
        sets[place, list(features)] = True
    # Padded targets must be such as the loss may see: NaN would not stay outside.
    last = float(target[-1])
    used = np.ones(len(target)) if weight is None else weight
    return TrainData(
        Table(
            placed,
            jnp.asarray(by_feature),
            np.int32(len(target)),
            Features(binner.num_values, binner.is_categorical, monotone),
            sets,
        ),
        _put(plan, _pad(target, size, last), rows),
        _put(plan, _pad(used, size), rows),
        _place_groups(plan, groups, size),
    )


def place_evaluation(
    plan: Plan, binned: Any, target: Any, weight: Any = None, groups: Any = None
) -> Eval:
    """Copy held-out rows to every device."""
    size = len(binned.bins)
    used = np.ones(len(target)) if weight is None else weight
    last = float(target[-1])
    parts = (binned.bins, _pad(target, size, last), _pad(used, size))
    bins, targets, weights = replicate(plan, parts)
    return Eval(bins, targets, weights, _place_groups(plan, groups, size))


def _place_groups(plan: Plan, groups: Groups | None, size: int) -> Groups | None:
    """Copy queries to every device; padding stands where row 0 does, with weight 0."""
    if groups is None:
        return None
    place = np.pad(np.asarray(groups.place), (0, size - len(groups.place)))
    return replicate(plan, dataclasses.replace(groups, place=place))
