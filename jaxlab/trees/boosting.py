"""Boosting as a pure function: `boost(binned, target, objective, config, key) -> Forest`.

Each round adds, for each output, a tree grown on the gradients of the loss at the scores
so far (Friedman 2001; Chen & Guestrin 2016). Round t draws from `fold_in(key, t)` and
knows only the scores, so that a continued run equals an uninterrupted one bit for bit.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Key
from jaxlab.trees import placement, start
from jaxlab.trees.binning import Binner, transform
from jaxlab.trees.grow import can_compile
from jaxlab.trees.histogram import choose
from jaxlab.trees.metric import find_metric
from jaxlab.trees.objective import Leaf, Objective, check_target
from jaxlab.trees.placement import padded_rows
from jaxlab.trees.plan import Shape
from jaxlab.trees.predict import Predictor
from jaxlab.trees.ranking import Groups
from jaxlab.trees.round import NUM_SLOTS, Hyper, Plan, run_rounds
from jaxlab.trees.split import Limits, Rules
from jaxlab.trees.tree import Forest, Nodes, concatenate

__all__ = ["Binned", "Boosted", "Config", "Evaluation", "Progress", "bin_rows", "boost"]
__all__ += ["train"]

Sampling = Literal["uniform", "goss"]
_SECONDS = 0.3  # of rounds between two words with the host
_EPSILON = 1e-6  # least gain of XGBoost: below it lies rounding


@dataclasses.dataclass(frozen=True)
class Config:
    """What boosting does. The defaults are XGBoost's."""

    num_rounds: int = 100
    learning_rate: float = 0.3
    max_depth: int = 6  # 0: any, if max_leaves is given
    max_leaves: int = 0  # 0: as many as the depth allows
    best_first: bool = (
        False  # split the leaf with the greatest gain, not level by level
    )
    l2: float = 1.0  # reg_lambda
    l1: float = 0.0  # reg_alpha
    min_gain: float = 0.0  # gamma
    min_hessian: float = 1.0  # min_child_weight
    min_rows: int = 2  # of a node to be split
    min_leaf_rows: int = 1
    max_delta_step: float = 0.0  # 0: any
    subsample: float = 1.0  # share of rows for a round
    sampling: Sampling = "uniform"
    top_rate: float = 0.2  # goss: share of rows with the largest gradients, all kept
    other_rate: float = 0.1  # goss: share of rows drawn from the others
    colsample_bytree: float = 1.0
    colsample_bylevel: float = 1.0
    colsample_bynode: float = 1.0
    max_onehot: int = 4  # categories up to which one is split off from the others
    monotone: tuple[int, ...] = ()  # by feature: 1 rising, -1 falling, 0 free
    interactions: tuple[tuple[int, ...], ...] = ()  # sets that may meet on a path
    friedman: bool = False  # trees on residuals, leaves by line search
    implementation: str = "auto"  # of histograms


class Binned(NamedTuple):
    """Rows in bins, padded, and what made them."""

    bins: np.ndarray  # uint8 [padded rows, features]
    num_rows: int
    binner: Binner


class Evaluation(NamedTuple):
    """Held-out rows whose metric is watched."""

    binned: Binned
    target: np.ndarray
    weight: np.ndarray | None = None
    groups: Groups | None = None


class Progress(NamedTuple):
    """What a watcher is told between rounds."""

    done: int
    total: int
    scores: dict[str, list[float]]  # by `set-metric`, one value a round
    forest: Callable[[], Forest]  # what is grown so far


class Boosted(NamedTuple):
    """What training gives."""

    forest: Forest
    scores: dict[str, list[float]]
    best_round: int | None  # with early stopping: counted from 0


def bin_rows(binner: Binner, X: Any) -> Binned:
    """Put rows in bins, padded to a size that other data sets share."""
    num_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    return Binned(
        transform(binner, X, pad_rows_to=padded_rows(num_rows)), num_rows, binner
    )


