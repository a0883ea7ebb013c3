"""What the estimators share: raw scores of any table, stages, leaves, importances."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array
from jaxlab.trees import losses
from jaxlab.trees.binning import Binner, transform
from jaxlab.trees.columns import read_table
from jaxlab.trees.objective import Objective
from jaxlab.trees.predict import Predictor, padded_size
from jaxlab.trees.tree import Forest

__all__ = ["Importance", "TreeEstimator", "importances", "link_scores"]

Importance = Literal["gain", "weight", "cover", "total_gain", "total_cover"]


class TreeEstimator(BaseEstimator):
    """A forest with its binner. Subclasses fit it, and say what its scores mean.

    Attributes:
        binner_: How features are cut into bins.
        forest_: The trees.
        objective_: What was minimised; its link makes predictions of raw scores.
        n_features_in_: Number of features.
        feature_names_in_: Names of the features, where the table had any.
    """

    binner_: Binner
    forest_: Forest
    objective_: Objective
    n_features_in_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_predictor", None)  # rebuilt: it lies on devices
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "forest_" in state:
            self._keep(self.forest_)

    def _keep(self, forest: Forest) -> None:
        """Take a trained forest, ready to predict."""
        self.forest_ = forest
        self._predictor = self._predictor_of(forest)

    def _predictor_of(self, forest: Forest) -> Predictor:
        return Predictor(forest, bool(self.binner_.is_categorical.any()))

    def _read_features(self, X: Any, *, reset: bool) -> Any:
        """Check names and number of features, or take them over."""
        is_table = (
            isinstance(X, np.ndarray) or hasattr(X, "tocsc") or hasattr(X, "iloc")
        )
        table = X if is_table else np.asarray(X)
        shape = np.shape(table)
        if len(shape) != 2 or 0 in shape:
            read_table(table)  # which says what is wrong
        if not reset and shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input; give it the columns of the "
                "fit"
            )
        validate_data(self, X, reset=reset, skip_check_array=True)
        return table

    def _bins(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "forest_")
        return transform(self.binner_, self._read_features(X, reset=False))

    def _raw(
        self,
        X: Any,
        *,
        rounds: tuple[int, int] | None = None,
        start: np.ndarray | None = None,
    ) -> np.ndarray:
        """Give raw scores, float32 [outputs, rows].

        Args:
            X: Features.
            rounds: First round, and the one after the last; all by default.
            start: Scores to add to, in place of the forest's own start.
        """
        bins = self._bins(X)
        begin, end = rounds or (0, self.forest_.num_rounds)
        if begin == 0:
            return self._predictor.raw(bins, rounds=end, start=start)
        part = self._predictor_of(self.forest_.rounds(end, begin))
        return part.raw(bins, start=start)

    def _staged_raw(
        self, X: Any, start: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Give raw scores after each round."""
        bins, forest = self._bins(X), self.forest_
        raw = self._predictor.raw(bins, rounds=0, start=start)
        for number in range(forest.num_rounds):
            one = self._predictor_of(forest.rounds(number + 1, number))
            raw = one.raw(bins, start=raw)
            yield raw

    def _importances(self, kind: str) -> np.ndarray:
        check_is_fitted(self, "forest_")
        return importances(self.forest_, self.n_features_in_, kind)


@functools.partial(jax.jit, static_argnums=0)
def _linked(link: Callable[[Array], Array], raw: Array) -> Array:
    return link(raw)


def link_scores(objective: Objective, raw: np.ndarray) -> np.ndarray:
    """Make predictions of raw scores, float64 [outputs, rows].

    In float64, so that probabilities add up to 1 as scikit-learn's metrics want them.
    """
    wide = raw.astype(np.float64)
    if objective.link is losses.identity:
        return wide
    num_rows = wide.shape[1]
    padded = np.pad(wide, ((0, 0), (0, padded_size(num_rows) - num_rows)))
    with jax.enable_x64(True):
        return np.asarray(_linked(objective.link, padded))[:, :num_rows]


def importances(forest: Forest, num_features: int, kind: str) -> np.ndarray:
    """Add up what each feature did in all splits.

    Args:
        forest: Trees.
        num_features: Of the table.
        kind: `weight`, the number of splits; `total_gain`, what they took off the
            objective; `total_cover`, the hessian that they split; `gain` and `cover`,
            the same by split.

    Returns:
        float64 [features], not normalised.

    Raises:
        InputError: If the kind is unknown.
    """
    kinds = ("gain", "weight", "cover", "total_gain", "total_cover")
    if kind not in kinds:
        raise InputError(f"importance_type {kind!r} is not one of {', '.join(kinds)}")
    nodes = forest.nodes
    is_split = np.asarray(nodes.left) > 0
    feature = np.asarray(nodes.feature)[is_split]

    def total(values: Any) -> np.ndarray:
        chosen = np.asarray(values, np.float64)[is_split]
        return np.bincount(feature, chosen, minlength=num_features)

    count = np.bincount(feature, minlength=num_features).astype(np.float64)
    if kind == "weight":
        return count
    found = total(nodes.gain if kind.endswith("gain") else nodes.hessian)
    return found if kind.startswith("total") else found / np.maximum(count, 1)
