"""Rounds on the devices, and what the host keeps of them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array
from jaxlab.trees.boost import placement
from jaxlab.trees.boost.config import Config, make_numbers
from jaxlab.trees.boost.drive import EarlyStopping
from jaxlab.trees.boost.round import NUM_SLOTS, measure, run_rounds
from jaxlab.trees.boost.round_spec import RoundSpec, Watched
from jaxlab.trees.grow.predict import Predictor
from jaxlab.trees.grow.tree import Forest, Nodes, concatenate
from jaxlab.trees.objectives.metric import Metric
from jaxlab.trees.objectives.ranking import Groups
from jaxlab.trees.table.binning import Binner

__all__ = ["Binned", "Boosted", "HeldOut", "Run"]


class Binned(NamedTuple):
    """Rows in bins, padded, and what made them."""

    bins: np.ndarray  # uint8 [padded rows, features]
    num_rows: int
    binner: Binner


class HeldOut(NamedTuple):
    """Held-out rows whose metric is watched."""

    binned: Binned
    target: np.ndarray
    weight: np.ndarray | None = None
    groups: Groups | None = None
    offset: np.ndarray | None = None  # raw scores to add to, [outputs, n]


class Boosted(NamedTuple):
    """What training gives."""

    forest: Forest
    scores: dict[str, list[float]]
    best_round: int | None  # with early stopping: counted from 0


class Run:
    """Training under way: what lies on the devices, and the trees so far."""

    def __init__(
        self,
        spec: RoundSpec,
        config: Config,
        binned: Binned,
        target: np.ndarray,
        weight: np.ndarray | None,
        groups: Groups | None,
        key: Array,
        metrics: list[Metric],
    ) -> None:
        self.spec, self.key, self.metrics = spec, key, metrics
        self.binned, self.numbers = binned, make_numbers(config, spec)
        self.data = placement.place_rows(
            spec, config, binned.bins, binned.binner, target, weight, groups
        )

    def begin(self, init: Forest, offset: Any, evaluations: dict[str, HeldOut]) -> None:
        """Compute the scores so far.

        Args:
            init: What to go on from; its rounds count.
            offset: Raw scores to add to, float [outputs, rows].
            evaluations: Held-out rows by name.
        """
        self.init, self.offset = init, offset
        sets = list(evaluations.values())
        self.eval_bins = [(one.binned, one.offset) for one in sets]
        self.evals = tuple(
            placement.place_evaluation(self.spec, *one[:4]) for one in sets
        )
        names = ["training"] * self.spec.watches_training + list(evaluations)
        self.scores: dict[str, list[float]] = {
            f"{name}-{metric.name}": [] for name in names for metric in self.metrics
        }
        self.parts: list[Nodes] = []
        on_host = any(metric.on_host for metric in self.metrics)
        self.most_at_once = 1 if on_host else NUM_SLOTS
        self.restart(init)

    @property
    def num_rounds(self) -> int:
        """Rounds done, those of the forest to go on from included."""
        return self.init.num_rounds + sum(len(part.left) for part in self.parts)

    def restart(
        self, forest: Forest, rounds: int | None = None, *, training: bool = True
    ) -> None:
        """Take the scores that a forest gives.

        Args:
            forest: Trees.
            rounds: How many of its rounds count; all by default.
            training: Take the scores of the training rows too.
        """
        predictor = Predictor(forest)

        def scores(binned: Binned, offset: Any, rows: int) -> np.ndarray:
            raw = np.zeros((forest.num_outputs, rows), np.float32)
            raw += np.asarray(forest.start, np.float32)[:, None]
            used = slice(binned.num_rows)
            if offset is not None:
                raw[:, used] += np.asarray(offset, np.float32)
            if forest.num_trees:
                bins, start = binned.bins[used], raw[:, used]
                raw[:, used] = predictor.raw(bins, start=start, rounds=rounds)
            return raw

        if training:
            raw = scores(self.binned, self.offset, self.spec.tree.num_rows)
            self.raw = placement.place_scores(self.spec, raw)
        self.eval_raws = tuple(
            placement.replicate(self.spec, scores(one, offset, len(one.bins)))
            for one, offset in self.eval_bins
        )

    def advance(self, count: int) -> None:
        """Run some rounds, at most `NUM_SLOTS`."""
        with jax.enable_x64(True):
            self.raw, self.eval_raws, nodes, scores = run_rounds(
                self.spec,
                self.data,
                self.evals,
                self.numbers,
                self.key,
                self.raw,
                self.eval_raws,
                np.int32(self.num_rounds),
                np.int32(count),
            )
            nodes, scores = jax.device_get((nodes, scores))
        if not np.isfinite(nodes.value[:count]).all():
            raise InputError(
                "training diverged: a leaf's value is not finite; lower learning_rate, "
                f"now {float(self.numbers.learning_rate):g}, or raise l2 (reg_lambda)"
            )
        self.parts.append(jax.tree.map(lambda leaf: leaf[:count], nodes))
        for one in scores[:count]:
            self._keep_scores(one)

    def measure(self) -> None:
        """Measure the last round anew, after the scores were changed."""
        for values in self.scores.values():
            values.pop()
        with jax.enable_x64(True):
            self._keep_scores(np.asarray(measure(self.spec, *self._sets())))

    def _sets(self) -> tuple[tuple[Watched, ...], tuple[Array, ...]]:
        """Give the rows that are watched, and their scores."""
        if not self.spec.watches_training:
            return self.evals, self.eval_raws
        data = self.data
        training = Watched(None, data.target, data.weight, data.groups)
        return (training, *self.evals), (self.raw, *self.eval_raws)

    def _keep_scores(self, traced: np.ndarray) -> None:
        """Add a round's metrics: those of the devices, and the user's own functions."""
        names = iter(self.scores)
        for values, one, raw in zip(traced, *self._sets(), strict=True):
            found = iter(values.tolist())
            for metric in self.metrics:
                value = (
                    self._on_host(metric, one, raw) if metric.on_host else next(found)
                )
                self.scores[next(names)].append(value)

    def _on_host(self, metric: Metric, one: Watched, raw: Array) -> float:
        with jax.enable_x64(True):
            used = np.flatnonzero(np.asarray(one.weight))
            scores, target = np.asarray(raw)[:, used], np.asarray(one.target)[used]
            prediction = np.asarray(self.spec.objective.link(jnp.asarray(scores)))
        return float(metric(prediction, scores, target, np.ones_like(target)))

    def stopping(self, patience: int | None, tolerance: float) -> EarlyStopping | None:
        """Return the rule that early stopping follows; None without patience.

        Raises:
            InputError: If no rows are watched.
        """
        if patience is None:
            return None
        if not self.evals:
            raise InputError(
                "early stopping needs rows to watch; give an evaluation set, or a "
                "share of the rows to hold out"
            )
        return EarlyStopping(patience, tolerance, self.metrics[-1].higher_is_better)

    def forest(self) -> Forest:
        """Give what is grown so far."""
        if not self.parts:
            return self.init
        nodes = jax.tree.map(
            lambda *parts: np.concatenate(
                [part.reshape(-1, *part.shape[2:]) for part in parts]
            ),
            *self.parts,
        )
        return concatenate([self.init, dataclasses.replace(self.init, nodes=nodes)])
