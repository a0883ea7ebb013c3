"""What the XGBoost-style estimators have in common: settings, training, scores."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxlab.core.compilation import use_compilation_cache
from jaxlab.core.errors import InputError
from jaxlab.trees.binning import fit_binner
from jaxlab.trees.boosting import Boosted, Evaluation, bin_rows, train
from jaxlab.trees.estimator import TreeEstimator
from jaxlab.trees.inputs import hold_out, read_mesh, read_weight, seed_of, take_rows
from jaxlab.trees.objective import Objective
from jaxlab.trees.progress import show_progress
from jaxlab.trees.ranking import Groups
from jaxlab.trees.settings import config_of, raw_base_score
from jaxlab.trees.tree import Forest

__all__ = ["Rows", "SecondOrderModel"]


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows to train on, or to watch."""

    X: Any
    target: np.ndarray  # float64 [n]
    weight: np.ndarray | None = None
    margin: np.ndarray | None = None  # raw scores to add to, [outputs, n]
    qid: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Rows":
        """Give some of the rows."""
        return Rows(
            take_rows(self.X, rows),
            self.target[rows],
            None if self.weight is None else self.weight[rows],
            None if self.margin is None else self.margin[:, rows],
            None if self.qid is None else self.qid[rows],
        )

    def take_target(self, target: np.ndarray) -> "Rows":
        """Give the rows with other targets."""
        return dataclasses.replace(self, target=target)


