"""Friedman's gradient boosting (2001), with scikit-learn's settings.

Each tree fits the negative gradient by least squares; then every leaf gets the value
that lowers the loss most: a mean, a quantile or one Newton step. With at most 255
distinct values a feature these are scikit-learn's trees; above, cuts are at quantiles.
What the settings mean stands at their fields in `jaxlab.trees.estimators.friedman`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from jaxlab.core.errors import InputError
from jaxlab.trees.estimators.classes import BoostedClassifier
from jaxlab.trees.estimators.estimator import by_row
from jaxlab.trees.estimators.friedman import FriedmanModel
from jaxlab.trees.estimators.inputs import (
    TrainingRows,
    read_choice,
    read_numbers,
    read_weight,
)
from jaxlab.trees.estimators.settings import raw_scores
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.objectives.objective import Objective, with_friedman_leaves

__all__ = ["GradientBoostingClassifier", "GradientBoostingRegressor"]

_REGRESSION = ("squared_error", "absolute_error", "huber", "quantile")
_TINY = float(np.finfo(np.float64).eps)


class GradientBoostingRegressor(RegressorMixin, FriedmanModel):
    """Regression by squared_error, absolute_error, huber or quantile."""

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> "GradientBoostingRegressor":
        """Train.

        Args:
            X: Table of rows x features; NaN is missing.
            y: Targets.
            sample_weight: Of rows.

        Raises:
            InputError: If data or settings cannot be used.
        """
        X = self._read_features(X, reset=self._earlier() is None)
        target = read_numbers(y)
        rows = TrainingRows(X, target, read_weight(sample_weight, len(target))).used()
        self._fit(rows, None)
        return self

    def _find_objective(self) -> Objective:
        name = read_choice("loss", self.loss or "squared_error", _REGRESSION)
        if name in ("huber", "quantile"):
            return with_friedman_leaves(find_objective(name, alpha=self.alpha))
        return with_friedman_leaves(find_objective(name))

    def predict(self, X: Any) -> np.ndarray:
        """Predict, float64 [n]."""
        return by_row(self._raw(X))

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """Predict after each round."""
        for raw in self._staged_raw(X):
            yield by_row(raw)


class GradientBoostingClassifier(BoostedClassifier, FriedmanModel):
    """Classification by log_loss or, of two classes, exponential.

    Attributes:
        classes_: Labels, sorted; of any type.
    """

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> "GradientBoostingClassifier":
        """Train; see `GradientBoostingRegressor.fit`. Labels may be of any type."""
        earlier = self._earlier()
        X = self._read_features(X, reset=earlier is None)
        rows = self._read_rows(X, y, sample_weight, earlier)
        self._fit(rows, rows.target)
        return self

    def _find_objective(self) -> Objective:
        name = read_choice("loss", self.loss or "log_loss", ("log_loss", "exponential"))
        size = len(self.classes_)
        if name == "log_loss":
            return with_friedman_leaves(find_objective(name, num_classes=size))
        if size > 2:
            raise InputError(
                f"loss exponential is for two classes, not {size}; use log_loss"
            )
        return with_friedman_leaves(find_objective(name))

    def _targets(self, target: np.ndarray) -> np.ndarray:
        return self.classes_[target.astype(np.int64)]

    def _init_scores(self, X: Any, objective: Objective) -> np.ndarray:
        given = np.clip(self.init_.predict_proba(X).T, _TINY, 1 - _TINY)
        if objective.num_outputs == 1:
            return raw_scores(objective, given[1:])
        logs = raw_scores(objective, given)
        return logs - logs.mean(0, keepdims=True)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Give the probability of each class, float64 [n, classes]."""
        return self._probabilities(self._raw(X))

    def predict(self, X: Any) -> np.ndarray:
        """Give the most probable class."""
        return self._labels(self.predict_proba(X))
