"""Tests of `jaxlab.transport.sinkhorn` and its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.transport import geometry
from jaxlab.transport.costs import power_cost
from jaxlab.transport.exact import solve_exact
from jaxlab.transport.geometry import PointCloud
from jaxlab.transport.sinkhorn import sinkhorn

# Marginal errors asked for in float64, and what is left of them in entries of plans.
TIGHT, PLANS = 1e-10, 1e-9
# Derivatives of solutions of that error, through one linear system.
DERIVATIVES = 1e-6


@pytest.fixture
def double():
    """Work in float64."""
    with jax.enable_x64(True):
        yield


def problem(rng, n=8, m=6):
    a, b = rng.random(n), rng.random(m)
    x, y = rng.normal(size=(n, 2)), rng.normal(size=(m, 2)) + 0.5
    return tuple(map(jnp.asarray, (x, y, a / a.sum(), b / b.sum())))


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.5, 0.1, 0.02])
def test_plans_are_those_of_pot_and_ott(double, rng, eps):
    ot = pytest.importorskip("ot")
    pytest.importorskip("ott")
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    x, y, a, b = problem(rng)
    cost = power_cost(x, y)
    found = sinkhorn(cost, a, b, eps=eps, tol=TIGHT)
    assert found.converged
    np.testing.assert_allclose(found.plan.sum(1), a, atol=1e-14)
    by_pot = ot.bregman.sinkhorn_log(
        *map(np.asarray, (a, b, cost)), eps, stopThr=1e-13, numItermax=100_000
    )
    np.testing.assert_allclose(found.plan, by_pot, atol=PLANS)
    with jax.numpy_rank_promotion("allow"):
        linear = LinearProblem(Geometry(cost, epsilon=eps), a, b)
        by_ott = jax.jit(Sinkhorn(threshold=TIGHT, max_iterations=100_000))(linear)
    np.testing.assert_allclose(found.plan, by_ott.matrix, atol=PLANS)
    np.testing.assert_allclose(found.transport_cost, (by_pot * cost).sum(), atol=PLANS)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*NormalCG:DeprecationWarning")  # ott-jax's solver
def test_gradients_are_those_of_ott(double, rng):
    pytest.importorskip("ott")
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    x, y, a, b = problem(rng)

    def by_ott(x):
        linear = LinearProblem(Geometry(power_cost(x, y), epsilon=0.1), a, b)
        found = Sinkhorn(threshold=TIGHT, max_iterations=100_000)(linear)
        return found.reg_ot_cost, (found.matrix * power_cost(x, y)).sum()

    def ours(x):
        found = sinkhorn(power_cost(x, y), a, b, eps=0.1, tol=TIGHT)
        return found.value, found.transport_cost

    mine = jax.jit(jax.jacobian(ours))(x)
    with jax.numpy_rank_promotion("allow"):
        theirs = jax.jit(jax.jacobian(by_ott))(x)
    np.testing.assert_allclose(mine[0], theirs[0], atol=1e-6)
    np.testing.assert_allclose(mine[1], theirs[1], atol=1e-4)


@pytest.mark.peer
def test_the_gradient_of_the_value_is_that_of_pot(double, rng):
    ot, torch = pytest.importorskip("ot"), pytest.importorskip("torch")
    x, y, a, b = problem(rng)
    theirs = torch.tensor(np.asarray(x), requires_grad=True)
    others, first, second = (torch.tensor(np.asarray(v)) for v in (y, a, b))
    cost = torch.linalg.norm(theirs[:, None] - others[None], dim=-1)
    plan = ot.sinkhorn(
        first, second, cost, 0.1, "sinkhorn_log", stopThr=1e-12, numItermax=10_000
    )
    entropy = (plan * (plan / (first[:, None] * second[None])).log()).sum()
    ((plan * cost).sum() + 0.1 * entropy).backward()
    mine = jax.grad(
        lambda x: sinkhorn(power_cost(x, y), a, b, eps=0.1, tol=TIGHT).value
    )
    np.testing.assert_allclose(mine(x), theirs.grad.numpy(), atol=1e-6)


def test_small_epsilon_gives_the_exact_cost(double, rng):
    x, y, a, b = problem(rng)
    cost = power_cost(x, y)
    found = sinkhorn(cost, a, b, eps=1e-3, tol=1e-8)
    assert found.converged
    exact = solve_exact(cost, a, b)
    assert 0 <= found.transport_cost - exact.value < 1e-3
    assert found.value == pytest.approx(exact.value, abs=1e-3 * np.log(48))


@pytest.mark.parametrize(("eps", "reached"), [(0.5, 1e-6), (0.05, 3e-6), (0.01, 1e-5)])
def test_float32_reaches_a_ten_millionth_of_cost_over_epsilon(rng, eps, reached):
    x, y, a, b = problem(rng, 40, 30)
    assert x.dtype == jnp.float32
    found = sinkhorn(power_cost(x, y), a, b, eps=eps, tol=reached)
    assert found.converged
    assert abs(found.plan.sum(0) - b).sum() < 2 * reached
    with jax.enable_x64(True):
        double = [jnp.asarray(v, jnp.float64) for v in (x, y, a, b)]
        exact = sinkhorn(power_cost(*double[:2]), *double[2:], eps=eps, tol=1e-9)
        # The error of the sums times the potentials' range, and rounding.
        assert float(found.value) == pytest.approx(float(exact.value), abs=2e-5)
        np.testing.assert_allclose(found.plan, exact.plan, atol=3e-5)


def test_where_float32_ends_the_flag_says_so(rng):
    x, y, a, b = problem(rng)
    found = sinkhorn(power_cost(x, y), a, b, eps=1e-3, tol=1e-7, max_iterations=500)
    assert not found.converged
    assert found.error > 1e-7
    assert found.iterations <= 500


def test_the_value_is_that_of_its_plan(double, rng):
    x, y, a, b = problem(rng)
    found = sinkhorn(power_cost(x, y), a, b, eps=0.1, tol=TIGHT)
    P = found.plan
    entropy = (P * jnp.log(P / jnp.outer(a, b))).sum()
    assert found.value == pytest.approx(float(found.transport_cost + 0.1 * entropy))
    assert a @ found.f == pytest.approx(float(b @ found.g))


@pytest.mark.slow
def test_derivatives_are_finite_differences(double, rng):
    x, y, a, b = problem(rng, 5, 4)
    move = jnp.asarray(rng.normal(size=5))
    move = move - move.mean()

    def outputs(t):
        found = sinkhorn(
            power_cost(x + t * x**2, y, 2.0), a + t * move, b, eps=0.3 + t, tol=1e-13
        )
        return jnp.concatenate(
            [found.f, found.g, found.plan.ravel(), found.transport_cost[None]]
        ), found.value

    step = 1e-4
    outputs = jax.jit(outputs)
    ahead, back = outputs(step), outputs(-step)
    slopes = jax.tree.map(lambda p, m: (p - m) / (2 * step), ahead, back)
    found = jax.jit(jax.jacfwd(outputs))(0.0)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=DERIVATIVES), found, slopes
    )
    backward = jax.jit(jax.jacrev(outputs))(0.0)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-9), found, backward
    )


@pytest.mark.slow
def test_the_value_has_a_second_derivative(double, rng):
    x, y, a, b = problem(rng, 5, 4)

    def value(t):
        return sinkhorn(
            power_cost(x + t * x**2, y, 2.0), a, b, eps=0.3, tol=1e-13
        ).value

    step = 1e-4
    slope = jax.jit(jax.grad(value))
    curvature = (slope(step) - slope(-step)) / (2 * step)
    assert jax.jit(jax.grad(slope))(0.0) == pytest.approx(float(curvature), rel=1e-6)


@pytest.mark.slow
def test_a_cloud_in_blocks_is_its_matrix(double, rng, monkeypatch):
    x, y, a, b = problem(rng, 21, 9)
    matrix = sinkhorn(power_cost(x, y), a, b, eps=0.1, tol=TIGHT)
    monkeypatch.setattr(
        geometry, "_BLOCK_BYTES", 1
    )  # eight rows a block, the last short
    jax.clear_caches()

    def solve(x, is_cloud):
        cost = PointCloud(x, y) if is_cloud else power_cost(x, y)
        found = sinkhorn(cost, a, b, eps=0.1, tol=TIGHT)
        return found.transport_cost + found.value, found

    for is_cloud in (True, False):
        solve_and_grad = jax.value_and_grad(solve, has_aux=True)
        (total, found), slope = jax.jit(solve_and_grad, static_argnums=1)(x, is_cloud)
        assert total == pytest.approx(float(matrix.transport_cost + matrix.value))
        np.testing.assert_allclose(found.plan, matrix.plan, atol=PLANS)
        np.testing.assert_allclose(found.f, matrix.f, atol=1e-7)
        if is_cloud:
            of_cloud = slope
    np.testing.assert_allclose(slope, of_cloud, atol=DERIVATIVES)
    jax.clear_caches()


@pytest.mark.slow
def test_problems_padded_by_points_without_mass_are_mapped_over(double, rng):
    sizes = [(3, 6), (5, 2), (5, 6)]
    problems = [problem(rng, *size) for size in sizes]
    filled = [
        jnp.stack(
            [
                jnp.pad(p[i], [(0, most - len(p[i]))] + [(0, 0)] * (p[i].ndim - 1))
                for p in problems
            ]
        )
        for i, most in enumerate((5, 6, 5, 6))
    ]

    def solve(x, y, a, b):
        found = sinkhorn(power_cost(x, y), a, b, eps=0.05, tol=TIGHT)
        return found.transport_cost, found.plan, found.converged

    def both(*args):
        found = solve(*args)
        return found[0], found

    slope = jax.grad(both, has_aux=True)
    slopes, (_, plans, converged) = jax.jit(jax.vmap(slope))(*filled)
    assert converged.all()
    for k, (one, (n, m)) in enumerate(zip(problems, sizes, strict=True)):
        alone, (_, plan, _) = jax.jit(slope)(*one)
        np.testing.assert_allclose(plans[k, :n, :m], plan, atol=PLANS)
        assert plans[k].sum() == pytest.approx(1)
        np.testing.assert_allclose(slopes[k, :n], alone, atol=DERIVATIVES)
        np.testing.assert_array_equal(slopes[k, n:], 0)


def test_potentials_of_points_without_mass_are_their_prices(double, rng):
    x, y, a, b = problem(rng)
    a, b = a.at[2].set(0), b.at[4].set(0)
    found = sinkhorn(power_cost(x, y), a / a.sum(), b / b.sum(), eps=0.1, tol=TIGHT)
    heights = (found.f[:, None] + found.g[None, :] - found.cost) / 0.1
    np.testing.assert_allclose(jnp.exp(heights) @ found.b, np.ones(8), atol=1e-9)
    np.testing.assert_allclose(found.a @ jnp.exp(heights), np.ones(6), atol=1e-8)


def test_masses_of_any_sum_and_one_sided_weights(double, rng):
    x, y, a, b = problem(rng)
    cost = power_cost(x, y)
    one = sinkhorn(cost, a, b, eps=0.1, tol=TIGHT)
    ten = sinkhorn(cost, 10 * a, 10 * b, eps=0.1, tol=TIGHT)
    np.testing.assert_allclose(ten.plan, 10 * one.plan, atol=1e-8)
    assert sinkhorn(cost, a, eps=0.1).converged


def test_overrelaxed_steps_are_few(double, rng):
    x, y, a, b = problem(rng, 60, 60)
    cost = power_cost(x, y)
    found = sinkhorn(cost, a, b, eps=0.03, tol=1e-8)
    cost, a, b = map(np.asarray, (cost, a, b))
    K = np.exp(-cost / 0.03)
    u, v = np.ones(60), np.ones(60)
    plain, error = 0, 1.0
    while error > 1e-8:
        plain += 1
        u = a / (K @ v)
        v = b / (K.T @ u)
        error = abs(u * (K @ v) - a).sum()
    assert found.converged
    assert 3 * found.iterations < plain


def test_steps_end_where_the_plan_is_good_not_where_they_stand_still():
    # Over-relaxed steps still go back and forth when what they circle is right: judged
    # by their length these would be 2000, and in single precision without end.
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) * 0.5 + 1
    cost = jnp.asarray(power_cost(x, y, 2.0), jnp.float32)
    found = sinkhorn(cost, eps=0.01 * float(cost.mean()), tol=1e-5)
    assert found.converged
    assert found.iterations < 300
    assert float(abs(found.plan.sum(0) - 1 / 200).sum()) < 2e-5


def test_large_scales_do_not_overflow(rng):
    x, y, a, b = problem(rng)
    small = sinkhorn(power_cost(x, y), a, b, eps=0.1)
    large = sinkhorn(1e6 * power_cost(x, y) + 1e5, a, b, eps=1e5)
    np.testing.assert_allclose(large.plan, small.plan, atol=1e-4)


@pytest.mark.parametrize("decay", [0.1, 0.5, 1.0])
def test_the_way_to_epsilon_does_not_matter(double, rng, decay):
    x, y, a, b = problem(rng)
    wanted = sinkhorn(power_cost(x, y), a, b, eps=0.05, tol=TIGHT)
    found = sinkhorn(power_cost(x, y), a, b, eps=0.05, tol=TIGHT, decay=decay)
    np.testing.assert_allclose(found.plan, wanted.plan, atol=PLANS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": jnp.array([0.5, 0.6])}, r"a sums to 1\.1 and b to 1,"),
        ({"a": jnp.array([1.5, -0.5])}, "a weight of a is -0.5"),
        ({"a": jnp.array([jnp.nan, 1])}, "a is nan at"),
        ({"a": jnp.ones(3) / 3}, "3 weights for 2 points"),
        ({"cost": jnp.ones((0, 2))}, "0 points have no distribution"),
        ({"cost": PointCloud(jnp.ones((2, 1)), jnp.ones((0, 1)))}, "0 points"),
        ({"eps": 0.0}, "eps = 0.0 must be above 0"),
        ({"decay": 0.0}, "decay"),
        ({"cost": jnp.array([[1, jnp.nan], [0, 0]])}, r"cost is nan at \(0, 1\)"),
        ({"cost": PointCloud(jnp.ones((2, 3)), jnp.ones((2, 2)))}, "of one j"),
        ({"cost": PointCloud(jnp.ones((2, 2)), jnp.full((2, 2), jnp.inf))}, "y is inf"),
    ],
)
def test_what_is_no_problem_is_refused(change, message):
    arguments = {"cost": jnp.ones((2, 2)), "eps": 0.1, **change}
    with pytest.raises(InputError, match=message):
        sinkhorn(arguments.pop("cost"), **arguments)


def test_inside_jit_a_wrong_problem_does_not_converge():
    found = jax.jit(lambda a: sinkhorn(jnp.ones((2, 2)), a, eps=0.1, max_iterations=50))
    assert not found(jnp.array([jnp.nan, 1.0])).converged
    assert not found(jnp.array([1.0, 1.0])).converged  # b sums to 1
    assert found(jnp.array([0.25, 0.75])).converged
