"""Tests of `jaxlab.transport.duality` and `linear_programs`: the worked example."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from jaxlab.core.errors import InputError
from jaxlab.transport.closed_form import wasserstein_1d
from jaxlab.transport.costs import power_cost
from jaxlab.transport.duality import (
    c_transform,
    check_metric,
    is_dual_feasible,
    is_feasible,
    kantorovich_rubinstein,
    lipschitz_constant,
    metric_closure,
)
from jaxlab.transport.exact import solve_exact
from jaxlab.transport.linear_programs import (
    farkas_alternative,
    is_certificate,
    is_solution,
    plan_within,
    solve_dual_program,
    solve_primal_program,
    transport_system,
)

PLACES = np.arange(4.0)
COST = abs(PLACES[:, None] - PLACES[None, :])
BEFORE, AFTER = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])


def lipschitz_program(cost, a, b):
    """Solve max (a - b) f over f_i - f_j <= C_ij by HiGHS, as it is written."""
    n = len(a)
    pairs = np.eye(n)[:, None, :] - np.eye(n)[None, :, :]
    found = scipy.optimize.linprog(
        b - a, A_ub=pairs.reshape(n * n, n), b_ub=cost.ravel(), bounds=(None, None)
    )
    return -found.fun


def test_the_worked_example_is_one_by_every_route(rng):
    routes = {
        "primal program": solve_primal_program(COST, BEFORE, AFTER)[0],
        "dual program": solve_dual_program(COST, BEFORE, AFTER)[0],
        "exact solver": solve_exact(COST, BEFORE, AFTER).value,
        "g = -f": kantorovich_rubinstein(COST, BEFORE, AFTER)[0],
        "Lipschitz program": lipschitz_program(COST, BEFORE, AFTER),
        "cumulated": abs(np.cumsum(BEFORE - AFTER)).sum(),
        "scipy": scipy.stats.wasserstein_distance(PLACES, PLACES, BEFORE, AFTER),
    }
    assert routes == {name: pytest.approx(1, abs=1e-14) for name in routes}
    single = [np.asarray(v, np.float32) for v in (PLACES, PLACES, BEFORE, AFTER)]
    import jax.numpy as jnp

    found = wasserstein_1d(*map(jnp.asarray, single))
    assert float(found) == pytest.approx(1, abs=1e-6)


@pytest.mark.peer
def test_the_worked_example_is_one_for_pot():
    ot = pytest.importorskip("ot")
    assert ot.emd2(BEFORE, AFTER, COST) == pytest.approx(1, abs=1e-14)


def test_the_potential_of_a_metric_is_lipschitz_and_its_own_transform(rng):
    points = rng.normal(size=(9, 2))
    cost = power_cost(points, points)
    a, b = np.r_[np.full(5, 0.2), np.zeros(4)], np.r_[np.zeros(5), np.full(4, 0.25)]
    value, f = kantorovich_rubinstein(cost, a, b)
    assert value == pytest.approx(solve_exact(cost, a, b).value, abs=1e-14)
    assert value == pytest.approx(lipschitz_program(cost, a, b), abs=1e-12)
    assert lipschitz_constant(f, cost) <= 1 + 1e-12
    np.testing.assert_allclose(c_transform(cost, f), -f, atol=1e-14)
    assert is_dual_feasible(cost, f, -f)
    # Extended to other points it stays so.
    others = rng.normal(size=(20, 2))
    wide = -c_transform(power_cost(points, others), f)
    assert lipschitz_constant(wide, power_cost(others, others)) <= 1 + 1e-12


def test_a_squared_cost_breaks_the_form_with_one_potential():
    squared = COST**2
    assert solve_exact(squared, BEFORE, AFTER).value == pytest.approx(1.4)
    lost, _ = kantorovich_rubinstein(squared, BEFORE, AFTER, needs_metric=False)
    assert lost == pytest.approx(lipschitz_program(squared, BEFORE, AFTER))
    assert lost == pytest.approx(1)  # the closure of |x - y|^2 on a grid is |x - y|
    np.testing.assert_allclose(metric_closure(squared), COST)
    # Nor may the two best potentials be each other's negative.
    two = solve_exact(squared, BEFORE, AFTER)
    assert not is_dual_feasible(squared, two.f, -two.f)
    with pytest.raises(InputError, match=r"9 from point 0 to 3, but 5 by way of 1"):
        kantorovich_rubinstein(squared, BEFORE, AFTER)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((0, 0, 1.0), "itself it is 1, not 0"),
        ((0, 1, 1.5), "from point 0 to 1, 1 back"),
    ],
)
def test_costs_that_are_no_metric_say_why(change, message):
    cost = COST.copy()
    cost[change[:2]] = change[2]
    with pytest.raises(InputError, match=message):
        check_metric(cost)


def test_the_closure_is_a_metric_and_keeps_metrics(rng):
    cost = rng.random((8, 8))
    cost = cost + cost.T
    np.fill_diagonal(cost, 0)
    cost[1, 2] = cost[2, 1] = 0  # a free way between two points
    closure = metric_closure(cost)
    check_metric(closure)
    assert (closure <= cost).all()
    np.testing.assert_allclose(metric_closure(closure), closure)


def test_plans_that_are_none_are_found_out():
    plan = np.outer(BEFORE, AFTER)
    assert is_feasible(plan, BEFORE, AFTER)
    assert not is_feasible(plan, AFTER, BEFORE)
    plan[[0, 0, 1, 1], [0, 1, 0, 1]] += np.array([1, -1, -1, 1])
    assert not is_feasible(
        plan, BEFORE, AFTER
    )  # the sums are right, a mass is negative


def test_exactly_one_alternative_of_farkas_holds(rng):
    feasible = 0
    for _ in range(20):
        A, b = rng.normal(size=(4, 5)), rng.normal(size=4)
        x, y = farkas_alternative(A, b)
        assert (x is None) != (y is None)
        if x is not None:
            feasible += 1
            assert is_solution(A, b, x)
            assert not is_certificate(A, b, np.zeros(4))
        else:
            assert is_certificate(A, b, y)
    assert 0 < feasible < 20  # both happen


def test_unequal_masses_have_a_certificate():
    A = transport_system(2, 3)
    balanced = farkas_alternative(A, np.array([0.5, 0.5, 0.2, 0.3, 0.5]))
    assert balanced.certificate is None
    b = np.array([0.5, 0.6, 0.2, 0.3, 0.5])
    found = farkas_alternative(A, b)
    assert found.solution is None
    assert is_certificate(A, b, found.certificate)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_a_budget_has_a_plan_or_potentials_that_forbid_it(power):
    cost = power_cost(PLACES[:, None], PLACES[:, None], power)
    best = solve_exact(cost, BEFORE, AFTER).value
    for budget in (best, best + 0.5):
        plan, potentials = plan_within(budget, cost, BEFORE, AFTER)
        assert potentials is None
        assert is_feasible(plan, BEFORE, AFTER)
        assert (plan * cost).sum() <= budget + 1e-9
    for budget in (best - 1e-3, -1.0):
        plan, (f, g) = plan_within(budget, cost, BEFORE, AFTER)
        assert plan is None
        assert is_dual_feasible(cost, f, g)
        assert budget < BEFORE @ f + AFTER @ g <= best + 1e-9


def test_the_best_potential_has_slope_one_along_the_ways_of_mass(rng):
    """Gulrajani et al. 2017, proposition 1: f(x) - f(z) = |x - z| all along."""
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(30, 2)) + 1
    found = solve_exact(power_cost(x, y))

    def potential(z):
        return c_transform(power_cost(y, z), found.g)

    start, end = x[found.rows], y[found.columns]
    lengths = np.linalg.norm(end - start, axis=1)
    for share in (0.0, 0.3, 0.8, 1.0):
        between = start + share * (end - start)
        fall = potential(start) - potential(between)
        np.testing.assert_allclose(fall, share * lengths, atol=1e-12)
    # So the gradient there, where there is one, points from y to x and has length 1.
    step, middle = 1e-6, (start + end) / 2
    moves = step * np.eye(2)[:, None, :]
    slopes = [
        (potential(middle + m) - potential(middle - m)) / (2 * step) for m in moves
    ]
    ways = (start - end) / lengths[:, None]
    np.testing.assert_allclose(np.stack(slopes, axis=1), ways, atol=1e-5)
    # Elsewhere it is never steeper.
    places = rng.normal(size=(40, 2)) * 2
    steepest = lipschitz_constant(potential(places), power_cost(places, places))
    assert steepest <= 1 + 1e-12
