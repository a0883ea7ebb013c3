"""From binned rows to what growing takes: a specification, and rows on the devices."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlab.trees.grow.grow import can_compile
from jaxlab.trees.grow.histogram import choose, is_by_rows
from jaxlab.trees.grow.problem import PlacedTable, TreeSpec
from jaxlab.trees.grow.split import SplitFeatures, SplitSpec
from jaxlab.trees.table.binning import Binner
from jaxlab.trees.table.codes import aligned_bytes

__all__ = ["lay_out", "num_leaves", "padded_rows", "put", "tree_spec"]

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


def num_leaves(num_rows: int, max_depth: int, max_leaves: int = 0) -> int:
    """Bound the leaves of a tree; by the rows in sizes that data sets share.

    Args:
        num_rows: Number of training rows.
        max_depth: Greatest depth of a leaf; 0 allows any.
        max_leaves: Greatest number of leaves; 0 allows any.
    """
    most = 1 << (max(num_rows, 2) - 1).bit_length()
    if max_depth and max_depth < 31:
        most = min(most, 1 << max_depth)
    return min(max_leaves, most) if max_leaves else most


def tree_spec(
    binner: Binner,
    num_rows: int,
    *,
    max_depth: int = 6,
    max_leaves: int = 0,
    best_first: bool = False,
    max_onehot: int = 4,
    has_monotone: bool = False,
    has_counts: bool = False,
    implementation: str = "auto",
    mesh: Mesh | None = None,
) -> TreeSpec:
    """Collect what the compiled program of a tree depends on.

    Args:
        binner: What binned the rows.
        num_rows: Number of training rows, without padding.
        max_depth: Greatest depth of a leaf; 0 allows any.
        max_leaves: Greatest number of leaves; 0 allows any.
        best_first: Split the leaf with the greatest gain, instead of level by level.
        max_onehot: Number of categories up to which one is split off from the others.
        has_monotone: Whether a feature must only rise or only fall.
        has_counts: Whether histograms count rows too, for a least number in a leaf.
        implementation: How histograms are built: `auto`, `native`, `xla` or `flat`.
        mesh: Devices that share the rows; None stands for one device.
    """
    num_devices = 1 if mesh is None else mesh.size
    chosen = choose(implementation)
    return TreeSpec(
        num_bins=binner.num_bins,
        num_rows=padded_rows(num_rows, num_devices),
        max_depth=max_depth,
        max_leaves=num_leaves(num_rows, max_depth, max_leaves),
        best_first=best_first,
        implementation=chosen,
        is_whole=can_compile(chosen, has_counts=has_counts, num_devices=num_devices),
        has_counts=has_counts,
        limits=SplitSpec(
            has_categories=bool(binner.is_categorical.any()),
            has_monotone=has_monotone,
            max_onehot=max_onehot,
        ),
        axis_name=None if mesh is None else tuple(mesh.axis_names),
    )


def lay_out(
    spec: TreeSpec,
    bins: np.ndarray,
    num_rows: int,
    binner: Binner,
    *,
    monotone: Sequence[int] = (),
    interactions: Sequence[Sequence[int]] = (),
    mesh: Mesh | None = None,
) -> PlacedTable:
    """Lay binned rows out over the devices, as the histograms want them.

    Args:
        spec: Made by `tree_spec` for these rows.
        bins: uint8 `[rows, features]`, padded or not.
        num_rows: Number of rows in use; later ones are padding.
        binner: What binned the rows.
        monotone: By feature 1 (rising), -1 (falling) or 0 (free); empty: all are free.
        interactions: Sets of features that may meet on a path; empty: all may.
        mesh: The mesh of `spec`.
    """
    num_features = binner.num_features
    if len(bins) != spec.num_rows:
        bins = np.pad(bins, ((0, spec.num_rows - len(bins)), (0, 0)))
    if is_by_rows(spec.implementation):
        placed = put(mesh, bins, P(spec.axis_name))
    else:
        placed = put(mesh, _by_feature(bins), P(None, spec.axis_name))
    columns = np.zeros((0, 0), np.uint8)
    if spec.is_whole and num_features <= _MOST_COLUMNS:
        columns = _by_feature(bins)
    signs = np.asarray(monotone or (0,) * num_features, np.int32)
    sets = np.zeros((len(interactions), num_features), bool)
    for place, features in enumerate(interactions):
        sets[place, list(features)] = True
    return PlacedTable(
        placed,
        jax.device_put(columns),
        np.int32(num_rows),
        SplitFeatures(binner.num_values, binner.is_categorical, signs),
        sets,
    )


def _by_feature(bins: np.ndarray) -> np.ndarray:
    """Copy bins by rows to bins by features, in blocks that stay in the cache."""
    columns = aligned_bytes(*bins.shape[::-1])
    for start in range(0, len(bins), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        columns[:, rows] = bins[rows].T
    return columns


def put(mesh: Mesh | None, array: Any, spec: P) -> jax.Array:
    """Lay an array out that nobody writes to any more: a CPU shares its memory."""
    sharding = None if mesh is None else NamedSharding(mesh, spec)
    return jax.device_put(array, sharding)
