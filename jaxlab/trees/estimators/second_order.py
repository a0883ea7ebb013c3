"""What the XGBoost-style estimators have in common: settings, training, scores."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Range, check_number
from jaxlab.trees.boost.boosting import Boosted, train
from jaxlab.trees.boost.dart import Dart, train_dart
from jaxlab.trees.estimators.estimator import TreeEstimator
from jaxlab.trees.estimators.importance import importances, normalised
from jaxlab.trees.estimators.inputs import (
    Number,
    TrainingRows,
    hold_out,
    read_margin,
    read_weight,
)
from jaxlab.trees.estimators.settings import config_of, dart_of, raw_base_score
from jaxlab.trees.grow.predict import Predictor
from jaxlab.trees.objectives.objective import Objective

__all__ = ["SecondOrderModel"]

_MOST_VALUES = 255  # bins of values, beside the one of missing values


# The settings are fields, so that the signature of __init__ is what scikit-learn reads.
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class SecondOrderModel(TreeEstimator):
    """Boosted trees of the second order (Chen & Guestrin 2016, arXiv:1603.02754)."""

    _default_seed = 0  # as XGBoost's

    n_estimators: int = 100  # rounds; each adds a tree for every output
    learning_rate: Number = 0.3
    max_depth: int = 6  # 0: any, if max_leaves is given
    max_leaves: int = 0  # 0: as many as the depth allows
    grow_policy: str = "depthwise"  # or lossguide: the leaf of the greatest gain first
    min_child_weight: Number = 1.0  # least hessian of a child
    reg_lambda: Number = 1.0  # L2
    reg_alpha: Number = 0.0  # L1
    gamma: Number = 0.0  # least gain of a split
    max_delta_step: Number | None = None  # largest leaf; None: as the objective has it
    subsample: Number = 1.0  # share of rows for a round
    sampling_method: str = "uniform"  # or goss: all large gradients, some of the others
    top_rate: Number = 0.2  # goss: share of rows of the largest gradients
    other_rate: Number = 0.1  # goss: share of rows drawn from the others
    colsample_bytree: Number = 1.0
    colsample_bylevel: Number = 1.0  # of the tree's
    colsample_bynode: Number = 1.0  # of the level's
    max_bin: int = 256  # 255 of them for values, one for missing ones
    objective: Any = None  # a name, or a JAX function loss(raw, target); None: default
    num_outputs: int | None = None  # raw scores a row of a loss of your own
    link: Any = None  # of a loss of your own: from raw scores to predictions
    base_score: Any = None  # prediction before the first tree; None: the best constant
    scale_pos_weight: Number = 1.0  # weight of class 1, of two
    quantile_alpha: Any = 0.5  # one level, or several
    huber_slope: Number = 1.0
    tweedie_variance_power: Number = 1.5
    lambdarank_num_pair_per_sample: int | None = 32  # places paired; None: all
    lambdarank_normalization: bool = True
    lambdarank_score_normalization: bool = True
    ndcg_exp_gain: bool = True
    monotone_constraints: Any = None  # 1 rising, -1 falling, 0 free; by place or name
    interaction_constraints: Any = None  # sets of features that may meet on a path
    enable_categorical: bool = True
    categorical_features: Any = None  # beside the columns of pandas' type category
    max_cat_to_onehot: int = 4
    booster: str = "gbtree"  # or dart: drop trees while others are grown
    rate_drop: Number = 0.0  # dart: chance of each tree to be dropped
    skip_drop: Number = 0.0  # dart: chance of a round to drop none
    one_drop: bool = False  # dart: drop at least one
    sample_type: str = "uniform"  # dart; or weighted: by the trees' weights
    normalize_type: str = "tree"  # dart; or forest
    eval_metric: Any = None  # a name, a function of target and prediction, or a list
    early_stopping_rounds: int | None = None
    validation_fraction: Number | None = None  # share of rows to watch, if no eval_set
    importance_type: str = "gain"  # or weight, cover, total_gain, total_cover
    warm_start: bool = False  # fit goes on up to n_estimators
    mesh: Any = None  # devices: `data=4`, `auto` for all, or a jax.sharding.Mesh
    implementation: str = "auto"  # of histograms
    random_state: Any = None  # None: 0
    verbose: int = 0  # 1 shows progress

    def _fit(
        self,
        rows: TrainingRows,
        sets: dict[str, TrainingRows],
        earlier: TreeEstimator | None,
        verbose: int | None,
    ) -> None:
        """Train on rows that were checked."""
        objective = self._find_objective()
        names = list(getattr(self, "feature_names_in_", ()))
        config = config_of(self, objective, names, self.n_features_in_)
        config = self._begin(earlier, config)
        if self.early_stopping_rounds is not None:
            patience = self.early_stopping_rounds
            check_number("early_stopping_rounds", patience, Range(1))
        if self.validation_fraction is not None and not sets:
            rows, held = self._hold_out(rows)
            sets = {"validation_0": held}
        check_number("max_bin", self.max_bin, Range(2, _MOST_VALUES + 1))
        self._fit_binner(
            rows,
            earlier,
            max_bins=min(int(self.max_bin), _MOST_VALUES),
            categorical=self.categorical_features,
        )
        if not self.enable_categorical and self.binner_.is_categorical.any():
            raise InputError(
                "X has columns of categories, but enable_categorical is False; set it, "
                "or pass numbers"
            )
        boosted = self._train(
            rows,
            objective,
            config,
            sets,
            earlier,
            verbose=self.verbose if verbose is None else verbose,
            trainer=self._trainer(earlier),
            first=self._first(objective, rows),
            metrics=_as_list(self.eval_metric),
            patience=self.early_stopping_rounds,
        )
        self._keep_scores(boosted, list(sets), self.forest_.num_rounds)

    def _hold_out(self, rows: TrainingRows) -> tuple[TrainingRows, TrainingRows]:
        first, second = hold_out(
            len(rows.target), self.validation_fraction, self._strata(rows), self._seed
        )
        return rows.take(first), rows.take(second)

    def _strata(self, rows: TrainingRows) -> np.ndarray | None:
        return None

    def _trainer(self, earlier: TreeEstimator | None) -> Callable[..., Boosted]:
        dart = dart_of(self)
        if dart is None:
            self._tree_weights: np.ndarray | None = None
            return train
        weights = getattr(earlier, "_tree_weights", None)
        return functools.partial(self._train_dart, dart=dart, weights=weights)

    def _train_dart(self, *args: Any, dart: Dart, weights: Any, **options: Any) -> Any:
        boosted, self._tree_weights = train_dart(
            *args, dart=dart, weights=weights, **options
        )
        return boosted

    def _first(self, objective: Objective, rows: TrainingRows) -> np.ndarray | None:
        """Give the raw scores to start from; None for the best constant."""
        if rows.offset is not None:
            if len(rows.offset) != objective.num_outputs:
                raise InputError(
                    f"base_margin has {len(rows.offset)} raw scores a row, but "
                    f"objective {objective.name} has {objective.num_outputs}"
                )
            return np.zeros(objective.num_outputs)
        if self.base_score is not None:
            return raw_base_score(objective, self.base_score)
        return None

    def _keep_scores(self, boosted: Boosted, names: list[str], rounds: int) -> None:
        self.evals_result_: dict[str, dict[str, list[float]]] = {}
        for key, values in boosted.scores.items():
            name = next(n for n in names if key.startswith(f"{n}-"))
            metric = key.removeprefix(f"{name}-")
            self.evals_result_.setdefault(name, {})[metric] = values
        self._best = None
        if boosted.best_round is not None:
            last = list(boosted.scores.values())[-1]
            self._best = (rounds - 1, last[boosted.best_round])

    def evals_result(self) -> dict[str, dict[str, list[float]]]:
        """Give the metrics of each round, by set and metric."""
        return self.evals_result_

    @property
    def best_iteration(self) -> int:
        """The round, from 0, up to which early stopping kept the trees."""
        return self._of_best_round()[0]

    @property
    def best_score(self) -> float:
        """The metric of the best round."""
        return self._of_best_round()[1]

    def _of_best_round(self) -> tuple[int, float]:
        best = getattr(self, "_best", None)
        if best is None:
            raise AttributeError("a best round needs a fit with early stopping")
        return best

    @property
    def intercept_(self) -> np.ndarray:
        """Raw scores before the first tree, [outputs]."""
        return np.asarray(self.forest_.start)

    @property
    def feature_importances_(self) -> np.ndarray:
        """Importances of kind `importance_type` [features], adding up to 1."""
        kind = self.importance_type
        return normalised(importances(self.forest_, self.n_features_in_, kind))

    def apply(self, X: Any, *, iteration_range: Any = None) -> np.ndarray:
        """Give the leaf of each row in each tree, int32 [rows, trees]."""
        bins = self._bins(X)
        begin, end = self._range(iteration_range) or (0, self.forest_.num_rounds)
        return Predictor(self.forest_.rounds(end, begin)).leaves(bins)

    def _range(self, iteration_range: Any) -> tuple[int, int] | None:
        if iteration_range is None:
            return None
        begin, end = iteration_range
        end = end or self.forest_.num_rounds
        if not 0 <= begin < end <= self.forest_.num_rounds:
            raise InputError(
                f"iteration_range {iteration_range!r} does not lie in the "
                f"{self.forest_.num_rounds} rounds; give (first, one after the last)"
            )
        return begin, end

    def _scores(
        self, X: Any, iteration_range: Any = None, base_margin: Any = None
    ) -> np.ndarray:
        rounds = None
        if iteration_range is not None and hasattr(self, "forest_"):
            rounds = self._range(iteration_range)
        start = None
        if base_margin is not None:
            start = read_margin(base_margin, len(base_margin))
        return self._raw(X, rounds, start)

    def _read_earlier(self, xgb_model: Any) -> Any:
        """Find the model to go on from, if any."""
        if xgb_model is None:
            return self if self.warm_start and hasattr(self, "forest_") else None
        if not isinstance(xgb_model, TreeEstimator):
            xgb_model = type(self)(**self.get_params()).load_model(xgb_model)
        if not hasattr(xgb_model, "forest_"):
            raise InputError("xgb_model was not fitted; fit it, or give a file")
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(xgb_model, name):
                setattr(self, name, getattr(xgb_model, name))
        return xgb_model

    def _read_evaluations(
        self,
        eval_set: Any,
        weights: Any,
        read_target: Callable[[Any, str], np.ndarray],
    ) -> dict[str, TrainingRows]:
        """Read rows to watch: `validation_0` and so on."""
        sets = list(eval_set or ())
        weights = [None] * len(sets) if weights is None else list(weights)
        if len(weights) != len(sets) or any(len(pair) != 2 for pair in sets):
            raise InputError(
                f"eval_set of {len(sets)} cannot be used with {len(weights)} weights; "
                "give a list of pairs (X, y), and a list of weights as long"
            )
        found = {}
        for number, ((X, y), weight) in enumerate(zip(sets, weights, strict=True)):
            name = f"validation_{number}"
            X = self._read_features(X, reset=False)
            target = read_target(y, name)
            found[name] = TrainingRows(X, target, read_weight(weight, len(target)))
        return found


def _as_list(metric: Any) -> list[Any]:
    if metric is None:
        return []
    return list(metric) if isinstance(metric, list | tuple) else [metric]
