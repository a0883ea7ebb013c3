"""Tests of `jaxlab.transport.closed_form`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from jaxlab.core.errors import InputError
from jaxlab.transport.closed_form import (
    gaussian_w2,
    random_directions,
    sliced_wasserstein,
    wasserstein_1d,
)
from jaxlab.transport.exact import wasserstein

# Float32 sums of tens of numbers of size 1.
SINGLE = 3e-6


def weights(rng, count):
    drawn = rng.random(count)
    return drawn / drawn.sum()


def single(*arrays):
    return [jnp.asarray(array, jnp.float32) for array in arrays]


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("is_weighted", [True, False])
@pytest.mark.parametrize("m", [12, 7])
def test_on_a_line_as_by_the_exact_solver(rng, p, is_weighted, m):
    x, y = rng.normal(size=12), 2 * rng.normal(size=m)
    x[3] = x[5]
    given = (weights(rng, 12), weights(rng, m)) if is_weighted else ()
    found = wasserstein_1d(*single(x, y, *given), p=p)
    wanted = wasserstein(x[:, None], y[:, None], *given, p=p)
    assert float(found) == pytest.approx(wanted, abs=SINGLE)
    if p == 1:
        by_scipy = scipy.stats.wasserstein_distance(x, y, *given)
        assert float(found) == pytest.approx(by_scipy, abs=SINGLE)


def test_points_without_mass_do_not_count(rng):
    x, y, a = rng.normal(size=6), rng.normal(size=4), weights(rng, 6)
    padded = wasserstein_1d(
        *single(
            np.r_[x, -99, 99], np.r_[y, 99], np.r_[a, 0, 0], np.r_[np.ones(4), 0] / 4
        )
    )
    assert padded == pytest.approx(float(wasserstein_1d(*single(x, y, a))), abs=SINGLE)


def test_derivatives_on_a_line(rng):
    x, y, a = single(rng.normal(size=5), rng.normal(size=4), weights(rng, 5))
    slope, price = jax.grad(wasserstein_1d, (0, 2))(x, y, a)
    with jax.enable_x64(True):
        x, y, a = (jnp.asarray(v, jnp.float64) for v in (x, y, a))
        step, move = 1e-6, jnp.array([1.0, -1, 0, 0, 0])
        ways = (
            wasserstein_1d(x + step * move, y, a),
            wasserstein_1d(x, y, a + step * move),
        )
        here = wasserstein_1d(x, y, a)
        found = [(way - here) / step for way in ways]
    assert float(slope[0] - slope[1]) == pytest.approx(float(found[0]), abs=1e-4)
    assert float(price[0] - price[1]) == pytest.approx(float(found[1]), abs=1e-4)
    same = jax.grad(lambda x: wasserstein_1d(x, x + 0.0, p=2.0))(slope)
    assert jnp.isfinite(same).all()


def spd(rng, j, rank=None):
    root = rng.normal(size=(j, rank or j))
    return root @ root.T


def test_gaussians_by_the_formula_with_square_roots(rng):
    A, B, mu, nu = spd(rng, 4), spd(rng, 4), rng.normal(size=4), rng.normal(size=4)
    root = scipy.linalg.sqrtm(A)
    middle = scipy.linalg.sqrtm(root @ B @ root)
    wanted = (mu - nu) @ (mu - nu) + np.trace(A + B - 2 * middle)
    found = gaussian_w2(*single(mu, A, nu, B))
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_gaussians_that_commute_and_translates(rng):
    first, second = rng.random(3), rng.random(3)
    zero, shift = np.zeros(3), np.array([2.0, 0.0, 1.0])
    found = gaussian_w2(*single(zero, np.diag(first**2), shift, np.diag(second**2)))
    assert float(found) == pytest.approx(5 + ((first - second) ** 2).sum(), rel=1e-5)
    A = spd(rng, 3)
    assert float(gaussian_w2(*single(zero, A, shift, A))) == pytest.approx(5, abs=2e-5)


def test_singular_gaussians(rng):
    A, B, zero = spd(rng, 4, 2), spd(rng, 4, 1), np.zeros(4)
    root = scipy.linalg.svd(A)[0][:, :2] * np.sqrt(scipy.linalg.svdvals(A)[:2])
    middle = np.sqrt(np.maximum(np.linalg.eigvalsh(root.T @ B @ root), 0)).sum()
    found = gaussian_w2(*single(zero, A, zero, B))
    assert float(found) == pytest.approx(
        np.trace(A) + np.trace(B) - 2 * middle, abs=2e-3
    )


def test_gradients_between_gaussians_are_finite_differences(rng):
    with jax.enable_x64(True):
        zero, A, B = map(jnp.asarray, (np.zeros(3), spd(rng, 3), spd(rng, 3)))
        for cov in (A, jnp.eye(3)):  # equal eigenvalues too
            move = jnp.asarray(spd(rng, 3))
            slope = jax.grad(gaussian_w2, 1)(zero, cov, zero, B)
            ahead = gaussian_w2(zero, cov + 1e-6 * move, zero, B)
            back = gaussian_w2(zero, cov - 1e-6 * move, zero, B)
            assert float((slope * move).sum()) == pytest.approx(
                float(ahead - back) / 2e-6, rel=1e-6
            )


@pytest.mark.peer
def test_slices_as_by_pot(rng, key):
    ot = pytest.importorskip("ot")
    x, y, a = rng.normal(size=(9, 3)), rng.normal(size=(7, 3)), weights(rng, 9)
    ways = np.asarray(random_directions(key, 3, 20), np.float64)
    for p in (1, 2):
        wanted = ot.sliced_wasserstein_distance(
            x, y, a, np.full(7, 1 / 7), projections=ways.T, p=p
        )
        even = np.full(7, 1 / 7)
        found = sliced_wasserstein(*single(x, y, ways, a, even), p=float(p))
        assert float(found) == pytest.approx(wanted, abs=SINGLE)


def test_slices_of_translates(rng, key):
    x, ways = rng.normal(size=(50, 3)), random_directions(key, 3, 4000)
    np.testing.assert_allclose(jnp.linalg.norm(ways, axis=1), np.ones(4000), rtol=1e-5)
    found = sliced_wasserstein(*single(x[:5], x[:5] + np.array([3.0, 0, 0])), ways)
    # E (u shift)^2 = |shift|^2 / 3; 4000 draws miss it by some percent.
    assert float(found) == pytest.approx(np.sqrt(3), rel=0.03)
    assert sliced_wasserstein(*single(x, x), ways[:9]) == 0


def test_what_is_no_measure_is_refused():
    one = jnp.ones(2)
    with pytest.raises(InputError, match=r"p = 0\.5 must be at least 1"):
        wasserstein_1d(one, one, p=0.5)
    with pytest.raises(InputError, match="a sums to 2 and b to 1"):
        wasserstein_1d(one, one, one, one / 2)
    with pytest.raises(InputError, match="a sums to 2 and b to 1"):
        sliced_wasserstein(one[:, None], one[:, None], one[:1, None], one, one / 2)
    with pytest.raises(InputError, match="x is nan"):
        wasserstein_1d(one * jnp.nan, one)
