"""Classification on raw scores: labels of any type, probabilities, stages."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from jaxlab.core.errors import InputError
from jaxlab.trees.estimators.estimator import TreeEstimator, by_row, link_scores
from jaxlab.trees.estimators.inputs import (
    TrainingRows,
    read_labels,
    read_margin,
    read_weight,
)

__all__ = ["BoostedClassifier"]


class BoostedClassifier(ClassifierMixin, TreeEstimator):
    """What boosted classifiers share.

    Attributes:
        classes_: Labels, sorted.
    """

    classes_: np.ndarray

    def _read_rows(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        earlier: TreeEstimator | None,
        base_margin: Any = None,
    ) -> TrainingRows:
        """Read labels to places in `classes_`, which are those of positive weight."""
        classes, places = read_labels(y)
        weight = read_weight(sample_weight, len(places))
        margin = read_margin(base_margin, len(places))
        rows = TrainingRows(X, places, weight, margin).used()
        is_kept = np.bincount(rows.target.astype(np.int64), minlength=len(classes)) > 0
        places = (np.cumsum(is_kept) - 1)[rows.target.astype(np.int64)]
        classes = classes[is_kept]
        if len(classes) < 2:
            raise InputError(
                f"y holds only one class, {classes.tolist()}, among the rows of "
                "positive weight; classification needs rows of at least two classes"
            )
        known = getattr(earlier, "classes_", classes)
        if not np.array_equal(known, classes):
            raise InputError(
                f"y has classes {classes.tolist()}, but the model to go on from "
                f"{known.tolist()}; give it rows of the same classes"
            )
        self.classes_ = classes
        return dataclasses.replace(rows, target=places.astype(np.float64))

    def _probabilities(self, raw: np.ndarray) -> np.ndarray:
        found = link_scores(self.objective_, raw)
        return np.stack([1 - found[0], found[0]], axis=1) if len(raw) == 1 else found.T

    def _labels(self, probabilities: np.ndarray) -> np.ndarray:
        return self.classes_[probabilities.argmax(1)]

    def decision_function(self, X: Any) -> np.ndarray:
        """Give raw scores: [n] for two classes, else [n, classes]."""
        return by_row(self._raw(X))

    def staged_predict_proba(self, X: Any) -> Iterator[np.ndarray]:
        """Give probabilities after each round."""
        for raw in self._staged_raw(X):
            yield self._probabilities(raw)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """Give the most probable class after each round."""
        for probabilities in self.staged_predict_proba(X):
            yield self._labels(probabilities)

    def staged_decision_function(self, X: Any) -> Iterator[np.ndarray]:
        """Give raw scores after each round."""
        for raw in self._staged_raw(X):
            yield by_row(raw)
