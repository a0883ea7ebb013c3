"""Friedman's gradient boosting (2001), with scikit-learn's settings.

Each tree fits the negative gradient by least squares; then every leaf gets the value
that lowers the loss most: a mean, a quantile or one Newton step. With at most 255
distinct values a feature these are scikit-learn's trees; else they are cut at quantiles.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, clone

from jaxlab.core.compilation import use_compilation_cache
from jaxlab.core.errors import InputError
from jaxlab.trees.binning import fit_binner
from jaxlab.trees.boosting import Boosted, Config, Evaluation, bin_rows, train
from jaxlab.trees.catalogue import find_objective
from jaxlab.trees.estimator import TreeEstimator, link_scores
from jaxlab.trees.inputs import (
    check_range,
    hold_out,
    read_labels,
    read_mesh,
    read_numbers,
    read_weight,
    seed_of,
    take_rows,
)
from jaxlab.trees.objective import Leaf, Objective, with_friedman_leaves
from jaxlab.trees.progress import show_progress
from jaxlab.trees.settings import raw_base_score, read_choice

__all__ = ["GradientBoostingClassifier", "GradientBoostingRegressor"]


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class _FriedmanModel(TreeEstimator):
    """Settings and training that regression and classification share."""

    loss: str | None = None  # None: squared_error, log_loss
    learning_rate: float = 0.1
    n_estimators: int = 100  # rounds; each adds a tree for every output
    subsample: float = 1.0  # share of rows for a round
    min_samples_split: Any = 2  # rows of a node to be split, or their share
    min_samples_leaf: Any = 1  # rows of a child, or their share
    min_weight_fraction_leaf: float = 0.0  # of the weight of all rows, for a child
    max_depth: int | None = 3
    min_impurity_decrease: float = 0.0
    init: Any = None  # an estimator, or "zero"; None: the best constant
    random_state: Any = None
    max_features: Any = None  # to choose from in a node: a number, a share, sqrt, log2
    alpha: float = 0.9  # level of quantile and huber
    verbose: int = 0  # 1 shows progress
    max_leaf_nodes: int | None = None  # then the leaf of the greatest gain goes first
    warm_start: bool = False  # fit goes on up to n_estimators
    validation_fraction: float = 0.1  # share of rows to watch, for early stopping
    n_iter_no_change: int | None = None  # rounds without gain that end training
    tol: float = 1e-4  # what counts as a gain
    max_bins: int = 255  # for values of a feature
    mesh: Any = None  # devices: `data=4`, `auto` for all, or a jax.sharding.Mesh
    implementation: str = "auto"  # of histograms

    def _fit(
        self,
        X: Any,
        target: np.ndarray,
        weight: np.ndarray | None,
        objective: Objective,
        labels: np.ndarray | None,
    ) -> None:
        use_compilation_cache()
        earlier = self.warm_start and hasattr(self, "forest_")
        if not earlier:
            self._seed = seed_of(self.random_state)
        config = self._config(target, weight)
        held = None
        if self.n_iter_no_change is not None:
            first, second = hold_out(
                len(target), self.validation_fraction, labels, self._seed
            )
            held = (take_rows(X, second), target[second], _some(weight, second))
            X, target = take_rows(X, first), target[first]
            weight = _some(weight, first)
        init, offset = self.forest_ if earlier else None, None
        if init is not None:
            config = dataclasses.replace(
                config, num_rounds=config.num_rounds - init.num_rounds
            )
            if config.num_rounds < 0:
                raise InputError(
                    f"n_estimators {self.n_estimators} is below the {init.num_rounds} "
                    "rounds already there; with warm_start it counts them"
                )
        else:
            self.binner_ = fit_binner(
                X, max_bins=self.max_bins, weight=weight, seed=self._seed
            )
            self._fit_init(X, target, weight)
        offset = self._offset(X, objective)
        binned = bin_rows(self.binner_, X)
        evaluations = {"training": Evaluation(binned, target, weight)}
        if held is not None:
            evaluations["validation"] = Evaluation(
                bin_rows(self.binner_, held[0]), *held[1:]
            )
        with show_progress(self.verbose) as watch:
            boosted = train(
                binned,
                target,
                with_friedman_leaves(objective),
                config,
                jax.random.key(self._seed),
                weight=weight,
                first=None if self.init is None else np.zeros(objective.num_outputs),
                init=init,
                offset=offset,
                evaluations=evaluations if held is not None else None,
                metrics=["mae" if objective.leaf is Leaf.HUBER else "loss"],
                patience=self.n_iter_no_change,
                tolerance=self.tol,
                watch=watch,
                mesh=read_mesh(self.mesh),
            )
        self.objective_ = objective
        self._keep(boosted.forest)
        self._keep_scores(boosted)

    def _keep_scores(self, boosted: Boosted) -> None:
        self.n_estimators_ = boosted.forest.num_rounds

    def _fit_init(self, X: Any, target: np.ndarray, weight: np.ndarray | None) -> None:
        """Fit the estimator to start from."""
        if self.init is None or self.init == "zero":
            self.init_ = self.init
            return
        self.init_ = clone(self.init)
        given = {} if weight is None else {"sample_weight": weight}
        self.init_.fit(X, self._init_target(target), **given)

    def _init_target(self, target: np.ndarray) -> np.ndarray:
        return target

    def _offset(self, X: Any, objective: Objective) -> np.ndarray | None:
        """Give the raw scores of the estimator to start from, [outputs, n]."""
        if self.init_ is None or isinstance(self.init_, str):
            return None
        return self._init_scores(X, objective).astype(np.float32)

    def _init_scores(self, X: Any, objective: Objective) -> np.ndarray:
        return np.asarray(self.init_.predict(X), np.float64)[None]

    def _start(self, X: Any) -> np.ndarray | None:
        """Give what raw scores begin with where it is no constant."""
        return self._offset(X, self.objective_)

    def _config(self, target: np.ndarray, weight: np.ndarray | None) -> Config:
        check_range(self, ("learning_rate",), 0, math.inf, open_low=False)
        check_range(self, ("n_estimators",), 1, math.inf, open_low=False)
        check_range(self, ("subsample",), 0, 1, open_low=True)
        check_range(self, ("min_weight_fraction_leaf",), 0, 0.5, open_low=False)
        check_range(self, ("min_impurity_decrease", "tol"), 0, math.inf, open_low=False)
        num_rows = len(target)
        mass = float(num_rows if weight is None else weight.sum())
        num_features = self.n_features_in_
        kept = _number_of_features(self.max_features, num_features)
        leaves = self.max_leaf_nodes or 0
        return Config(
            num_rounds=int(self.n_estimators),
            learning_rate=float(self.learning_rate),
            max_depth=self.max_depth or (0 if leaves else 31),
            max_leaves=leaves,
            best_first=leaves > 0,
            l2=0.0,
            min_hessian=self.min_weight_fraction_leaf * mass,
            min_gain=self.min_impurity_decrease * mass * self.subsample,
            min_rows=_number_of_rows(
                "min_samples_split", self.min_samples_split, num_rows
            ),
            min_leaf_rows=_number_of_rows(
                "min_samples_leaf", self.min_samples_leaf, num_rows
            ),
            subsample=float(self.subsample),
            colsample_bynode=(kept + 0.5) / num_features
            if kept < num_features
            else 1.0,
            friedman=True,
            implementation=self.implementation,
        )

    @property
    def feature_importances_(self) -> np.ndarray:
        """Mean decrease of impurity by feature, adding up to 1."""
        found = self._importances("total_gain")
        total = found.sum()
        return found / total if total > 0 else found

    def apply(self, X: Any) -> np.ndarray:
        """Give the leaf of each row in each tree, [rows, rounds] or [.., outputs]."""
        leaves = self._predictor.leaves(self._bins(X))
        outputs = self.forest_.num_outputs
        shape = (len(leaves), -1) if outputs == 1 else (len(leaves), -1, outputs)
        return leaves.reshape(shape)


def _some(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[rows]


def _number_of_rows(name: str, value: Any, num_rows: int) -> int:
    if isinstance(value, int | np.integer) and value >= 1:
        return int(value)
    if isinstance(value, float) and 0 < value <= 1:
        return max(math.ceil(value * num_rows), 1)
    raise InputError(f"{name} {value!r} is neither a number of rows nor a share")


def _number_of_features(value: Any, num_features: int) -> int:
    if value is None:
        return num_features
    if value == "sqrt":
        return max(1, int(math.sqrt(num_features)))
    if value == "log2":
        return max(1, int(math.log2(num_features)))
    if isinstance(value, int | np.integer) and value >= 1:
        return min(int(value), num_features)
    if isinstance(value, float) and 0 < value <= 1:
        return max(1, int(value * num_features))
    raise InputError(
        f"max_features {value!r} cannot be used; give a number from 1 to "
        f"{num_features}, a share, 'sqrt', 'log2' or None"
    )


class GradientBoostingRegressor(RegressorMixin, _FriedmanModel):
    """Regression by squared_error, absolute_error, huber or quantile."""

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> "GradientBoostingRegressor":
        """Train.

        Args:
            X: Table of rows x features.
            y: Targets.
            sample_weight: Of rows.

        Raises:
            InputError: If data or settings cannot be used.
        """
        X = self._read_features(X, reset=True)
        target = read_numbers(y)
        weight = read_weight(sample_weight, len(target))
        if weight is not None and not weight.all():
            used = np.flatnonzero(weight)
            X, target, weight = take_rows(X, used), target[used], weight[used]
        losses = ("squared_error", "absolute_error", "huber", "quantile")
        name = read_choice("loss", self.loss or "squared_error", losses)
        settings = {"alpha": self.alpha} if name in ("huber", "quantile") else {}
        self._fit(X, target, weight, find_objective(name, **settings), None)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict, float64 [n]."""
        return self._raw(X, start=self._start(X))[0].astype(np.float64)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """Predict after each round."""
        for raw in self._staged_raw(X, self._start(X)):
            yield raw[0].astype(np.float64)


