"""Whether a model that was read is sound: kernels follow its trees blindly."""

import dataclasses
from typing import Any

import numpy as np

from jaxlab.trees.grow.tree import NUM_WORDS, Forest, Nodes
from jaxlab.trees.table.binning import Binner

__all__ = ["find_fault"]

_DTYPES = {
    "left": np.int32,
    "feature": np.int32,
    "bin": np.int32,
    "missing_left": np.bool_,
    "left_bins": np.uint32,
    "value": np.float32,
    "gain": np.float32,
    "gradient": np.float32,
    "hessian": np.float32,
    "count": np.int32,
}


def find_fault(forest: Forest, binner: Binner, fitted: dict[str, Any]) -> str:
    """Say what makes a model unsound; empty if nothing does.

    Args:
        forest: As read.
        binner: As read.
        fitted: Attributes of the estimator, by name; `classes_`, `n_features_in_` and
            `feature_names_in_` must fit to the rest.
    """
    return (
        _binner_fault(binner)
        or _nodes_fault(forest.nodes, binner)
        or _outputs_fault(forest, fitted.get("classes_"))
        or _names_fault(binner, fitted)
    )


def _is_array(array: np.ndarray, dtype: Any, shape: tuple[int, ...]) -> bool:
    return array.dtype == dtype and array.shape == shape


def _binner_fault(binner: Binner) -> str:
    bins, features = binner.num_bins, binner.num_features
    if not isinstance(bins, int) or not 3 <= bins <= 32 * NUM_WORDS or not features:
        return f"{features} features in {bins} bins"
    cuts, counts, coded = binner.cuts, binner.num_values, binner.is_categorical
    if not (
        _is_array(cuts, np.float64, (features, bins - 2))
        and _is_array(counts, np.int32, (features,))
        and _is_array(coded, np.bool_, (features,))
    ):
        return "arrays of bins of another shape or type"
    if not (cuts[:, 1:] >= cuts[:, :-1]).all() or np.isnan(cuts).any():
        return "cuts that do not increase"
    found = [-1 if one is None else len(one) for one in binner.categories]
    if ((counts < 0) | (counts >= bins)).any() or (
        np.where(coded, counts, -1) != found
    ).any():
        return "other numbers of values than bins"
    return ""


def _nodes_fault(nodes: Nodes, binner: Binner) -> str:
    shape = nodes.left.shape
    if len(shape) != 2 or not shape[1]:
        return f"nodes of shape {shape}"
    for field in dataclasses.fields(Nodes):
        last = (NUM_WORDS,) if field.name == "left_bins" else ()
        array = getattr(nodes, field.name)
        if not _is_array(array, _DTYPES[field.name], shape + last):
            return f"nodes/{field.name} is {array.dtype} {array.shape}"
    is_split, place = nodes.left != 0, np.arange(shape[1])
    follows = (nodes.left > place) & (nodes.left < shape[1] - 1)
    if not np.where(is_split, follows, True).all():
        return "broken trees: children that are no nodes after their parents"
    if not ((nodes.feature >= 0) & (nodes.feature < binner.num_features)).all():
        return "broken trees: splits on features that there are not"
    if not ((nodes.bin >= 0) & (nodes.bin < binner.num_bins)).all():
        return "broken trees: splits on bins that there are not"
    return "" if np.isfinite(nodes.value).all() else "leaves that are not finite"


def _outputs_fault(forest: Forest, classes: np.ndarray | None) -> str:
    start, trees = forest.start, forest.nodes.left.shape[0]
    if start.dtype != np.float32 or start.ndim != 1 or not start.size:
        return f"a start of {start.dtype} {start.shape}"
    if not np.isfinite(start).all():
        return "a start that is not finite"
    if trees % len(start):
        return f"{trees} trees of {len(start)} outputs"
    if classes is not None and np.shape(classes) != (max(len(start), 2),):
        return f"{np.size(classes)} classes of {len(start)} outputs"
    return ""


def _names_fault(binner: Binner, fitted: dict[str, Any]) -> str:
    features = binner.num_features
    counts = {
        fitted.get("n_features_in_", features),
        len(fitted.get("feature_names_in_", range(features))),
        len(binner.feature_names) or features,
    }
    return "" if counts == {features} else "features of other numbers"
