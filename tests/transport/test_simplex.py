"""Tests of `jaxlab.transport.simplex`: the compiled solver."""

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.transport import exact, simplex
from jaxlab.transport.costs import power_cost
from jaxlab.transport.duality import (
    complementary_slackness,
    duality_gap,
    is_dual_feasible,
    is_feasible,
)
from jaxlab.transport.exact import solve_exact

needs_compiler = pytest.mark.skipif(
    simplex.library() is None, reason="no compiled kernels"
)


def clouds(rng, n, m):
    return power_cost(rng.normal(size=(n, 2)), rng.normal(size=(m, 2)))


def duplicates(rng, n, m):
    x, y = rng.integers(0, 3, (n, 2)), rng.integers(0, 3, (m, 2))
    return power_cost(x.astype(float), y.astype(float))


def huge_range(rng, n, m):
    return 10 ** rng.uniform(-8, 8, (n, m))


def some_forbidden(rng, n, m):
    return np.where(rng.random((n, m)) < 0.3, 1e9, rng.random((n, m)))


COSTS = {
    "clouds": clouds,
    "squared": lambda rng, n, m: clouds(rng, n, m) ** 2,
    "duplicates": duplicates,
    "ties": lambda rng, n, m: rng.integers(0, 4, (n, m)).astype(float),
    "below zero": lambda rng, n, m: rng.normal(size=(n, m)) - 5,
    "constant": lambda rng, n, m: np.full((n, m), 7.0),
    "huge range": huge_range,
    "some forbidden": some_forbidden,
}
# It stops at violations of 1e-10, whatever the size of the costs.
SAFE_FOR_HIGHS = COSTS.keys() - {"huge range", "some forbidden"}


def even(rng, n, m):
    return np.full(n, 1 / n), np.full(m, 1 / m)


def general(rng, n, m):
    a, b = rng.random(n), rng.random(m)
    return a / a.sum(), b / b.sum()


def with_zeros(rng, n, m):
    a, b = rng.random(n), rng.random(m)
    a[1:][rng.random(n - 1) < 0.5] = 0
    b[1:][rng.random(m - 1) < 0.5] = 0
    return a / a.sum(), b / b.sum()


def whole(rng, n, m):
    """Partial sums that tie: plans with fewer arcs than a tree has."""
    a = np.bincount(rng.integers(0, n, 2 * n), minlength=n).astype(float)
    b = np.bincount(rng.integers(0, m, 2 * n), minlength=m).astype(float)
    return a, b


def wide(rng, n, m):
    a, b = 10 ** rng.uniform(-12, 0, n), 10 ** rng.uniform(-12, 0, m)
    return 3 * a / a.sum(), 3 * b / b.sum()


MASSES = [even, general, with_zeros, whole, wide]


def assert_proved_optimal(found, cost, a, b):
    """Weak duality: no plan costs less than feasible potentials are worth."""
    total = a.sum()
    assert (found.masses > 0).all()
    assert len(found.masses) < len(a) + len(b)
    assert is_feasible(found.plan, a, b, atol=2e-15 * total)
    assert is_dual_feasible(cost, found.f, found.g, atol=1e-15 * abs(cost).max())
    worth = a @ abs(found.f) + b @ abs(found.g) + found.masses.sum() * 1e-300
    gap = duality_gap(cost, a, b, found.plan, found.f, found.g)
    assert abs(gap) <= 1e-13 * worth
    slack = complementary_slackness(cost, found.plan, found.f, found.g)
    assert slack <= 1e-13 * worth


@needs_compiler
@pytest.mark.parametrize("masses", MASSES)
@pytest.mark.parametrize("kind", COSTS)
def test_every_kind_of_problem_is_proved_optimal_and_as_by_highs(rng, kind, masses):
    shapes = [(1, 1), (1, 6), (9, 1), (2, 2), (12, 12), (40, 17), (18, 45)]
    for n, m in shapes:
        cost, (a, b) = COSTS[kind](rng, n, m), masses(rng, n, m)
        found = solve_exact(cost, a, b, method="simplex")
        assert_proved_optimal(found, cost, a, b)
        if n <= 18 and kind in SAFE_FOR_HIGHS:
            by_highs = solve_exact(cost, a, b, method="highs").value
            assert found.value == pytest.approx(by_highs, rel=1e-9, abs=1e-9)


@needs_compiler
@pytest.mark.peer
@pytest.mark.parametrize("masses", MASSES)
@pytest.mark.parametrize("kind", ["clouds", "squared", "ties", "below zero"])
def test_hundreds_of_points_as_by_pot(rng, kind, masses):
    ot = pytest.importorskip("ot")
    for n, m in ((150, 150), (200, 120), (70, 160)):
        cost, (a, b) = COSTS[kind](rng, n, m), masses(rng, n, m)
        found = solve_exact(cost, a, b)
        assert_proved_optimal(found, cost, a, b)
        lowest = cost.min()  # POT calls problems with costs below zero infeasible
        by_pot = ot.emd2(a, b, cost - lowest, numItermax=1_000_000)
        by_pot += lowest * a.sum()
        assert found.value == pytest.approx(by_pot, rel=1e-9, abs=1e-12)


