"""Boosting as a pure function: `boost(binned, target, objective, config, key)`.

Each round adds, for each output, a tree grown on the gradients of the loss at the
scores so far (Friedman 2001; Chen & Guestrin 2016). Round t draws from its own key
`fold_in(key, t)` and knows only the scores, so that a continued run equals an
uninterrupted one bit for bit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxlab.core.typing import Array, Key
from jaxlab.trees.boost.checks import (
    check_config,
    check_origin,
    check_rows,
    check_scores,
)
from jaxlab.trees.boost.config import Config, empty_forest, make_spec
from jaxlab.trees.boost.drive import BoostingProgress, drive
from jaxlab.trees.boost.run import Binned, Boosted, HeldOut, Run
from jaxlab.trees.grow.layout import padded_rows
from jaxlab.trees.grow.tree import Forest
from jaxlab.trees.native import release
from jaxlab.trees.objectives import start
from jaxlab.trees.objectives.metric import find_metric
from jaxlab.trees.objectives.objective import Objective, check_target
from jaxlab.trees.objectives.ranking import Groups
from jaxlab.trees.table.binning import Binner, transform

__all__ = [
    "Binned",
    "Boosted",
    "BoostingProgress",
    "Config",
    "HeldOut",
    "bin_rows",
    "boost",
    "prepare",
    "train",
]


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
    patience: int | None = None,
    tolerance: float = 0.0,
    watch: Callable[[BoostingProgress], Any] | None = None,
    **options: Any,
) -> Boosted:
    """Train a forest.

    Args:
        binned: Rows in bins.
        target: float [n].
        objective: What is minimised; resolved against the data here.
        config: How.
        key: Randomness of all rounds.
        patience: Stop when the last metric of the last evaluation has not improved in
            so many rounds, and keep the best round's forest.
        tolerance: By how much it must improve.
        watch: Called between rounds with a `BoostingProgress`.
        options: Of `prepare`: weight, init, evaluations, mesh and others.

    Raises:
        InputError: If target, weight or a setting cannot be used.
    """
    run = prepare(binned, target, objective, config, key, **options)
    stopping = run.stopping(patience, tolerance)
    best = drive(run, config.num_rounds, stopping, watch)
    release()
    if best is None or stopping is None:
        return Boosted(run.forest(), run.scores, None)
    seen = slice(best + stopping.patience + 1)
    scores = {name: values[seen] for name, values in run.scores.items()}
    kept = run.forest().rounds(run.init.num_rounds + best + 1)
    return Boosted(kept, scores, best)


def prepare(
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
    evaluations: dict[str, HeldOut] | None = None,
    metrics: Sequence[Any] = (),
    watches_training: bool = False,
    mesh: Mesh | None = None,
) -> Run:
    """Lay everything out for the first round.

    Args:
        binned: Rows in bins.
        target: float [n].
        objective: What is minimised; resolved against the data here.
        config: How.
        key: Randomness of all rounds.
        weight: float [n], at least 0.
        groups: Of rows to queries, for ranking.
        first: Raw score before the first tree, by output; by default the best constant.
        init: A forest of the same binner to go on from; its rounds count.
        offset: Raw scores to add to, float [outputs, n].
        evaluations: Held-out rows by name.
        metrics: What is watched on them, see
            `jaxlab.trees.objectives.metric.find_metric`; the objective's own by
            default.
        watches_training: Watch the metrics on the training rows too, as `training`.
        mesh: Devices to share the rows out to; by default one device.

    Raises:
        InputError: If target, weight or a setting cannot be used.
    """
    check_rows(binned.num_rows, target, weight)
    check_config(config, binned.binner.num_features)
    check_target(objective, target)
    is_known = init is not None or first is not None
    objective, best = _look(objective, target, weight, is_known)
    if init is None:
        beginning = np.asarray(best if first is None else first, np.float32)
        beginning = beginning.reshape(objective.num_outputs)
        init = empty_forest(beginning, config, binned.binner, binned.num_rows)
    evaluations = evaluations or {}
    bins = {name: one.binned.binner for name, one in evaluations.items()}
    check_origin(init, objective.num_outputs, binned.binner, bins)
    check_scores(offset, (objective.num_outputs, binned.num_rows))
    found = [find_metric(metric, objective) for metric in metrics or (None,)]
    spec = make_spec(
        config,
        objective,
        binned.binner,
        binned.num_rows,
        metrics=tuple(metric.name for metric in found if not metric.on_host),
        watches_training=watches_training,
        is_weighted=weight is not None,
        mesh=mesh,
    )
    run = Run(spec, config, binned, target, weight, groups, key, found)
    run.begin(init, offset, evaluations)
    return run


def _look(
    objective: Objective, target: np.ndarray, weight: np.ndarray | None, is_known: bool
) -> tuple[Objective, np.ndarray | None]:
    """Resolve an objective against the data, and find the best constant."""
    used = np.ones(len(target)) if weight is None else np.asarray(weight, np.float64)
    objective = start.resolve(objective, target, used)
    return objective, None if is_known else start.best_constant(objective, target, used)
