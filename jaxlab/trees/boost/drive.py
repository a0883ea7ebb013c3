"""The one driver of rounds, and when it stops early."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.trees.grow.tree import Forest

__all__ = ["BoostingProgress", "EarlyStopping", "Rounds", "drive", "last_score"]

_SECONDS = 0.3  # of rounds between two words with the host


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stop when a metric has not improved for some rounds, and keep the best one.

    Attributes:
        patience: Rounds without gain that end training.
        tolerance: By how much a round must improve on the best one.
        higher_is_better: Whether the metric grows with better predictions.

    Raises:
        InputError: If the patience is less than a round.
    """

    patience: int
    tolerance: float = 0.0
    higher_is_better: bool = False

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise InputError(f"patience {self.patience} must be at least 1 round")

    def best_round(self, values: Sequence[float] | np.ndarray) -> int:
        """Return the round, from 0, to keep: later ones came after the patience."""
        gains = np.asarray(values) if self.higher_is_better else -np.asarray(values)
        best = 0
        for place, gain in enumerate(gains):
            if gain > gains[best] + self.tolerance:
                best = place
            elif place - best >= self.patience:
                break
        return best

    def is_over(self, values: Sequence[float] | np.ndarray) -> bool:
        """Tell from the metric of each round so far whether to stop."""
        return len(values) - 1 - self.best_round(values) >= self.patience


class BoostingProgress(NamedTuple):
    """What a watcher is told between rounds.

    Attributes:
        done: Rounds made by this call.
        total: Rounds asked for.
        scores: By `set-metric`, one value a round.
        forest: Returns what is grown so far.
    """

    done: int
    total: int
    scores: dict[str, list[float]]
    forest: Callable[[], Forest]


@runtime_checkable
class Rounds(Protocol):
    """What can be driven.

    Attributes:
        scores: By `set-metric`, one value a round.
        most_at_once: Rounds that `advance` makes at most.
    """

    scores: dict[str, list[float]]
    most_at_once: int

    def advance(self, count: int) -> None:
        """Make some rounds."""

    def forest(self) -> Forest:
        """Return what is grown so far."""


def drive(
    rounds: Rounds,
    num_rounds: int,
    stopping: EarlyStopping | None = None,
    watch: Callable[[BoostingProgress], Any] | None = None,
) -> int | None:
    """Make rounds, in parts of a fraction of a second, until all are made or one stops.

    Args:
        rounds: The trees so far, to which rounds are added.
        num_rounds: Number of rounds to add, at least 0.
        stopping: Rule that looks at the last of the scores; None: never stop early.
        watch: Function called with the progress after each part.

    Returns:
        The round, from 0, to keep; None without early stopping. Rounds beyond the
        patience may have been made: how many depends on the machine.
    """
    done, size = 0, 1
    while done < num_rounds:
        count = min(size, num_rounds - done, rounds.most_at_once)
        before = time.perf_counter()
        rounds.advance(count)
        each = (time.perf_counter() - before) / count
        done += count
        # The first part compiles, and tells nothing of the speed.
        size = max(1, int(_SECONDS / each)) if done > 1 else 2
        if watch is not None:
            watch(BoostingProgress(done, num_rounds, rounds.scores, rounds.forest))
        if stopping is not None and stopping.is_over(last_score(rounds)):
            break
    return None if stopping is None else stopping.best_round(last_score(rounds))


def last_score(rounds: Rounds) -> list[float]:
    """Return the last metric of the last set that is watched, by round."""
    return list(rounds.scores.values())[-1]
