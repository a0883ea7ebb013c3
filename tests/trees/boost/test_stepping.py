"""Boosting by steps of a state gives what boosting in one call gives."""

import jax
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.trees.boost.boosting import Config, HeldOut, bin_rows, prepare, train
from jaxlab.trees.boost.stepping import (
    grown,
    make_state,
    make_step,
    watched_metric,
)
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.table.binning import fit_binner

ROUNDS = 5


@pytest.fixture
def problem(rng, key):
    """Give the arguments of `train` and `prepare` for three classes."""
    X = rng.normal(size=(300, 3)).astype(np.float32)
    y = ((X[:, 0] > 0).astype(float) + (X[:, 1] > 0.5)).astype(float)
    binner = fit_binner(X[:200], max_bins=15)
    test = HeldOut(bin_rows(binner, X[200:]), y[200:])
    return (
        bin_rows(binner, X[:200]),
        y[:200],
        find_objective("multi:softprob", num_classes=3),
        Config(num_rounds=ROUNDS, max_depth=2, subsample=0.7),
        key,
    ), {"evaluations": {"test": test}, "watches_training": True}


@pytest.mark.parametrize("mesh", [None, "data=2"])
def test_steps_grow_the_forest_of_one_call(problem, mesh, same):
    arguments, options = problem
    expected = train(*arguments, **options)
    run = prepare(*arguments, **options, mesh=mesh and make_mesh(mesh))
    state, step = make_state(run, ROUNDS), make_step(run)
    rows = []
    for _ in range(ROUNDS):
        state, metrics = step(state, {})
        rows.append(jax.device_get(metrics))
    assert same(grown(state), expected.forest)
    assert rows[0].keys() == {"train/mlogloss", "test/mlogloss"}
    for set_name, key in (("train", "training"), ("test", "test")):
        found = [float(row[f"{set_name}/mlogloss"]) for row in rows]
        assert found == expected.scores[f"{key}-mlogloss"]
    assert same(grown(state, 2), expected.forest.rounds(2))


def test_a_state_that_was_kept_goes_on_with_the_same_bits(problem, same):
    arguments, options = problem
    run = prepare(*arguments, **options)
    state, step = make_state(run, ROUNDS), make_step(run)
    for _ in range(2):
        state, _ = step(state, {})
    kept = jax.tree.map(np.array, state)
    for _ in range(2):
        state, _ = step(state, {})
    other = make_step(prepare(*arguments, **options))
    again = jax.tree.map(jax.numpy.asarray, kept)
    for _ in range(2):
        again, _ = other(again, {})
    assert same(again, state)
    assert int(again.round) == 4


def test_the_metric_that_is_watched_can_be_read_off_a_state(problem):
    arguments, options = problem
    run = prepare(*arguments, **options)
    state, step = make_state(run, ROUNDS), make_step(run)
    assert watched_metric(state).shape == (0,)
    losses = []
    for _ in range(3):
        state, metrics = step(state, {})
        losses.append(metrics["test/mlogloss"])
    np.testing.assert_array_equal(watched_metric(state), losses)


def test_no_steps_are_refused(problem):
    arguments, options = problem
    with pytest.raises(InputError, match="steps 0 must be at least 1"):
        make_state(prepare(*arguments, **options), 0)
