"""XGBoost-style estimators: second order, regularised (Chen & Guestrin 2016).

Names and defaults of the settings are those of XGBoost's scikit-learn interface; what
they mean stands at their fields in `jaxlab.trees.estimators.second_order`. An objective
is a name (`jaxlab.trees.objectives.catalogue.NAMES`) or any JAX function
`loss(raw, target)` of one row.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from jaxlab.core.errors import InputError
from jaxlab.trees.estimators.classes import BoostedClassifier
from jaxlab.trees.estimators.estimator import by_row, link_scores
from jaxlab.trees.estimators.inputs import (
    TrainingRows,
    encode_labels,
    hold_out,
    read_margin,
    read_numbers,
    read_weight,
)
from jaxlab.trees.estimators.second_order import SecondOrderModel
from jaxlab.trees.estimators.settings import objective_of
from jaxlab.trees.objectives.objective import Objective
from jaxlab.trees.objectives.ranking import Groups, make_groups

__all__ = ["XGBoostClassifier", "XGBoostRanker", "XGBoostRegressor"]


class XGBoostRegressor(RegressorMixin, SecondOrderModel):
    """Regression, by default of least squares."""

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        eval_set: Any = None,
        sample_weight_eval_set: Any = None,
        base_margin: Any = None,
        xgb_model: Any = None,
        verbose: int | None = None,
    ) -> "XGBoostRegressor":
        """Train.

        Args:
            X: Table of rows x features: numbers, NaN for missing ones; a data frame
                may have columns of categories; sparse zeros are zeros.
            y: Targets.
            sample_weight: Of rows.
            eval_set: Pairs (X, y) to watch; early stopping looks at the last one.
            sample_weight_eval_set: Their weights.
            base_margin: Raw scores to start from, in place of a constant.
            xgb_model: A fitted model, or its file, to add n_estimators rounds to.
            verbose: In place of the setting.

        Raises:
            InputError: If data or settings cannot be used.
        """
        earlier = self._read_earlier(xgb_model)
        X = self._read_features(X, reset=earlier is None)
        target = read_numbers(y)
        weight = read_weight(sample_weight, len(target))
        rows = TrainingRows(
            X, target, weight, read_margin(base_margin, len(target))
        ).used()
        sets = self._read_evaluations(eval_set, sample_weight_eval_set, read_numbers)
        self._fit(rows, sets, earlier, verbose)
        return self

    def _find_objective(self) -> Objective:
        return objective_of(self, self.objective or "reg:squarederror", None, self.link)

    def predict(
        self,
        X: Any,
        *,
        output_margin: bool = False,
        iteration_range: Any = None,
        base_margin: Any = None,
    ) -> np.ndarray:
        """Predict, float64 [n] (or [n, outputs]).

        Args:
            X: Features.
            output_margin: Give raw scores, without the link.
            iteration_range: First round, and the one after the last.
            base_margin: Raw scores to add to.
        """
        raw = self._scores(X, iteration_range, base_margin)
        return by_row(raw if output_margin else link_scores(self.objective_, raw))

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """Predict after each round."""
        for raw in self._staged_raw(X):
            yield by_row(link_scores(self.objective_, raw))


class XGBoostClassifier(BoostedClassifier, SecondOrderModel):
    """Classification, by default with the logistic loss, softmax for three or more.

    Attributes:
        classes_: Labels, sorted; of any type.
    """

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        eval_set: Any = None,
        sample_weight_eval_set: Any = None,
        base_margin: Any = None,
        xgb_model: Any = None,
        verbose: int | None = None,
    ) -> "XGBoostClassifier":
        """Train; see `XGBoostRegressor.fit`. Labels may be of any type."""
        earlier = self._read_earlier(xgb_model)
        X = self._read_features(X, reset=earlier is None)
        rows = self._read_rows(X, y, sample_weight, earlier, base_margin)
        read_target = functools.partial(_read_places, self.classes_)
        sets = self._read_evaluations(eval_set, sample_weight_eval_set, read_target)
        self._fit(self._scaled(rows), sets, earlier, verbose)
        return self

    def _find_objective(self) -> Objective:
        several = len(self.classes_) > 2
        name = self.objective or "binary:logistic"
        if several and name == "binary:logistic":
            name = "multi:softprob"
        link = self.link or ("softmax" if several else "sigmoid")
        return objective_of(self, name, len(self.classes_), link)

    def _scaled(self, rows: TrainingRows) -> TrainingRows:
        """Weigh class 1 of two by scale_pos_weight."""
        scale = self.scale_pos_weight
        if scale == 1:
            return rows
        if len(self.classes_) > 2 or not scale > 0:
            raise InputError(
                f"scale_pos_weight {scale!r} needs two classes and to be above 0; "
                "use sample_weight"
            )
        weight = np.ones(len(rows.target)) if rows.weight is None else rows.weight
        weight = np.where(rows.target == 1, weight * scale, weight)
        return dataclasses.replace(rows, weight=weight)

    def _strata(self, rows: TrainingRows) -> np.ndarray | None:
        return rows.target

    def predict_proba(
        self, X: Any, *, iteration_range: Any = None, base_margin: Any = None
    ) -> np.ndarray:
        """Give the probability of each class, float64 [n, classes]."""
        return self._probabilities(self._scores(X, iteration_range, base_margin))

    def predict(
        self,
        X: Any,
        *,
        output_margin: bool = False,
        iteration_range: Any = None,
        base_margin: Any = None,
    ) -> np.ndarray:
        """Give the most probable class, or raw scores; see `XGBoostRegressor`."""
        raw = self._scores(X, iteration_range, base_margin)
        return by_row(raw) if output_margin else self._labels(self._probabilities(raw))


def _read_places(classes: np.ndarray, y: Any, name: str) -> np.ndarray:
    return encode_labels(y, classes, name)


class XGBoostRanker(SecondOrderModel):
    """Learning to rank rows of a query, by default for NDCG (LambdaMART)."""

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        group: Any = None,
        qid: Any = None,
        query_weight: Any = None,
        eval_set: Any = None,
        eval_group: Any = None,
        eval_qid: Any = None,
        query_weight_eval_set: Any = None,
        base_margin: Any = None,
        xgb_model: Any = None,
        verbose: int | None = None,
    ) -> "XGBoostRanker":
        """Train; see `XGBoostRegressor.fit`.

        Args:
            X: Features.
            y: Relevance, at least 0.
            group: Numbers of rows of the queries, one query after the other.
            qid: Or the query of each row, in any order. Without both, all rows are one
                query.
            query_weight: Of queries, in the order of `group` or sorted by `qid`. (Its
                rows pair up, so that a weight of rows would have no meaning.)
            eval_set: Pairs (X, y) to watch.
            eval_group: Their group sizes.
            eval_qid: Or their queries.
            query_weight_eval_set: Their weights.
            base_margin: Raw scores to start from.
            xgb_model: A fitted model, or its file, to go on from.
            verbose: In place of the setting.

        Raises:
            InputError: If data or settings cannot be used.
        """
        earlier = self._read_earlier(xgb_model)
        X = self._read_features(X, reset=earlier is None)
        rows = _read_queries(X, y, group, qid, query_weight, base_margin)
        sets = {}
        given = (eval_group, eval_qid, query_weight_eval_set)
        for number, (X_eval, y_eval) in enumerate(eval_set or ()):
            sizes, ids, weights = (one and one[number] for one in given)
            name = f"validation_{number}"
            X_eval = self._read_features(X_eval, reset=False)
            sets[name] = _read_queries(X_eval, y_eval, sizes, ids, weights, name=name)
        self._fit(rows, sets, earlier, verbose)
        return self

    def _find_objective(self) -> Objective:
        return objective_of(self, self.objective or "rank:ndcg", None, self.link)

    def _groups(self, rows: TrainingRows) -> Groups | None:
        return make_groups(rows.target, qid=rows.qid, exponential=self.ndcg_exp_gain)

    def _hold_out(self, rows: TrainingRows) -> tuple[TrainingRows, TrainingRows]:
        """Hold out whole queries."""
        qid = np.asarray(rows.qid)
        share = self.validation_fraction
        _, held = hold_out(int(qid.max()) + 1, share, None, self._seed)
        is_held = np.isin(qid, held)
        return rows.take(np.flatnonzero(~is_held)), rows.take(np.flatnonzero(is_held))

    def predict(
        self, X: Any, *, iteration_range: Any = None, base_margin: Any = None
    ) -> np.ndarray:
        """Give scores that rank the rows of a query, float64 [n]."""
        return by_row(self._scores(X, iteration_range, base_margin))


def _read_queries(
    X: Any,
    y: Any,
    group: Any,
    qid: Any,
    weight: Any,
    margin: Any = None,
    name: str = "y",
) -> TrainingRows:
    """Read rows of queries; their numbers count from 0."""
    target = read_numbers(y, name)
    size = len(target)
    if group is not None and qid is not None:
        raise InputError("group and qid say the same; give one of them")
    if group is not None:
        group = np.asarray(group, np.int64)
        if (group < 0).any() or group.sum() != size:
            raise InputError(
                f"group adds up to {group.sum()} rows, but there are {size}; give the "
                "number of rows of each query"
            )
        qid = np.repeat(np.arange(len(group)), group)
    qid = np.zeros(size, np.int64) if qid is None else np.asarray(qid)
    if qid.shape != (size,):
        raise InputError(f"qid has shape {qid.shape}, expected {(size,)}; one a row")
    queries, place = np.unique(qid, return_inverse=True)
    by_query = read_weight(weight, len(queries))
    weights = None if by_query is None else by_query[place]
    return TrainingRows(X, target, weights, read_margin(margin, size), place)