class GradientBoostingClassifier(ClassifierMixin, _FriedmanModel):
    """Classification by log_loss or (two classes) exponential.

    Attributes:
        classes_: Labels, sorted; of any type.
    """

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> "GradientBoostingClassifier":
        """Train; see `GradientBoostingRegressor.fit`."""
        X = self._read_features(X, reset=True)
        classes, target = read_labels(y)
        weight = read_weight(sample_weight, len(target))
        if weight is not None and not weight.all():
            used = np.flatnonzero(weight)
            X, weight = take_rows(X, used), weight[used]
            kept, target = np.unique(target[used], return_inverse=True)
            classes = classes[kept]
        if len(classes) < 2:
            raise InputError(
                f"y holds only one class, {classes.tolist()}, among the rows of "
                "positive weight; classification needs at least two classes"
            )
        name = read_choice("loss", self.loss or "log_loss", ("log_loss", "exponential"))
        if name == "exponential" and len(classes) > 2:
            raise InputError(
                f"loss exponential is for two classes, not {len(classes)}; use log_loss"
            )
        if self.warm_start and hasattr(self, "forest_"):
            if not np.array_equal(self.classes_, classes):
                raise InputError(
                    f"y has classes {classes.tolist()}, but the rounds already there "
                    f"{self.classes_.tolist()}; give the same labels"
                )
        self.classes_ = classes
        several = {"num_classes": len(classes)} if name == "log_loss" else {}
        objective = find_objective(name, **several)
        self._fit(X, target.astype(np.float64), weight, objective, target)
        return self

    def _init_target(self, target: np.ndarray) -> np.ndarray:
        return self.classes_[target.astype(np.int64)]

    def _init_scores(self, X: Any, objective: Objective) -> np.ndarray:
        tiny = np.finfo(np.float64).eps
        given = np.clip(self.init_.predict_proba(X), tiny, 1 - tiny)
        if objective.num_outputs > 1:
            logs = np.log(given.T)
            return logs - logs.mean(0, keepdims=True)
        return np.stack([_raw_of(objective, p) for p in (given[:, 1],)])

    def _probabilities(self, raw: np.ndarray) -> np.ndarray:
        found = link_scores(self.objective_, raw)
        return np.stack([1 - found[0], found[0]], axis=1) if len(raw) == 1 else found.T

    def predict_proba(self, X: Any) -> np.ndarray:
        """Give the probability of each class, float64 [n, classes]."""
        return self._probabilities(self._raw(X, start=self._start(X)))

    def predict(self, X: Any) -> np.ndarray:
        """Give the most probable class."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    def decision_function(self, X: Any) -> np.ndarray:
        """Give raw scores: [n] for two classes, else [n, classes]."""
        return _by_row(self._raw(X, start=self._start(X)))

    def staged_predict_proba(self, X: Any) -> Iterator[np.ndarray]:
        """Give probabilities after each round."""
        for raw in self._staged_raw(X, self._start(X)):
            yield self._probabilities(raw)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """Give the most probable class after each round."""
        for probabilities in self.staged_predict_proba(X):
            yield self.classes_[probabilities.argmax(1)]

    def staged_decision_function(self, X: Any) -> Iterator[np.ndarray]:
        """Give raw scores after each round."""
        for raw in self._staged_raw(X, self._start(X)):
            yield _by_row(raw)


def _by_row(raw: np.ndarray) -> np.ndarray:
    return (raw[0] if len(raw) == 1 else raw.T).astype(np.float64)


def _raw_of(objective: Objective, probability: np.ndarray) -> np.ndarray:
    return np.array([raw_base_score(objective, p)[0] for p in probability])
