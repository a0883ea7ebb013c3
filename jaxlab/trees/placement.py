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
from jaxlab.trees.codes import aligned_bytes
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


def _put(plan: Plan, array: Any, spec: P) -> jax.Array:
    """Lay an array out that nobody writes to any more: a CPU shares its memory."""
    sharding = None if plan.mesh is None else NamedSharding(plan.mesh, spec)
    return jax.device_put(array, sharding)


def replicate(plan: Plan, tree: Any) -> Any:
    """Copy arrays to every device."""
    return jax.tree.map(lambda leaf: _put(plan, np.asarray(leaf), P()), tree)


def place_scores(plan: Plan, raw: np.ndarray) -> jax.Array:
    """Lay raw scores [outputs, padded rows] out by rows, to be donated: a copy."""
    return _put(plan, jnp.array(raw), P(None, plan.shape.axis_name))


def _pad(values: Any, num_rows: int, size: int, fill: float = 0.0) -> np.ndarray:
    padded = aligned_bytes(size, 4).reshape(-1).view(np.float32)
    padded[:num_rows] = values
    padded[num_rows:] = fill
    return padded


def _by_feature(bins: np.ndarray) -> np.ndarray:
    """Copy bins by rows to bins by features, in blocks that stay in the cache."""
    columns = aligned_bytes(*bins.shape[::-1])
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
    num_rows = len(target)
    # Padded targets must be such as the loss may see: NaN would not stay outside.
    last = float(target[-1])
    return TrainData(
        Table(
            placed,
            jax.device_put(by_feature),
            np.int32(num_rows),
            Features(binner.num_values, binner.is_categorical, monotone),
            sets,
        ),
        _put(plan, _pad(target, num_rows, size, last), rows),
        _put(plan, _pad(1.0 if weight is None else weight, num_rows, size), rows),
        _place_groups(plan, groups, size),
    )


def place_evaluation(
    plan: Plan, binned: Any, target: Any, weight: Any = None, groups: Any = None
) -> Eval:
    """Copy held-out rows to every device."""
    num_rows, size = len(target), len(binned.bins)
    used = _pad(1.0 if weight is None else weight, num_rows, size)
    parts = (binned.bins, _pad(target, num_rows, size, float(target[-1])), used)
    bins, targets, weights = replicate(plan, parts)
    return Eval(bins, targets, weights, _place_groups(plan, groups, size))


def _place_groups(plan: Plan, groups: Groups | None, size: int) -> Groups | None:
    """Copy queries to every device; padding stands where row 0 does, with weight 0."""
    if groups is None:
        return None
    place = np.pad(np.asarray(groups.place), (0, size - len(groups.place)))
    return replicate(plan, dataclasses.replace(groups, place=place))