@needs_compiler
def test_an_assignment_is_that_of_scipy(rng):
    cost = rng.random((120, 120))
    ours, theirs = (solve_exact(cost, method=m) for m in ("simplex", "assignment"))
    np.testing.assert_array_equal(ours.columns, theirs.columns)
    np.testing.assert_allclose(ours.masses, 1 / 120, rtol=1e-15)
    assert ours.value == pytest.approx(theirs.value, abs=1e-15)


@needs_compiler
def test_masses_that_are_equal_up_to_rounding(rng):
    a = np.full(30, 0.1)
    b = rng.random(20)
    b *= a.sum() / b.sum()
    cost = clouds(rng, 30, 20)
    found = solve_exact(cost, a, b * (1 + 3e-16))
    assert_proved_optimal(found, cost, a, b)
    single = (b / b.sum()).astype(np.float32), np.full(30, 1 / 30, np.float32)
    found = solve_exact(cost.T, *single)
    assert_proved_optimal(found, cost.T, *_balanced(*single))


def _balanced(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return a, b * (a.sum() / b.sum())


@needs_compiler
def test_too_many_steps_are_an_error_not_an_answer(rng, monkeypatch):
    monkeypatch.setattr(simplex, "_MOST_PIVOTS", 0)
    monkeypatch.setattr(simplex, "_WORK", 1)
    with pytest.raises(RuntimeError, match=r"gave up after 1 pivots; method 'highs'"):
        solve_exact(clouds(rng, 20, 20), method="simplex")


@needs_compiler
def test_portions_of_work_change_nothing(rng, monkeypatch):
    cost, (a, b) = clouds(rng, 30, 20), general(rng, 30, 20)
    once = solve_exact(cost, a, b)
    monkeypatch.setattr(simplex, "_WORK", 1)
    again = solve_exact(cost, a, b)
    np.testing.assert_array_equal(once.f, again.f)
    np.testing.assert_array_equal(once.masses, again.masses)


@needs_compiler
def test_a_plan_that_is_not_the_best_is_not_given(rng, monkeypatch):
    def stop_early(kernels, solver, most_pivots):
        kernels.jaxlab_simplex_run(solver, 1)

    monkeypatch.setattr(simplex, "_until_optimal", stop_early)
    with pytest.raises(RuntimeError, match="above its lower bound"):
        solve_exact(clouds(rng, 20, 20), method="simplex")


def test_without_a_compiler_others_step_in(rng, monkeypatch):
    monkeypatch.setattr(simplex, "library", lambda: None)
    for shape in ((12, 12), (12, 9)):
        cost = clouds(rng, *shape)
        found = solve_exact(cost)
        by_highs = solve_exact(cost, method="highs")
        assert found.value == pytest.approx(by_highs.value, abs=1e-13)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler; 'auto'"):
        solve_exact(cost, method="simplex")


@pytest.mark.parametrize(
    "lay",
    [np.float32, np.asfortranarray, lambda c: np.repeat(c, 2, axis=1)[:, ::2]],
    ids=["float32", "by columns", "strided"],
)
def test_costs_may_lie_in_memory_as_they_like(lay, rng):
    cost = rng.integers(0, 100, (7, 5)).astype(np.float64)
    a, b = rng.dirichlet(np.ones(7)), rng.dirichlet(np.ones(5))
    expected = simplex.solve_by_simplex(cost, a, b)
    if expected is None:
        pytest.skip("no compiled kernels here")
    for ours, theirs in zip(
        simplex.solve_by_simplex(lay(cost), a, b), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(InputError, match=r"\(7, 5\) must be of 5 rows"):
        simplex.solve_by_simplex(cost, b, a)


def test_what_the_simplex_method_cannot_prove_goes_to_the_other(monkeypatch, rng):
    def fails(*_):
        raise RuntimeError("ended above its lower bound")

    monkeypatch.setattr(exact, "solve_by_simplex", fails)
    cost = rng.normal(size=(4, 3))
    found = exact.solve_exact(cost)
    assert found.value == pytest.approx(exact.solve_exact(cost, method="highs").value)
    with pytest.raises(RuntimeError, match="lower bound"):
        exact.solve_exact(cost, method="simplex")


@needs_compiler
def test_masses_and_costs_of_many_decades_are_proved_optimal():
    rng = np.random.default_rng(40)
    rng.random((8, 6))  # to one that the rounding of masses decides
    cost = 10 ** rng.uniform(-12, 12, (8, 1)) * rng.random((8, 6))
    a, b = 10 ** rng.uniform(-15, 0, 8), 10 ** rng.uniform(-15, 0, 6)
    a, b = a / a.sum(), b / b.sum()
    found = solve_exact(cost, a, b, method="simplex")
    assert is_feasible(found.plan, a, b, atol=1e-15)
    by_auto = solve_exact(cost, a, b)
    assert by_auto.value == found.value