def boost(
    binned: Binned,
    target: np.ndarray,
    objective: Objective,
    config: Config,
    key: Key[Array, ""],
    **options: Any,
) -> Forest:
    """Train a forest; see `train`, which tells more."""
    return train(binned, target, objective, config, key, **options).forest


def train(
    binned: Binned,
    target: np.ndarray,
    objective: Objective,
    config: Config,
    key: Key[Array, ""],
    *,
    weight: np.ndarray | None = None,
    groups: Groups | None = None,
    first: Any = None,
    init: Forest | None = None,
    offset: np.ndarray | None = None,
    evaluations: dict[str, Evaluation] | None = None,
    metrics: Sequence[str] = (),
    patience: int | None = None,
    tolerance: float = 0.0,
    watch: Callable[[Progress], Any] | None = None,
    mesh: Mesh | None = None,
) -> Boosted:
    """Train a forest.

    Args:
        binned: Rows in bins.
        target: float [n].
        objective: What is minimised; resolved against the data here.
        config: How.
        key: Of all draws.
        weight: float [n], at least 0.
        groups: Of rows to queries, for ranking.
        first: Raw score before the first tree, by output; by default the best constant.
        init: A forest of the same binner to go on from; its rounds count.
        offset: Raw scores to add to, float [outputs, n].
        evaluations: Held-out rows by name.
        metrics: Names of what is watched on them; the objective's own by default.
        patience: Stop when the last metric of the last evaluation has not improved in
            so many rounds, and keep the best round's forest.
        tolerance: By how much it must improve.
        watch: Called between rounds with a `Progress`.
        mesh: Devices to share the rows out to; by default one device.

    Raises:
        InputError: If target, weight or a setting cannot be used.
    """
    evaluations = evaluations or {}
    _check(binned, target, weight, config, patience, evaluations)
    check_target(objective, target)
    used = np.ones(len(target)) if weight is None else np.asarray(weight, np.float64)
    objective = start.resolve(objective, target, used)
    if init is None:
        if first is None:
            first = start.start(objective, target, used)
        beginning = np.asarray(first, np.float32).reshape(objective.num_outputs)
        init = _empty(beginning, config, binned)
    names = tuple(metrics) or (objective.metric,)
    plan = _plan(binned, objective, config, names, weight is not None, mesh)
    run = _Run(plan, config, binned, target, weight, groups, mesh, key)
    run.begin(init, offset, evaluations)
    return run.until(config.num_rounds, patience, tolerance, watch)


def _check(
    binned: Binned,
    target: np.ndarray,
    weight: np.ndarray | None,
    config: Config,
    patience: int | None,
    evaluations: dict[str, Evaluation],
) -> None:
    if target.shape != (binned.num_rows,):
        raise InputError(
            f"target has shape {target.shape}, but there are {binned.num_rows} rows; "
            "give one number a row"
        )
    if weight is not None:
        if weight.shape != target.shape:
            raise InputError(
                f"weight has shape {weight.shape}, but there are {len(target)} rows; "
                "give one number a row"
            )
        if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
            raise InputError(
                f"weight goes from {weight.min()} to {weight.max()}; weights must be "
                "finite, not negative, and not all 0"
            )
    if not config.max_depth and not config.max_leaves:
        raise InputError(
            "max_depth 0 and max_leaves 0 would let a tree grow without end; give one"
        )
    if config.max_leaves == 1 or config.max_leaves < 0 or config.max_depth < 0:
        raise InputError(
            f"max_leaves {config.max_leaves} and max_depth {config.max_depth} cannot be "
            "used; max_leaves is 0 or at least 2, max_depth at least 0"
        )
    if patience is not None and not evaluations:
        raise InputError(
            "early stopping needs rows to watch; give an evaluation set, or a share of "
            "the rows to hold out"
        )


