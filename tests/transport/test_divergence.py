"""Tests of `jaxlab.transport.divergence`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.transport.costs import power_cost
from jaxlab.transport.divergence import barycenter, sinkhorn_divergence
from jaxlab.transport.exact import wasserstein


@pytest.mark.slow
def test_equal_measures_have_no_divergence_and_pull_nowhere(rng):
    x = jnp.asarray(rng.normal(size=(9, 2)), jnp.float32)
    value, slope = jax.value_and_grad(sinkhorn_divergence)(x, x + 0.0, eps=0.5)
    assert float(value) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(slope, np.zeros((9, 2)), atol=1e-5)
    mixed = sinkhorn_divergence(x, x[::-1], eps=0.5)
    assert float(mixed) == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_the_divergence_is_a_distance_of_translates_and_near_w2(rng):
    with jax.enable_x64(True):
        x, y = (
            jnp.asarray(rng.normal(size=(9, 2))),
            jnp.asarray(rng.normal(size=(7, 2))),
        )
        # A shift adds its square to a cost squared, whatever the entropy.
        moved = sinkhorn_divergence(x, x + jnp.array([[3.0, 4.0]]), eps=1.0, tol=1e-10)
        assert float(moved) == pytest.approx(25)
        near = sinkhorn_divergence(x, y, eps=0.02, tol=1e-6)
        assert float(near) == pytest.approx(wasserstein(x, y, p=2.0) ** 2, rel=0.02)
        assert sinkhorn_divergence(x, y, eps=5.0) > 0


def grid_and_bumps(shift, width=0.06):
    places = np.linspace(0, 1, 40)
    bumps = [np.exp(-(((places - c) / width) ** 2)) for c in (0.5 - shift, 0.5 + shift)]
    return places, np.stack([bump / bump.sum() for bump in bumps])


@pytest.mark.peer
def test_barycenters_are_those_of_pot(rng):
    ot = pytest.importorskip("ot")
    places, bumps = grid_and_bumps(0.2)
    bumps[1, :3] = 0
    cost = power_cost(places[:, None], places[:, None], 2.0)
    shares = np.array([0.25, 0.75])
    with jax.enable_x64(True):
        found = barycenter(
            jnp.asarray(cost),
            jnp.asarray(bumps),
            jnp.asarray(shares),
            eps=0.01,
            tol=1e-11,
        )
        assert found.converged
        # POT's method "sinkhorn" (0.9.7) gives shares another meaning: its mean of
        # translates by shares of 1/4 and 3/4 lies near the middle.
        wanted = ot.bregman.barycenter(
            bumps.T,
            cost,
            0.01,
            shares,
            "sinkhorn_log",
            stopThr=1e-13,
        )
        np.testing.assert_allclose(found.weights, wanted, atol=1e-8)


def test_the_mean_of_translates_lies_between(rng):
    places, bumps = grid_and_bumps(0.2)
    cost = power_cost(places[:, None], places[:, None], 2.0)
    found = barycenter(*(jnp.asarray(v, jnp.float32) for v in (cost, bumps)), eps=2e-3)
    assert found.converged
    assert float(found.weights.sum()) == pytest.approx(1, abs=1e-5)
    assert float(found.weights @ places) == pytest.approx(0.5, abs=1e-3)
    assert abs(places[int(found.weights.argmax())] - 0.5) < 0.02
    short = barycenter(
        *(jnp.asarray(v, jnp.float32) for v in (cost, bumps)),
        eps=2e-3,
        max_iterations=2,
    )
    assert not short.converged


def test_what_is_no_measure_is_refused():
    cost, row = jnp.ones((2, 2)), jnp.array([[0.5, 0.5]])
    with pytest.raises(InputError, match=r"a sums to 1\.5"):
        barycenter(cost, row + 0.25, eps=0.1)
    with pytest.raises(InputError, match="must be above 0"):
        barycenter(cost, row, eps=0.0)
