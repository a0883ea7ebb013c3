"""Which features a forest uses."""

from typing import Any

import numpy as np

from jaxlab.trees.estimators.inputs import read_choice
from jaxlab.trees.grow.tree import Forest

__all__ = ["importances", "impurity_decrease", "normalised"]

_KINDS = ("gain", "weight", "cover", "total_gain", "total_cover")


def importances(forest: Forest, num_features: int, kind: str) -> np.ndarray:
    """Add up what each feature did in all splits.

    Args:
        forest: Trees.
        num_features: Of the table.
        kind: `weight`, the number of splits; `total_gain`, what they took off the
            objective; `total_cover`, the hessian that they split; `gain` and `cover`,
            the same a split.

    Returns:
        float64 [features], not normalised.

    Raises:
        InputError: If the kind is unknown.
    """
    read_choice("importance_type", kind, _KINDS)
    nodes = forest.nodes
    count = _total(forest, num_features, np.ones_like(nodes.gain))
    if kind == "weight":
        return count
    is_gain = kind.endswith("gain")
    found = _total(forest, num_features, nodes.gain if is_gain else nodes.hessian)
    return found if kind.startswith("total") else found / np.maximum(count, 1)


def impurity_decrease(forest: Forest, num_features: int) -> np.ndarray:
    """Add up the decrease of the squared error by row, of trees fitted to residuals.

    Breiman et al. 1984; with a hessian of `weight` a gain is the decrease times weight.
    """
    gain = np.asarray(forest.nodes.gain, np.float64)
    mass = np.maximum(np.asarray(forest.nodes.hessian, np.float64)[:, :1], 1e-300)
    return _total(forest, num_features, gain / mass)


def _total(forest: Forest, num_features: int, values: Any) -> np.ndarray:
    is_split = np.asarray(forest.nodes.left) > 0
    feature = np.asarray(forest.nodes.feature)[is_split]
    chosen = np.asarray(values, np.float64)[is_split]
    return np.bincount(feature, chosen, minlength=num_features)


def normalised(importance: np.ndarray) -> np.ndarray:
    """Scale importances to a sum of 1; 0 stays 0."""
    total = importance.sum()
    return importance / total if total > 0 else importance
