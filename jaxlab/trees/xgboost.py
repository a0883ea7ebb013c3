"""XGBoost-style estimators: second order, regularised (Chen & Guestrin 2016).

Names and defaults of the settings are those of XGBoost's scikit-learn interface; what
they mean stands at their fields in `jaxlab.trees.second_order`. An objective is a name
(`jaxlab.trees.catalogue.NAMES`) or any JAX function `loss(raw, target)` of one row.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin

from jaxlab.core.errors import InputError
from jaxlab.trees.estimator import link_scores
from jaxlab.trees.inputs import encode_labels, read_labels, read_numbers
from jaxlab.trees.objective import Objective
from jaxlab.trees.ranking import Groups, make_groups
from jaxlab.trees.second_order import Rows, SecondOrderModel
from jaxlab.trees.settings import objective_of

__all__ = ["XGBoostClassifier", "XGBoostRanker", "XGBoostRegressor"]


def _by_row(scores: np.ndarray) -> np.ndarray:
    """Give [n] for one output, [n, outputs] for several."""
    return scores[0] if len(scores) == 1 else scores.T


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
        X = self._read_features(X, reset=True)
        rows = self._read_rows(X, read_numbers(y), sample_weight, base_margin)
        sets = self._read_evaluations(eval_set, sample_weight_eval_set, read_numbers)
        name = self.objective or "reg:squarederror"
        objective = objective_of(self, name, None, self.link)
        self._fit(rows, objective, sets, earlier, verbose)
        return self

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
        if output_margin:
            return _by_row(raw.astype(np.float64))
        return _by_row(link_scores(self.objective_, raw))

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """Predict after each round."""
        for raw in self._staged_raw(X):
            yield _by_row(link_scores(self.objective_, raw))


class XGBoostClassifier(ClassifierMixin, SecondOrderModel):
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
        X = self._read_features(X, reset=True)
        classes, places = read_labels(y)
        rows = self._read_rows(X, places, sample_weight, base_margin)
        classes, rows = _without_unused(classes, rows)
        if len(classes) < 2:
            raise InputError(
                f"y holds only one class, {classes.tolist()}, among the rows of "
                "positive weight; classification needs at least two classes"
            )
        if earlier is not None and not np.array_equal(earlier.classes_, classes):
            raise InputError(
                f"y has classes {classes.tolist()}, but the model to go on from "
                f"{earlier.classes_.tolist()}; give it the same labels"
            )
        self.classes_ = classes
        sets = self._read_evaluations(
            eval_set,
            sample_weight_eval_set,
            lambda y, name: encode_labels(y, classes, name).astype(np.float64),
        )
        self._fit(self._scaled(rows), self._objective(), sets, earlier, verbose)
        return self

    def _objective(self) -> Objective:
        several = len(self.classes_) > 2
        name = self.objective or "binary:logistic"
        if several and name == "binary:logistic":
            name = "multi:softprob"
        link = self.link or ("softmax" if several else "sigmoid")
        return objective_of(self, name, len(self.classes_), link)

    def _scaled(self, rows: Rows) -> Rows:
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
        return Rows(rows.X, rows.target, weight, rows.margin)

    def _strata(self, rows: Rows) -> np.ndarray | None:
        return rows.target

    def _probabilities(self, raw: np.ndarray) -> np.ndarray:
        found = link_scores(self.objective_, raw)
        return np.stack([1 - found[0], found[0]], axis=1) if len(raw) == 1 else found.T

    def predict_proba(
        self, X: Any, *, iteration_range: Any = None, base_margin: Any = None
    ) -> np.ndarray:
        """Give the probability of each class, float64 [n, classes]."""
        return self._probabilities(self._scores(X, iteration_range, base_margin))

    def decision_function(self, X: Any) -> np.ndarray:
        """Give raw scores: [n] for two classes, else [n, classes]."""
        return _by_row(self._scores(X).astype(np.float64))

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
        if output_margin:
            return _by_row(raw.astype(np.float64))
        return self.classes_[self._probabilities(raw).argmax(1)]

    def staged_predict_proba(self, X: Any) -> Iterator[np.ndarray]:
        """Give probabilities after each round."""
        for raw in self._staged_raw(X):
            yield self._probabilities(raw)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """Give the most probable class after each round."""
        for probabilities in self.staged_predict_proba(X):
            yield self.classes_[probabilities.argmax(1)]

    def staged_decision_function(self, X: Any) -> Iterator[np.ndarray]:
        """Give raw scores after each round."""
        for raw in self._staged_raw(X):
            yield _by_row(raw.astype(np.float64))


def _without_unused(classes: np.ndarray, rows: Rows) -> tuple[np.ndarray, Rows]:
    """Leave out rows of weight 0, and the classes that only they have."""
    if rows.weight is None or rows.weight.all():
        return classes, rows.take_target(rows.target.astype(np.float64))
    rows = rows.take(np.flatnonzero(rows.weight))
    used, places = np.unique(rows.target, return_inverse=True)
    return classes[used], rows.take_target(places.astype(np.float64))


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
            query_weight: Of queries, in the order of `group` or sorted by `qid`.
            eval_set: Pairs (X, y) to watch.
            eval_group: Their group sizes.
            eval_qid: Or their queries.
            query_weight_eval_set: Their weights.
            base_margin: Raw scores to start from.
            xgb_model: A fitted model, or its file, to go on from.
            verbose: In place of the setting.
        """
        earlier = self._read_earlier(xgb_model)
        X = self._read_features(X, reset=True)
        rows = self._read_queries(X, y, group, qid, query_weight, base_margin)
        sets = list(eval_set or ())
        evaluations = {}
        for number, (X_eval, y_eval) in enumerate(sets):
            parts = (
                None if given is None else given[number]
                for given in (eval_group, eval_qid, query_weight_eval_set)
            )
            self._read_features(X_eval, reset=False)
            name = f"validation_{number}"
            evaluations[name] = self._read_queries(X_eval, y_eval, *parts, name=name)
        objective = objective_of(self, self.objective or "rank:ndcg", None, self.link)
        self._fit(rows, objective, evaluations, earlier, verbose)
        return self

    def _read_queries(
        self,
        X: Any,
        y: Any,
        group: Any,
        qid: Any,
        weight: Any,
        margin: Any = None,
        name: str = "y",
    ) -> Rows:
        target = read_numbers(y, name)
        size = len(target)
        if group is not None and qid is not None:
            raise InputError("group and qid say the same; give one of them")
        if group is not None:
            group = np.asarray(group, np.int64)
            if (group < 0).any() or group.sum() != size:
                raise InputError(
                    f"group adds up to {group.sum()} rows, but there are {size}; give "
                    "the number of rows of each query"
                )
            qid = np.repeat(np.arange(len(group)), group)
        qid = np.zeros(size, np.int64) if qid is None else np.asarray(qid)
        if qid.shape != (size,):
            raise InputError(f"qid has shape {qid.shape}, expected {(size,)}")
        queries, place = np.unique(qid, return_inverse=True)
        if weight is not None and len(weight) == len(queries) != size:
            weight = np.asarray(weight)[place]
        rows = self._read_rows(X, target, weight, margin)
        return Rows(rows.X, rows.target, rows.weight, rows.margin, place)

    def _groups(self, rows: Rows) -> Groups | None:
        return make_groups(rows.target, qid=rows.qid, exponential=self.ndcg_exp_gain)

    def _hold_out(self, rows: Rows) -> tuple[Rows, Rows]:
        """Hold out whole queries."""
        from jaxlab.trees.inputs import hold_out

        assert rows.qid is not None
        share = self.validation_fraction or 0.0
        _, second = hold_out(int(rows.qid.max()) + 1, share, None, self._seed)
        is_held = np.isin(rows.qid, second)
        return rows.take(np.flatnonzero(~is_held)), rows.take(np.flatnonzero(is_held))

    def predict(
        self, X: Any, *, iteration_range: Any = None, base_margin: Any = None
    ) -> np.ndarray:
        """Give scores that rank the rows of a query, float64 [n]."""
        raw = self._scores(X, iteration_range, base_margin)
        return _by_row(raw.astype(np.float64))
