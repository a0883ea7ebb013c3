"""Boosting as a state and a step, for a loop that logs, saves and resumes.

    run = prepare(binned, target, objective, config, key, evaluations={"test": ...})
    state, step = make_state(run, config.num_rounds), make_step(run)
    state, metrics = step(state, batch)     # a round; the rows lie in the run

All that a round depends on is in the state, so training that goes on from a saved one
ends with the bits of an uninterrupted one.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Metrics, PyTree
from jaxlab.trees.boost import placement
from jaxlab.trees.boost.round import run_rounds
from jaxlab.trees.boost.run import Run
from jaxlab.trees.grow.tree import Forest, Nodes

__all__ = [
    "BoostState",
    "grown",
    "make_state",
    "make_step",
    "watched_metric",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BoostState:
    """A forest under way."""

    forest: Forest  # with room for all rounds
    raw: PyTree  # float32 [outputs, padded rows], scores of the training rows
    eval_raws: PyTree  # the same of each set that is watched
    scores: PyTree  # float32 [rounds, sets, metrics]
    round: PyTree  # int32, rounds done


def make_state(run: Run, steps: int) -> BoostState:
    """Make room for the rounds of a run that has made none.

    The run's own scores go into the state, which a step overwrites: the run can then
    no more be driven otherwise.

    Raises:
        InputError: If there are no rounds to make.
    """
    if steps < 1:
        raise InputError(f"steps {steps} must be at least 1")
    forest, (trees, scores) = run.init, _shapes(run)
    outputs = forest.num_outputs

    def room(size: int, like: Any) -> np.ndarray:
        return np.zeros((size, *like.shape), like.dtype)

    nodes = jax.tree.map(lambda leaf: room(steps * outputs, leaf), trees)
    empty = Forest(nodes, np.asarray(forest.start), forest.num_bins)
    start = (empty, room(steps, scores), np.int32(0))
    placed, values, done = placement.replicate(run.spec, start)
    return BoostState(placed, run.raw, run.eval_raws, values, done)


def _shapes(run: Run) -> tuple[Nodes, Any]:
    """Give the shapes of one tree, and of the metrics of one round."""
    with jax.enable_x64(True):
        _, _, nodes, scores = jax.eval_shape(
            functools.partial(run_rounds, run.spec),
            run.data,
            run.evals,
            run.numbers,
            run.key,
            run.raw,
            run.eval_raws,
            np.int32(0),
            np.int32(1),
        )
    like = functools.partial(jax.tree.map, lambda leaf: _without(leaf, 2))
    return like(nodes), _without(scores, 1)


def _without(leaf: Any, axes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape[axes:], leaf.dtype)


def make_step(run: Run) -> Callable[[BoostState, Any], tuple[BoostState, Metrics]]:
    """Make the function that adds a round.

    Args:
        run: Made by `boosting.prepare`; without metrics that are the user's own
            functions, which are no arrays.

    Returns:
        `step(state, batch)`, which uses up the state and looks at no batch. It gives
        metrics as `test/logloss`, by set; the training rows are the set `train`.
    """
    keys = [key.replace("-", "/", 1) for key in run.scores]
    names = tuple(
        f"train/{key.removeprefix('training/')}" if key.startswith("training/") else key
        for key in keys
    )

    def step(state: BoostState, batch: Any) -> tuple[BoostState, Metrics]:
        del batch  # every round sees all rows
        with jax.enable_x64(True):
            raw, eval_raws, nodes, scores = run_rounds(
                run.spec,
                run.data,
                run.evals,
                run.numbers,
                run.key,
                state.raw,
                state.eval_raws,
                state.round,
                np.int32(1),
            )
        buffers = (state.forest, state.scores, state.round)
        forest, values, done, now = _keep(buffers, nodes, scores)
        metrics = dict(zip(names, now, strict=True))
        return BoostState(forest, raw, eval_raws, values, done), metrics

    return step


@functools.partial(jax.jit, donate_argnums=0)
def _keep(
    buffers: tuple[Forest, Array, Array],
    nodes: Nodes,
    scores: Array,
) -> tuple[Forest, Array, Array, tuple[Array, ...]]:
    """Write a round's trees and metrics to their places."""
    forest, values, done = buffers
    place = done * forest.num_outputs

    def write(buffer: Array, slots: Array, start: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(buffer, slots, start, axis=0)

    grown = jax.tree.map(lambda b, new: write(b, new[0], place), forest.nodes, nodes)
    forest = dataclasses.replace(forest, nodes=grown)
    values = write(values, scores[:1], done)
    return forest, values, done + 1, tuple(jnp.ravel(scores[0]))


def watched_metric(state: BoostState) -> np.ndarray:
    """Return the last metric of the last set that is watched, by round.

    Early stopping looks at it: `EarlyStopping(patience).is_over(...)`.
    """
    return np.asarray(state.scores)[: int(state.round), -1, -1]


def grown(state: BoostState, num_rounds: int | None = None) -> Forest:
    """Take the forest out of a state, as NumPy arrays.

    Args:
        state: After some rounds.
        num_rounds: How many of them; by default all that are done.
    """
    done = int(state.round) if num_rounds is None else num_rounds
    return jax.tree.map(np.asarray, state.forest).rounds(done)
