"""Laying training data over the devices, padded to sizes that data sets share."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxlab.trees.boost.round_spec import RoundSpec, TrainData, Watched
from jaxlab.trees.grow.layout import lay_out, put
from jaxlab.trees.objectives.ranking import Groups
from jaxlab.trees.table.binning import Binner
from jaxlab.trees.table.codes import aligned_bytes

__all__ = [
    "place_evaluation",
    "place_rows",
    "place_scores",
    "replicate",
]


def replicate(spec: RoundSpec, tree: Any) -> Any:
    """Copy arrays to every device."""
    return jax.tree.map(lambda leaf: put(spec.mesh, np.asarray(leaf), P()), tree)


def place_scores(spec: RoundSpec, raw: np.ndarray) -> jax.Array:
    """Lay raw scores [outputs, padded rows] out by rows, to be donated: a copy."""
    return put(spec.mesh, jnp.array(raw), P(None, spec.tree.axis_name))


def _pad(values: Any, num_rows: int, size: int, fill: float = 0.0) -> np.ndarray:
    padded = aligned_bytes(size, 4).reshape(-1).view(np.float32)
    padded[:num_rows] = values
    padded[num_rows:] = fill
    return padded


def place_rows(
    spec: RoundSpec,
    config: Any,
    bins: np.ndarray,
    binner: Binner,
    target: np.ndarray,
    weight: np.ndarray | None,
    groups: Groups | None,
) -> TrainData:
    """Lay the training rows out, the bins as the histograms want them."""
    size, rows = spec.tree.num_rows, P(spec.tree.axis_name)
    table = lay_out(
        spec.tree,
        bins,
        len(target),
        binner,
        monotone=config.monotone,
        interactions=config.interactions,
        mesh=spec.mesh,
    )
    # Padded targets must be such as the loss may see: NaN would not stay outside.
    targets = _pad(target, len(target), size, float(target[-1]))
    weights = _pad(1.0 if weight is None else weight, len(target), size)
    return TrainData(
        table,
        put(spec.mesh, targets, rows),
        put(spec.mesh, weights, rows),
        _place_groups(spec, groups, size),
    )


def place_evaluation(
    spec: RoundSpec, binned: Any, target: Any, weight: Any = None, groups: Any = None
) -> Watched:
    """Copy held-out rows to every device."""
    num_rows, size = len(target), len(binned.bins)
    used = _pad(1.0 if weight is None else weight, num_rows, size)
    parts = (binned.bins, _pad(target, num_rows, size, float(target[-1])), used)
    bins, targets, weights = replicate(spec, parts)
    return Watched(bins, targets, weights, _place_groups(spec, groups, size))


def _place_groups(spec: RoundSpec, groups: Groups | None, size: int) -> Groups | None:
    """Copy queries to every device; padding stands where row 0 does, with weight 0."""
    if groups is None:
        return None
    place = np.pad(np.asarray(groups.place), (0, size - len(groups.place)))
    return replicate(spec, dataclasses.replace(groups, place=place))
