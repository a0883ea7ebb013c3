"""DART: boosting with dropout of trees (Rashmi & Gilad-Bachrach 2015).

A round is grown on the scores without some of the earlier trees; then the new tree and
those are scaled so that together they weigh what the dropped ones did. Rates, draws by
weight and the two ways of scaling are XGBoost's. Each tree of an output is dropped on
its own. Without drops the forest is that of plain boosting, bit for bit.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxlab.trees.boost.boosting import Boosted, BoostingProgress, Config, prepare
from jaxlab.trees.boost.drive import EarlyStopping, drive, last_score
from jaxlab.trees.boost.run import Run
from jaxlab.trees.grow.tree import Forest, concatenate

__all__ = ["Dart", "train_dart"]

_STREAM = 7  # of a round's key, beside those of boosting


@dataclasses.dataclass(frozen=True)
class Dart:
    """How trees are dropped."""

    rate_drop: float = 0.0  # chance of a tree to be dropped
    skip_drop: float = 0.0  # chance of a round to drop none
    one_drop: bool = False  # drop at least one
    by_weight: bool = False  # chances in proportion to the trees' weights
    as_forest: bool = False  # scale all dropped trees as one

    def choose(self, key: Any, number: int, weights: np.ndarray) -> np.ndarray:
        """Choose the trees that a round is grown without, bool [trees]."""
        stream = jax.random.fold_in(jax.random.fold_in(key, number), _STREAM)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(stream)))
        size = len(weights)
        none = np.zeros(size, bool)
        if not size or rng.random() < self.skip_drop:
            return none
        share = weights / weights.sum() if self.by_weight else np.full(size, 1 / size)
        dropped = rng.random(size) < self.rate_drop * size * share
        if self.one_drop and not dropped.any():
            dropped[rng.choice(size, p=share)] = True
        return dropped

    def scales(self, num_dropped: int, rate: float) -> tuple[float, float]:
        """Give what new and dropped trees are multiplied by.

        Args:
            num_dropped: Trees dropped, k.
            rate: Learning rate by tree of a round.
        """
        if not num_dropped:
            return 1.0, 1.0
        if self.as_forest:
            return 1 / (1 + rate), 1 / (1 + rate)
        return 1 / (num_dropped + rate), num_dropped / (num_dropped + rate)


def train_dart(
    *args: Any,
    dart: Dart,
    weights: np.ndarray | None = None,
    patience: int | None = None,
    tolerance: float = 0.0,
    watch: Callable[[BoostingProgress], Any] | None = None,
    **options: Any,
) -> tuple[Boosted, np.ndarray]:
    """Train as `jaxlab.trees.boost.boosting.train` does, with dropout.

    Args:
        args: Of `prepare`: binned, target, objective, config, key.
        dart: How trees are dropped.
        weights: Of the trees of the forest to go on from; 1 by default.
        patience: For early stopping, as in `train`.
        tolerance: By how much a round must improve on the best one.
        watch: Called after each round.
        options: Of `prepare`.

    Returns:
        What training gives, and the weights of the trees, float64 [trees].
    """
    config: Config = args[3]
    run = prepare(*args, **options)
    stopping = run.stopping(patience, tolerance)
    rounds = _DartRounds(run, dart, config, weights, stopping)
    best = drive(rounds, config.num_rounds, stopping, watch)
    forest, used = rounds.kept or (rounds.forest(), rounds.weights[: rounds.used])
    return Boosted(forest, run.scores, best), used.copy()


class _DartRounds:
    """The trees, with room for those to come, and their weights."""

    most_at_once = 1  # the host drops and scales between rounds

    def __init__(
        self,
        run: Run,
        dart: Dart,
        config: Config,
        weights: np.ndarray | None,
        stopping: EarlyStopping | None,
    ) -> None:
        self.run, self.dart, self.stopping = run, dart, stopping
        self.scores = run.scores
        # The best round's trees as they were then: later rounds scale them.
        self.kept: tuple[Forest, np.ndarray] | None = None
        self.outputs = run.init.num_outputs
        self.rate = config.learning_rate / self.outputs
        self.used = run.init.num_trees
        more = config.num_rounds * self.outputs
        width = run.spec.tree.num_nodes
        room = jax.tree.map(
            lambda leaf: np.zeros((more, width, *leaf.shape[2:]), leaf.dtype),
            run.init.nodes,
        )
        self.trees = concatenate([run.init, dataclasses.replace(run.init, nodes=room)])
        self.weights = np.ones(self.used + more)
        if weights is not None:
            self.weights[: self.used] = weights
        self.is_stale = False  # the scores on the devices are not the forest's

    def advance(self, count: int) -> None:
        """Make a round, and keep its trees if it is the best so far."""
        assert count == 1
        self._round()
        if self.stopping is not None:
            values = last_score(self)
            if self.stopping.best_round(values) == len(values) - 1:
                self.kept = self.forest(), self.weights[: self.used].copy()

    def _round(self) -> None:
        """Drop, grow, scale."""
        run, number = self.run, self.run.num_rounds
        value = self.trees.nodes.value
        dropped = self.dart.choose(run.key, number, self.weights[: self.used])
        places = np.flatnonzero(dropped)
        if len(places) or self.is_stale:
            part = value.copy()
            part[places] = 0
            run.restart(self._with(part), number)
        run.advance(1)
        new, old = self.dart.scales(len(places), self.rate)
        fresh = slice(self.used, self.used + self.outputs)
        for room, grown in zip(
            jax.tree.leaves(self.trees.nodes),
            jax.tree.leaves(run.parts[-1]),
            strict=True,
        ):
            room[fresh, : grown.shape[2]] = grown[0]
        value[fresh] *= np.float32(new)
        value[places] *= np.float32(old)
        self.weights[fresh] *= new
        self.weights[places] *= old
        self.used += self.outputs
        self.is_stale = len(places) > 0
        if self.is_stale and run.scores:
            run.restart(self.trees, run.num_rounds, training=run.spec.watches_training)
            run.measure()

    def _with(self, value: np.ndarray) -> Forest:
        nodes = dataclasses.replace(self.trees.nodes, value=value)
        return dataclasses.replace(self.trees, nodes=nodes)

    def forest(self) -> Forest:
        """Give the trees so far."""
        nodes = jax.tree.map(lambda leaf: leaf[: self.used].copy(), self.trees.nodes)
        return dataclasses.replace(self.trees, nodes=nodes)
