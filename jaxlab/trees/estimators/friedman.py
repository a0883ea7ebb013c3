"""What the estimators of Friedman's gradient boosting have in common."""

import dataclasses
import math
from typing import Any

import numpy as np
from sklearn.base import clone

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Range, check_number
from jaxlab.trees.boost.boosting import Boosted, Config
from jaxlab.trees.boost.checks import RANGES
from jaxlab.trees.estimators.estimator import TreeEstimator
from jaxlab.trees.estimators.importance import impurity_decrease, normalised
from jaxlab.trees.estimators.inputs import (
    Number,
    TrainingRows,
    hold_out,
    read_choice,
)
from jaxlab.trees.objectives.objective import Leaf, Objective

__all__ = ["FriedmanModel"]

_ANY_DEPTH = 31
# By setting of scikit-learn's; the functional core's own where it has the same one.
_RANGES = {
    "learning_rate": RANGES["learning_rate"],
    "subsample": RANGES["subsample"],
    "min_impurity_decrease": RANGES["min_gain"],
    "tol": Range(0),
    "n_estimators": Range(1),
    "min_weight_fraction_leaf": Range(0, 0.5),
}


# The settings are fields, so that the signature of __init__ is what scikit-learn reads.
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class FriedmanModel(TreeEstimator):
    """Boosted trees of the first order, leaves by line search (Friedman 2001).

    Attributes:
        init_: The estimator to start from, if there is one.
        n_estimators_: Rounds; early stopping keeps those up to the best.
        train_score_: The loss on the training rows after each round [rounds], twice
            the half of the squared error and of the log loss as in scikit-learn; for
            huber the mean absolute error.
    """

    loss: str | None = None  # None: squared_error or log_loss
    learning_rate: Number = 0.1
    n_estimators: int = 100  # rounds; each adds a tree for every output
    subsample: Number = 1.0  # share of rows for a round
    min_samples_split: Any = 2  # rows of a node to be split, or their share
    min_samples_leaf: Any = 1  # rows of a child, or their share
    min_weight_fraction_leaf: Number = 0.0  # of the weight of all rows, for a child
    max_depth: int | None = 3
    min_impurity_decrease: Number = 0.0
    init: Any = None  # an estimator, or "zero"; None: the best constant
    random_state: Any = None
    max_features: Any = None  # to choose from in a node: a number, a share, sqrt, log2
    alpha: Number = 0.9  # level of quantile and huber
    verbose: int = 0  # 1 shows progress
    max_leaf_nodes: int | None = None  # then the leaf of the greatest gain goes first
    warm_start: bool = False  # fit goes on up to n_estimators
    validation_fraction: Number = 0.1  # share of rows to watch, for early stopping
    n_iter_no_change: int | None = None  # rounds without gain that end training
    tol: Number = 1e-4  # what counts as a gain
    max_bins: int = 255  # for values of a feature
    mesh: Any = None  # devices: `data=4`, `auto` for all, or a jax.sharding.Mesh
    implementation: str = "auto"  # of histograms

    def _earlier(self) -> "FriedmanModel | None":
        return self if self.warm_start and hasattr(self, "forest_") else None

    def _fit(self, rows: TrainingRows, labels: np.ndarray | None) -> None:
        """Train on rows that were checked; labels are to be shared out evenly."""
        earlier, objective = self._earlier(), self._find_objective()
        config = self._begin(earlier, self._config(rows))
        if earlier is None:
            self._fit_init(rows)
        first = self._first(rows, objective)
        rows = dataclasses.replace(rows, offset=self._offset(rows.X, objective))
        sets = {}
        if self.n_iter_no_change is not None:
            check_number("n_iter_no_change", self.n_iter_no_change, Range(1))
            size, share = len(rows.target), self.validation_fraction
            kept, held = hold_out(size, share, labels, self._seed)
            sets, rows = {"validation": rows.take(held)}, rows.take(kept)
        self._fit_binner(rows, earlier, max_bins=self.max_bins)
        boosted = self._train(
            rows,
            objective,
            config,
            sets,
            earlier,
            verbose=self.verbose,
            first=first,
            metrics=["mae" if objective.leaf is Leaf.HUBER else "loss"],
            watches_training=True,
            patience=self.n_iter_no_change,
            tolerance=self.tol,
        )
        self._keep_scores(boosted, earlier)

    def _keep_scores(self, boosted: Boosted, earlier: "FriedmanModel | None") -> None:
        halves = ("reg:squarederror", "binary:logistic")
        factor = 2.0 if self.objective_.name in halves else 1.0
        scores = {name: factor * np.array(v) for name, v in boosted.scores.items()}
        training = next(iter(scores.values()))
        if earlier is not None:
            training = np.concatenate([earlier.train_score_, training])
        self.n_estimators_ = self.forest_.num_rounds
        self.train_score_: np.ndarray = training[: self.n_estimators_]

    def _first(self, rows: TrainingRows, objective: Objective) -> np.ndarray | None:
        """Give raw scores to start from; None for the best constant."""
        if self.init is not None:
            return np.zeros(objective.num_outputs)
        if rows.weight is None and objective.leaf is not Leaf.NEWTON:
            # Without weights quantiles lie between rows, as in NumPy.
            level = 0.5 if objective.leaf is Leaf.HUBER else objective.alpha
            return np.atleast_1d(np.quantile(rows.target, level))
        return None

    def _fit_init(self, rows: TrainingRows) -> None:
        """Fit the estimator to start from."""
        if self.init is None or isinstance(self.init, str):
            read_choice("init", self.init or "zero", ("zero",))
            self.__dict__.pop("init_", None)
            return
        given = {} if rows.weight is None else {"sample_weight": rows.weight}
        self.init_ = clone(self.init).fit(rows.X, self._targets(rows.target), **given)

    def _targets(self, target: np.ndarray) -> np.ndarray:
        """Give targets as they came."""
        return target

    def _offset(self, X: Any, objective: Objective) -> np.ndarray | None:
        """Give the raw scores of the estimator to start from, float32 [outputs, n]."""
        if not hasattr(self, "init_"):
            return None
        return self._init_scores(X, objective).astype(np.float32)

    def _init_scores(self, X: Any, objective: Objective) -> np.ndarray:
        return np.asarray(self.init_.predict(X), np.float64)[None]

    def _start(self, X: Any) -> np.ndarray | None:
        return self._offset(X, self.objective_)

    def _config(self, rows: TrainingRows) -> Config:
        """Read the settings."""
        for name, allowed in _RANGES.items():
            check_number(name, getattr(self, name), allowed)
        if self.max_depth is not None:
            check_number("max_depth", self.max_depth, Range(1))
        leaves = 0
        if self.max_leaf_nodes is not None:
            check_number("max_leaf_nodes", self.max_leaf_nodes, Range(2))
            leaves = int(self.max_leaf_nodes)
        num_rows, num_features = len(rows.target), self.n_features_in_
        mass = float(num_rows if rows.weight is None else rows.weight.sum())
        kept = self._num_features(num_features)
        return Config(
            num_rounds=int(self.n_estimators),
            learning_rate=float(self.learning_rate),
            max_depth=self.max_depth or (0 if leaves else _ANY_DEPTH),
            max_leaves=leaves,
            best_first=leaves > 0,
            l2=0.0,
            min_hessian=self.min_weight_fraction_leaf * mass,
            min_gain=self.min_impurity_decrease * mass * self.subsample,
            min_rows=max(self._num_rows("min_samples_split", num_rows), 2),
            min_leaf_rows=self._num_rows("min_samples_leaf", num_rows),
            subsample=float(self.subsample),
            colsample_bynode=min(1.0, (kept + 0.5) / num_features),
            friedman=True,
            implementation=self.implementation,
        )

    def _num_rows(self, name: str, num_rows: int) -> int:
        """Read a number of rows, or a share of them."""
        value = getattr(self, name)
        if isinstance(value, int | np.integer) and value >= 1:
            return int(value)
        if isinstance(value, float) and 0 < value <= 1:
            return math.ceil(value * num_rows)
        raise InputError(
            f"{name} {value!r} cannot be used; give a number of rows, or a share of "
            "them above 0 and at most 1"
        )

    def _num_features(self, num_features: int) -> int:
        """Read how many features a node may choose from."""
        value = self.max_features
        roots = {"sqrt": math.sqrt, "log2": math.log2}
        if value is None:
            return num_features
        if isinstance(value, str) and value in roots:
            return max(1, int(roots[value](num_features)))
        if isinstance(value, int | np.integer) and value >= 1:
            return min(int(value), num_features)
        if isinstance(value, float) and 0 < value <= 1:
            return max(1, int(value * num_features))
        raise InputError(
            f"max_features {value!r} cannot be used; give a number from 1 to "
            f"{num_features}, a share, 'sqrt', 'log2' or None"
        )

    @property
    def feature_importances_(self) -> np.ndarray:
        """Mean decrease of impurity by feature, adding up to 1."""
        return normalised(impurity_decrease(self.forest_, self.n_features_in_))

    def apply(self, X: Any) -> np.ndarray:
        """Give the leaf of each row in each tree, [rows, rounds] or [.., outputs]."""
        bins = self._bins(X)
        leaves, outputs = self._predictor.leaves(bins), self.forest_.num_outputs
        shape = (len(leaves), -1) if outputs == 1 else (len(leaves), -1, outputs)
        return leaves.reshape(shape)