def _plan(
    binned: Binned,
    objective: Objective,
    config: Config,
    metrics: tuple[str, ...],
    is_weighted: bool,
    mesh: Mesh | None,
) -> Plan:
    """Collect what the compiled program depends on."""
    binner, num_devices = binned.binner, 1 if mesh is None else mesh.size
    implementation = choose(config.implementation)
    limits = Limits(
        has_categories=bool(binner.is_categorical.any()),
        has_monotone=any(config.monotone),
        max_onehot=config.max_onehot,
    )
    # A hessian of 1 a row counts the rows, which `min_hessian` can then limit.
    counts_rows = config.friedman or objective.unit_hessian
    has_counts = config.min_leaf_rows > 1 and (is_weighted or not counts_rows)
    axis_name = None if mesh is None else tuple(mesh.axis_names)
    is_whole = can_compile(
        implementation,
        limits,
        has_counts=has_counts,
        has_groups=bool(config.interactions),
        num_devices=num_devices,
    )
    rows = padded_rows(binned.num_rows, num_devices)
    shape = Shape(
        num_bins=binner.num_bins,
        num_rows=rows,
        max_depth=config.max_depth,
        max_leaves=_num_leaves(config, binned.num_rows),
        best_first=config.best_first,
        implementation=implementation,
        is_whole=is_whole,
        has_counts=has_counts,
        limits=limits,
        axis_name=axis_name,
    )
    return Plan(
        shape=shape,
        objective=objective,
        metrics=metrics,
        friedman=config.friedman,
        is_weighted=is_weighted,
        sampling=_sampling(config),
        top_rate=config.top_rate,
        other_rate=config.other_rate,
        column_rates=(
            config.colsample_bytree,
            config.colsample_bylevel,
            config.colsample_bynode,
        ),
        mesh=mesh,
    )


def _sampling(config: Config) -> str:
    if config.sampling == "goss":
        return "goss"
    return "uniform" if config.subsample < 1 else "none"


def _num_leaves(config: Config, num_rows: int) -> int:
    """Bound the leaves of a tree; by the rows in sizes that data sets share."""
    most = 1 << (max(num_rows, 2) - 1).bit_length()
    if config.max_depth and config.max_depth < 31:
        most = min(most, 1 << config.max_depth)
    return min(config.max_leaves, most) if config.max_leaves else most


def _rules(config: Config, plan: Plan) -> Rules:
    least = config.min_hessian
    if config.min_leaf_rows > 1 and not plan.shape.has_counts:
        least = max(least, float(config.min_leaf_rows))
    return Rules(
        l2=np.float64(config.l2),
        l1=np.float64(config.l1),
        min_hessian=np.float64(least),
        min_gain=np.float64(max(config.min_gain, 0 if config.friedman else _EPSILON)),
        min_rows=np.float64(config.min_rows),
        max_delta_step=np.float64(config.max_delta_step or np.inf),
        min_leaf_rows=np.float64(config.min_leaf_rows),
    )


def _empty(first: np.ndarray, config: Config, binned: Binned) -> Forest:
    width = 2 * _num_leaves(config, binned.num_rows) - 1
    like = {
        "left": np.int32,
        "feature": np.int32,
        "bin": np.int32,
        "missing_left": np.bool_,
        "count": np.int32,
    }
    fields: dict[str, Any] = {
        field.name: np.zeros((0, width), like.get(field.name, np.float32))
        for field in dataclasses.fields(Nodes)
    }
    fields["left_bins"] = np.zeros((0, width, 8), np.uint32)
    return Forest(Nodes(**fields), first, binned.binner.num_bins)


