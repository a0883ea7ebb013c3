"""Tests of `jaxlab.data.points.toy`."""

import itertools

import jax
import numpy as np
import pytest
from sklearn.datasets import make_swiss_roll

from jaxlab.core.mesh import make_mesh
from jaxlab.data.critic_order import CriticSchedule
from jaxlab.data.points.toy import (
    EIGHT_GAUSSIANS,
    TOY_DATA,
    TWENTY_FIVE_GAUSSIANS,
    eight_gaussians,
    swiss_roll,
    toy_batches,
    twenty_five_gaussians,
)

POINTS = 20_000


def test_centers_are_those_of_the_script():
    diagonal = 1 / np.sqrt(2)
    eight = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    eight += [(x * diagonal, y * diagonal) for x in (1, -1) for y in (1, -1)]
    eight = 2 * np.array(eight) / 1.414
    grid = np.array([(2 * x, 2 * y) for x in range(-2, 3) for y in range(-2, 3)])
    for ours, theirs in (
        (EIGHT_GAUSSIANS.centers, eight),
        (TWENTY_FIVE_GAUSSIANS.centers, grid / 2.828),
    ):
        assert ours.shape == theirs.shape
        distances = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
        np.testing.assert_allclose(distances.min(0), 0, atol=1e-6)
        np.testing.assert_allclose(distances.min(1), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("sample", "mixture", "sigma"),
    [
        (eight_gaussians, EIGHT_GAUSSIANS, 0.02 / 1.414),
        (twenty_five_gaussians, TWENTY_FIVE_GAUSSIANS, 0.05 / 2.828),
    ],
)
def test_points_lie_around_the_centers_in_equal_shares(sample, mixture, sigma, key):
    points = np.asarray(sample(key, POINTS))
    assert points.shape == (POINTS, 2)
    assert points.dtype == np.float32
    offsets = points[:, None] - mixture.centers[None]
    modes = (offsets**2).sum(-1).argmin(1)
    shares = np.bincount(modes, minlength=len(mixture.centers)) / POINTS
    even = 1 / len(mixture.centers)
    # Five standard errors of a share, and of a spread.
    assert np.abs(shares - even).max() < 5 * (even / POINTS) ** 0.5
    spread = offsets[np.arange(POINTS), modes].std(0)
    np.testing.assert_allclose(spread, sigma, rtol=5 * (2 * POINTS) ** -0.5)
    assert mixture.sigma == sigma


def test_the_swiss_roll_is_that_of_scikit_learn(key):
    ours = np.asarray(swiss_roll(key, POINTS))
    theirs = make_swiss_roll(POINTS, noise=0.25, random_state=0)[0][:, [0, 2]] / 7.5
    assert ours.dtype == np.float32
    # Errors of both samples: 4 * (2 / 20 000)^(1/2) standard deviations of about 1.
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.04)
    np.testing.assert_allclose(np.cov(ours.T), np.cov(theirs.T), atol=0.04)
    # The place on the spiral and the width across it, not moments alone.
    quantiles = np.linspace(0.02, 0.98, 25)
    radii = [np.quantile(np.linalg.norm(x, axis=1), quantiles) for x in (ours, theirs)]
    np.testing.assert_allclose(*radii, atol=0.04)
    widths = [width_of_spiral(x) for x in (ours, theirs)]
    np.testing.assert_allclose(*widths, rtol=0.05)


def width_of_spiral(points):
    """Give the spread of radii about the nearest turn of the noiseless spiral."""
    radii = 7.5 * np.linalg.norm(points, axis=1)
    angles = np.arctan2(points[:, 1], points[:, 0])
    turns = np.rint((radii - angles) / (2 * np.pi))
    return (radii - angles - 2 * np.pi * turns).std()


@pytest.mark.parametrize("name", sorted(TOY_DATA))
def test_points_are_a_function_of_the_key(name):
    sample = jax.jit(TOY_DATA[name], static_argnums=1)
    first, again, other = (sample(jax.random.key(seed), 8) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).all()


def test_batches_are_functions_of_seed_and_step_on_any_mesh():
    schedule = CriticSchedule(2, 5, first=1)

    def batches(mesh, seed=3, start=0):
        sample = TOY_DATA["8gaussians"]
        return toy_batches(sample, 8, schedule, seed, make_mesh(mesh))(start)

    first = [np.asarray(x) for x in itertools.islice(batches("data=1"), 3)]
    assert [x.shape for x in first] == [(40, 2), (16, 2), (16, 2)]
    other = itertools.islice(batches("data=2,fsdp=2", start=1), 2)
    for expected, found in zip(first[1:], other, strict=True):
        assert len(found.sharding.device_set) == 4
        np.testing.assert_array_equal(found, expected)
    assert (np.asarray(next(batches("data=1", seed=4))) != first[0]).all()
    assert (first[1] != first[2]).all()