# The settings are fields, so that the signature of __init__ is what scikit-learn reads.
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class SecondOrderModel(TreeEstimator):
    """Boosted trees of the second order (Chen & Guestrin 2016, arXiv:1603.02754)."""

    n_estimators: int = 100  # rounds; each adds a tree for every output
    learning_rate: float = 0.3
    max_depth: int = 6  # 0: any, if max_leaves is given
    max_leaves: int = 0  # 0: as many as the depth allows
    grow_policy: str = "depthwise"  # or lossguide: the leaf of the greatest gain first
    min_child_weight: float = 1.0  # least hessian of a child
    reg_lambda: float = 1.0  # L2
    reg_alpha: float = 0.0  # L1
    gamma: float = 0.0  # least gain of a split
    max_delta_step: float | None = None  # largest leaf; None: as the objective has it
    subsample: float = 1.0  # share of rows for a round
    sampling_method: str = "uniform"  # or goss: all large gradients, some of the others
    top_rate: float = 0.2  # goss: share of rows of the largest gradients
    other_rate: float = 0.1  # goss: share of rows drawn from the others
    colsample_bytree: float = 1.0
    colsample_bylevel: float = 1.0  # of the tree's
    colsample_bynode: float = 1.0  # of the level's
    max_bin: int = 256  # 255 of them for values, one for missing ones
    objective: Any = None  # a name, or a JAX function loss(raw, target); None: default
    num_outputs: int | None = None  # raw scores a row of a loss of your own
    link: Any = None  # of a loss of your own: from raw scores to predictions
    base_score: Any = None  # prediction before the first tree; None: the best constant
    scale_pos_weight: float = 1.0  # weight of class 1, of two
    quantile_alpha: Any = 0.5  # one level, or several
    huber_slope: float = 1.0
    tweedie_variance_power: float = 1.5
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
    rate_drop: float = 0.0  # dart: chance of each tree to be dropped
    skip_drop: float = 0.0  # dart: chance of a round to drop none
    one_drop: bool = False  # dart: drop at least one
    sample_type: str = "uniform"  # dart; or weighted: by the trees' weights
    normalize_type: str = "tree"  # dart; or forest
    eval_metric: Any = None  # a name, a function of target and prediction, or a list
    early_stopping_rounds: int | None = None
    validation_fraction: float | None = None  # share of rows to watch, if no eval_set
    importance_type: str = "gain"  # or weight, cover, total_gain, total_cover
    warm_start: bool = False  # fit goes on up to n_estimators
    mesh: Any = None  # devices: `data=4`, `auto` for all, or a jax.sharding.Mesh
    implementation: str = "auto"  # of histograms
    random_state: Any = None
    verbose: int = 0  # 1 shows progress

    def _fit(
        self,
        rows: Rows,
        objective: Objective,
        evaluations: dict[str, Rows],
        earlier: Any,
        verbose: int | None,
    ) -> None:
        """Train on rows that were checked."""
        use_compilation_cache()
        if earlier is None or not self.warm_start:
            self._seed = seed_of(self.random_state)
        names = list(getattr(self, "feature_names_in_", ()))
        config = config_of(self, objective, names, self.n_features_in_)
        if self.early_stopping_rounds is not None and self.early_stopping_rounds < 1:
            raise InputError(
                f"early_stopping_rounds {self.early_stopping_rounds} is not at least 1"
            )
        if self.validation_fraction is not None and not evaluations:
            rows, held = self._hold_out(rows)
            evaluations = {"validation_0": held}
        if rows.weight is not None and (rows.weight == 0).any() and rows.qid is None:
            rows = rows.take(np.flatnonzero(rows.weight))
        init = None
        if earlier is None:
            self.binner_ = self._fit_binner(rows)
        else:
            self.binner_, init = earlier.binner_, earlier.forest_
            done = init.num_rounds if earlier is self else 0
            config = dataclasses.replace(config, num_rounds=config.num_rounds - done)
            if config.num_rounds < 0:
                raise InputError(
                    f"n_estimators {self.n_estimators} is below the {done} rounds "
                    "already there; with warm_start it counts them"
                )
        metrics = _as_list(self.eval_metric)
        with show_progress(self.verbose if verbose is None else verbose) as watch:
            boosted = train(
                bin_rows(self.binner_, rows.X),
                rows.target,
                objective,
                config,
                jax.random.key(self._seed),
                weight=rows.weight,
                groups=self._groups(rows),
                first=self._first(objective, rows),
                init=init,
                offset=rows.margin,
                evaluations={
                    name: Evaluation(
                        bin_rows(self.binner_, one.X),
                        one.target,
                        one.weight,
                        self._groups(one),
                    )
                    for name, one in evaluations.items()
                },
                metrics=metrics,
                patience=self.early_stopping_rounds,
                watch=watch,
                mesh=read_mesh(self.mesh),
            )
        self.objective_ = objective
        self._keep(boosted.forest)
        self._keep_scores(boosted, list(evaluations), init)

    def _hold_out(self, rows: Rows) -> tuple[Rows, Rows]:
        share = self.validation_fraction or 0.0
        first, second = hold_out(
            len(rows.target), share, self._strata(rows), self._seed
        )
        return rows.take(first), rows.take(second)

    def _strata(self, rows: Rows) -> np.ndarray | None:
        return None

    def _groups(self, rows: Rows) -> Groups | None:
        return None

    def _fit_binner(self, rows: Rows) -> Any:
        if not isinstance(self.max_bin, int | np.integer) or not self.max_bin >= 2:
            raise InputError(f"max_bin {self.max_bin!r} is not a number from 2 to 256")
        binner = fit_binner(
            rows.X,
            max_bins=min(int(self.max_bin), 255),
            weight=rows.weight,
            categorical=self.categorical_features,
            seed=self._seed,
        )
        if not self.enable_categorical and binner.is_categorical.any():
            place = int(np.argmax(binner.is_categorical))
            raise InputError(
                f"column {place} of X holds categories, but enable_categorical is "
                "False; set it, or pass numbers"
            )
        return binner

    def _first(self, objective: Objective, rows: Rows) -> np.ndarray | None:
        if self.base_score is not None:
            return raw_base_score(objective, self.base_score)
        return None if rows.margin is None else np.zeros(objective.num_outputs)

    def _keep_scores(
        self, boosted: Boosted, names: Sequence[str], init: Forest | None
    ) -> None:
        self.evals_result_: dict[str, dict[str, list[float]]] = {}
        for key, values in boosted.scores.items():
            name = next(n for n in names if key.startswith(f"{n}-"))
            metric = key.removeprefix(f"{name}-")
            self.evals_result_.setdefault(name, {})[metric] = values
        self._best = None
        if boosted.best_round is not None:
            last = list(boosted.scores.values())[-1]
            begun = 0 if init is None else init.num_rounds
            self._best = (begun + boosted.best_round, last[boosted.best_round])

    def evals_result(self) -> dict[str, dict[str, list[float]]]:
        """Give the metrics of each round, by set and metric."""
        return self.evals_result_

    @property
    def best_iteration(self) -> int:
        """The round, from 0, that early stopping kept the forest of."""
        if getattr(self, "_best", None) is None:
            raise AttributeError("best_iteration needs a fit with early stopping")
        return self._best[0]

    @property
    def best_score(self) -> float:
        """The metric of the best round."""
        if getattr(self, "_best", None) is None:
            raise AttributeError("best_score needs a fit with early stopping")
        return self._best[1]

    @property
    def intercept_(self) -> np.ndarray:
        """Raw scores before the first tree, [outputs]."""
        return np.asarray(self.forest_.start)

    @property
    def feature_importances_(self) -> np.ndarray:
        """Importances of kind `importance_type` [features], adding up to 1."""
        found = self._importances(self.importance_type)
        total = found.sum()
        return found / total if total > 0 else found

    def apply(self, X: Any, iteration_range: Any = None) -> np.ndarray:
        """Give the leaf of each row in each tree, int32 [rows, trees]."""
        bins = self._bins(X)
        begin, end = self._range(iteration_range) or (0, self.forest_.num_rounds)
        part = self._predictor_of(self.forest_.rounds(end, begin))
        return part.leaves(bins)

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

    def _margin(self, margin: Any, num_rows: int) -> np.ndarray | None:
        """Read base_margin, [n] or [n, outputs], to [outputs, n]."""
        if margin is None:
            return None
        found = np.asarray(margin, np.float32)
        found = found[None] if found.ndim == 1 else found.T
        if found.shape[1] != num_rows or not np.isfinite(found).all():
            raise InputError(
                f"base_margin has shape {np.shape(margin)}; give one finite raw score "
                f"for each of the {num_rows} rows (and output)"
            )
        return found

    def _scores(
        self, X: Any, iteration_range: Any = None, base_margin: Any = None
    ) -> np.ndarray:
        start = None
        if base_margin is not None:
            start = self._margin(base_margin, len(base_margin))
        return self._raw(X, rounds=self._range(iteration_range), start=start)

    def _staged(self, X: Any) -> Iterator[np.ndarray]:
        return self._staged_raw(X)

    def _read_earlier(self, xgb_model: Any) -> Any:
        """Find the model to go on from, if any."""
        if xgb_model is not None:
            if isinstance(xgb_model, str):
                xgb_model = type(self)().load_model(xgb_model)
            if not hasattr(xgb_model, "forest_"):
                raise InputError("xgb_model was not fitted; fit it, or give a file")
            return xgb_model
        return self if self.warm_start and hasattr(self, "forest_") else None

    def _read_rows(
        self, X: Any, target: np.ndarray, weight: Any, margin: Any = None
    ) -> Rows:
        return Rows(
            X,
            target,
            read_weight(weight, len(target)),
            self._margin(margin, len(target)),
        )

    def _read_evaluations(
        self, eval_set: Any, weights: Any, read_target: Any
    ) -> dict[str, Rows]:
        """Read rows to watch: `validation_0` and so on."""
        if eval_set is None:
            return {}
        sets = list(eval_set)
        weights = [None] * len(sets) if weights is None else list(weights)
        if len(weights) != len(sets) or any(len(pair) != 2 for pair in sets):
            raise InputError(
                "eval_set is a list of pairs (X, y), with a list of weights as long"
            )
        found = {}
        for number, ((X, y), weight) in enumerate(zip(sets, weights, strict=True)):
            name = f"validation_{number}"
            self._read_features(X, reset=False)
            target = read_target(y, name)
            found[name] = self._read_rows(X, target, weight)
        return found


def _as_list(metric: Any) -> list[Any]:
    if metric is None:
        return []
    return list(metric) if isinstance(metric, list | tuple) else [metric]
