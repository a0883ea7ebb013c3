"""Exact evaluation: every example once, padding masked, means in float64."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from jaxlab.core.batch import materialize
from jaxlab.core.mesh import shard_batch
from jaxlab.core.typing import Array, Batch, PyTree
from jaxlab.data.batches import Source, evaluation_batches

__all__ = ["PerExample", "make_collector", "means", "once_per_state", "token_means"]

P = ParamSpec("P")
T = TypeVar("T")

# (state, batch) -> arrays by name, each with one row an example.
PerExample: TypeAlias = Callable[[PyTree, Batch], dict[str, Array]]


def once_per_state(
    measure: Callable[Concatenate[PyTree, P], T],
) -> Callable[Concatenate[PyTree, P], T]:
    """Let a function of a state, asked again for the last one, answer at once.

    Whoever reports the end of a run asks what the loop has just asked. The same is the
    same object; other arguments than the state do not count.
    """
    last: list[Any] = [object(), None]  # a state, and what was measured of it

    @functools.wraps(measure)
    def measured(state: PyTree, *args: P.args, **options: P.kwargs) -> T:
        if state is not last[0]:
            last[:] = state, measure(state, *args, **options)
        return last[1]

    return measured


def make_collector(
    per_example: PerExample, source: Source, mesh: Mesh, *, batch_size: int = 256
) -> Callable[[PyTree], dict[str, np.ndarray]]:
    """Make a function that runs `per_example` over a whole data set.

    Args:
        per_example: Computes values per example, not means, so that any statistic of
            the data set is exact: `{"loss": ..., "correct": ..., "prediction": ...}`.
        source: The data set.
        mesh: The mesh of the state.
        batch_size: Examples at a time, rounded up to what the mesh can split.

    Returns:
        A function of the state that gives the values of all examples, in order, as
        NumPy arrays; `float(values["correct"].mean())` is the accuracy. Asked again
        for the state of the last call, it answers at once.
    """
    batches = evaluation_batches(source, batch_size, mesh)
    compiled = jax.jit(lambda state, batch: per_example(state, materialize(batch)))

    @once_per_state
    def collect(state: PyTree) -> dict[str, np.ndarray]:
        parts: list[tuple[dict[str, Array], int]] = [
            (compiled(state, shard_batch(batch, mesh)), size)
            for batch, size in batches()
        ]
        return {
            name: np.concatenate([_local(out[name])[:size] for out, size in parts])
            for name in parts[0][0]
        }

    return collect


def means(values: dict[str, np.ndarray], *names: str) -> dict[str, float]:
    """Average some of the collected values over all examples, in float64."""
    return {name: float(values[name].mean(dtype=np.float64)) for name in names}


def token_means(values: dict[str, np.ndarray], *names: str) -> dict[str, float]:
    """Average over tokens, not rows, what was summed over each row's.

    Args:
        values: Collected sums by row, and `tokens`: how many each row has.
        names: Which of them to average.
    """
    count = values["tokens"].sum(dtype=np.float64)
    return {name: float(values[name].sum(dtype=np.float64) / count) for name in names}


def _local(array: Any) -> np.ndarray:
    """Bring an array to the host, from all processes where there are several."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)
