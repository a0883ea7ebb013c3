"""Tests of `jaxlab.transport.exact` and its parts."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.transport.costs import power_cost
from jaxlab.transport.duality import (
    complementary_slackness,
    duality_gap,
    is_dual_feasible,
    is_feasible,
)
from jaxlab.transport.exact import solve_exact, wasserstein
from jaxlab.transport.linear_programs import solve_dual_program, solve_primal_program

# Sums of some ten float64 products of size 1.
ROUNDING = 1e-13


def even(count):
    return np.full(count, 1 / count)


def weights(rng, count):
    drawn = rng.random(count)
    return drawn / drawn.sum()


def assert_optimal(found, cost, a, b):
    scale = abs(cost).max()
    assert is_feasible(found.plan, a, b, atol=1e-14)
    assert is_dual_feasible(cost, found.f, found.g, atol=1e-13 * scale)
    assert abs(duality_gap(cost, a, b, found.plan, found.f, found.g)) < 1e-12 * scale
    slack = complementary_slackness(cost, found.plan, found.f, found.g)
    assert slack < 1e-13 * scale
    assert (found.masses > 0).all()
    assert len(found.masses) < len(a) + len(b)


@pytest.mark.peer
def test_eight_to_six_points_as_by_highs_and_pot(rng):
    ot = pytest.importorskip("ot")
    x, y = rng.normal(size=(8, 2)), rng.normal(size=(6, 2))
    cost = power_cost(x, y)
    found = solve_exact(cost)
    assert_optimal(found, cost, even(8), even(6))
    for other in (
        solve_primal_program(cost)[0],
        solve_dual_program(cost)[0],
        ot.emd2(even(8), even(6), cost),
        wasserstein(x, y),
    ):
        assert found.value == pytest.approx(other, abs=ROUNDING)


@pytest.mark.peer
@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(1, 5), (7, 1), (30, 30), (40, 25)])
def test_general_weights_as_by_pot(rng, shape, p):
    ot = pytest.importorskip("ot")
    a, b = weights(rng, shape[0]), weights(rng, shape[1])
    cost = power_cost(rng.normal(size=(shape[0], 3)), rng.normal(size=(shape[1], 3)), p)
    found = solve_exact(cost, a, b)
    assert_optimal(found, cost, a, b)
    assert found.value == pytest.approx(ot.emd2(a, b, cost), abs=1e-12)


@pytest.mark.parametrize("method", ["assignment", "highs", "auto"])
def test_all_methods_agree_on_equal_masses(rng, method):
    cost = rng.normal(size=(20, 20))  # below zero too
    found = solve_exact(cost, method=method)
    assert_optimal(found, cost, even(20), even(20))
    assert found.value == pytest.approx(solve_primal_program(cost)[0], abs=ROUNDING)


def test_ties_and_points_without_mass(rng):
    cost = rng.integers(0, 3, (9, 9)).astype(float)
    for a in (even(9), np.array([0, 0, 1, 2, 0, 3, 1, 1, 0.0])):
        b = np.roll(a, 4)
        found = solve_exact(cost, a, b)
        assert_optimal(found, cost, a, b)
        assert found.value == pytest.approx(solve_primal_program(cost, a, b)[0])


def test_masses_are_kept_whatever_their_sum(rng):
    a, b = 6 * weights(rng, 4), 6 * weights(rng, 5)
    cost = rng.random((4, 5))
    found = solve_exact(cost, a, b)
    np.testing.assert_allclose(found.plan.sum(1), a, rtol=1e-14)
    assert found.value == pytest.approx(6 * solve_exact(cost, a / 6, b / 6).value)


def test_potentials_are_the_prices_of_masses(rng):
    cost, a, b = rng.random((4, 5)), weights(rng, 4), weights(rng, 5)
    found = solve_exact(cost, a, b)
    moved = 1e-6 * np.array([1, -1, 0, 0])
    rise = solve_exact(cost, a + moved, b).value - found.value
    assert rise == pytest.approx(moved @ found.f, rel=1e-6)


def test_translates_are_as_far_as_their_shift(rng):
    x, shift = rng.normal(size=(12, 3)), np.array([3.0, 0.0, -4.0])
    for p in (1.0, 2.0, 3.5):
        assert wasserstein(x, x + shift, p=p) == pytest.approx(5)
    assert wasserstein(x, x + shift, norm=np.inf) == pytest.approx(4)
    assert wasserstein(x, x + shift, norm=1.0) == pytest.approx(7)


def test_arrays_of_jax_are_taken(rng):
    x = jnp.asarray(rng.normal(size=(5, 2)), jnp.float32)
    assert wasserstein(x, x + 1, p=2.0) == pytest.approx(np.sqrt(2), abs=1e-6)


def test_unbalanced_masses_are_refused_with_both_sums():
    with pytest.raises(InputError, match=r"a sums to 1 and b to 1\.5.*b \* a\.sum"):
        solve_exact(np.ones((2, 3)), even(2), np.full(3, 0.5))


@pytest.mark.parametrize("sums", [0.0, -1.0, np.nan])
def test_masses_that_are_none_are_refused(sums):
    wrong = {0.0: "not zero", -1.0: "negative"}.get(sums, "finite")
    with pytest.raises(InputError, match=wrong):
        solve_exact(np.ones((2, 2)), np.array([sums, 0.0]), np.array([sums, 0.0]))


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (np.array([[1.0, np.nan]]), r"cost is nan at \(0, 1\)"),
        (np.array([[1.0, np.inf]]), r"cost is inf at \(0, 1\)"),
        (np.ones((0, 2)), r"shape \(0, 2\)"),
    ],
)
def test_costs_that_are_none_are_refused(cost, message):
    with pytest.raises(InputError, match=message):
        solve_exact(cost)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="assignment"):
        solve_exact(np.ones((2, 3)), method="assignment")
    with pytest.raises(InputError, match="W_p is a distance"):
        wasserstein(np.ones((2, 1)), np.ones((2, 1)), p=0.5)