class _Run:
    """Rounds on the devices, and what the host keeps of them."""

    def __init__(
        self,
        plan: Plan,
        config: Config,
        binned: Binned,
        target: np.ndarray,
        weight: np.ndarray | None,
        groups: Groups | None,
        mesh: Mesh | None,
        key: Array,
    ) -> None:
        self.plan, self.config, self.key = plan, config, key
        self.binned = binned
        self.hyper = Hyper(
            np.float32(config.learning_rate),
            _rules(config, plan),
            np.float32(config.subsample),
        )
        self.data = placement.place_rows(
            plan, config, binned.bins, binned.binner, target, weight, groups
        )

    def begin(
        self, init: Forest, offset: Any, evaluations: dict[str, Evaluation]
    ) -> None:
        """Compute the scores so far."""
        self.init = init
        has_categories = bool(self.binned.binner.is_categorical.any())
        predictor = Predictor(init, has_categories)

        def scores(binned: Binned, rows: int, offset: Any = None) -> np.ndarray:
            begin = np.zeros((init.num_outputs, rows), np.float32)
            begin += np.asarray(init.start, np.float32)[:, None]
            if offset is not None:
                begin[:, : binned.num_rows] += np.asarray(offset, np.float32)
            if init.num_trees:
                bins = binned.bins[: binned.num_rows]
                begin[:, : binned.num_rows] = predictor.raw(
                    bins, start=begin[:, : binned.num_rows]
                )
            return begin

        self.names = [
            f"{name}-{metric}" for name in evaluations for metric in self.plan.metrics
        ]
        raw = scores(self.binned, self.plan.shape.num_rows, offset)
        self.raw = placement.place_scores(self.plan, raw)
        sets = list(evaluations.values())
        self.evals = tuple(placement.place_evaluation(self.plan, *e) for e in sets)
        self.eval_raws = tuple(
            placement.replicate(self.plan, scores(e.binned, len(e.binned.bins)))
            for e in sets
        )
        self.parts: list[Nodes] = []
        self.scores: dict[str, list[float]] = {name: [] for name in self.names}

    def until(
        self,
        num_rounds: int,
        patience: int | None,
        tolerance: float,
        watch: Callable[[Progress], Any] | None,
    ) -> Boosted:
        """Run the rounds, in parts of a fraction of a second."""
        done, size, begun = 0, 1, self.init.num_rounds
        while done < num_rounds:
            count = min(size, num_rounds - done, NUM_SLOTS)
            before = time.perf_counter()
            self._advance(begun + done, count)
            each = (time.perf_counter() - before) / count
            done += count
            # The first part compiles, and tells nothing of the speed.
            size = max(1, int(_SECONDS / each)) if done > 1 else 2
            best = self._best_round(patience, tolerance)
            if watch is not None:
                watch(Progress(done, num_rounds, self.scores, self.forest))
            if best is not None and done - 1 - best >= (patience or 0):
                break
        best = self._best_round(patience, tolerance)
        forest = self.forest()
        if best is not None:
            forest = forest.rounds(begun + best + 1)
            self.scores = {name: values[:] for name, values in self.scores.items()}
        return Boosted(forest, self.scores, best)

    def _advance(self, first: int, count: int) -> None:
        with jax.enable_x64(True):
            self.raw, self.eval_raws, nodes, scores = run_rounds(
                self.plan,
                self.data,
                self.evals,
                self.hyper,
                self.key,
                self.raw,
                self.eval_raws,
                np.int32(first),
                np.int32(count),
            )
            nodes, scores = jax.device_get((nodes, scores))
        self.parts.append(jax.tree.map(lambda leaf: leaf[:count], nodes))
        flat = scores[:count].reshape(count, len(self.names)).T
        for name, values in zip(self.names, flat, strict=True):
            self.scores[name] += values.tolist()

    def _best_round(self, patience: int | None, tolerance: float) -> int | None:
        """Give the round that early stopping would keep."""
        if patience is None:
            return None
        metric = find_metric(self.plan.metrics[-1], self.plan.objective)
        sign = 1 if metric.higher_is_better else -1
        values = sign * np.asarray(self.scores[self.names[-1]])
        best = 0
        for place, value in enumerate(values):
            if value > values[best] + tolerance:
                best = place
            elif place - best >= patience:
                break
        return best

    def forest(self) -> Forest:
        """Give what is grown so far."""
        outputs = self.init.num_outputs
        grown = [self.init]
        if self.parts:
            nodes = jax.tree.map(
                lambda *parts: np.concatenate(
                    [part.reshape(-1, *part.shape[2:]) for part in parts]
                ),
                *self.parts,
            )
            grown.append(dataclasses.replace(self.init, nodes=nodes))
        del outputs
        return concatenate(grown)
