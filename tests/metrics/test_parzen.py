"""The Parzen window against scikit-learn's density and the authors' script."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

import jaxlab.metrics.parzen as module
from jaxlab.core.errors import InputError
from jaxlab.metrics.parzen import (
    SIGMAS,
    choose_sigma,
    parzen_log_likelihood,
    parzen_scores,
)

# Squared distances of float32, over 2 sigma^2: relative to the largest exponent.
SINGLE = 2e-6


def data(seed, n=50, m=70, width=6):
    rng = np.random.default_rng(seed)
    return rng.random((n, width)), rng.random((m, width))


def by_sklearn(rows, samples, sigma):
    return KernelDensity(bandwidth=sigma).fit(samples).score_samples(rows)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("width", [1, 6, 784])
def test_log_likelihoods_are_scikit_learns(sigma, width, monkeypatch):
    rows, samples = data(0, width=width)
    expected = by_sklearn(rows, samples, sigma)
    exponents = width / sigma**2
    found = parzen_log_likelihood(rows, samples, sigma)
    assert abs(found - expected).max() < SINGLE * exponents + 1e-5
    # Several blocks, none of them full at the end.
    monkeypatch.setattr(module, "_ROWS", 16)
    monkeypatch.setattr(module, "_SAMPLES", 32)
    again = parzen_log_likelihood(rows, samples, sigma)
    assert abs(again - expected).max() < SINGLE * exponents + 1e-5


def test_far_from_zero_and_far_from_each_other():
    """Digits are kept around the samples, and tails of e^-10000 are told apart."""
    rows, samples = data(0, width=3)
    shift = np.array([1000.0, -500.0, 0.0])
    near = parzen_log_likelihood(rows + shift, samples + shift, 0.2)
    assert near == pytest.approx(by_sklearn(rows, samples, 0.2), abs=1e-3)
    far = parzen_log_likelihood(rows + 10, samples, 0.1)
    assert far == pytest.approx(by_sklearn(rows + 10, samples, 0.1), rel=1e-5)
    assert far.max() < -1e4


def test_one_sample_is_one_gaussian():
    found = parzen_log_likelihood(np.array([[3.0, 4.0]]), np.zeros((1, 2)), 2.0)
    expected = -25 / 8 - 2 * np.log(2 * np.sqrt(2 * np.pi))
    assert found == pytest.approx([expected], rel=1e-6)


def test_images_are_rows():
    rows, samples = data(0, width=12)
    found = parzen_log_likelihood(
        jnp.asarray(rows, jnp.float32).reshape(50, 2, 2, 3),
        jnp.asarray(samples, jnp.float32).reshape(70, 2, 2, 3),
        0.5,
    )
    assert found == pytest.approx(parzen_log_likelihood(rows, samples, 0.5), rel=1e-4)


def test_scores_are_those_of_the_authors_script():
    """Their `get_nll`, written as there."""

    def log_mean_exp(a):
        largest = a.max(1)
        return largest + np.log(np.exp(a - largest[:, None]).mean(1))

    def likelihoods(x, mu, sigma):
        a = (x[:, None] - mu[None]) / sigma
        E = log_mean_exp(-0.5 * (a**2).sum(2))
        return E - mu.shape[1] * np.log(sigma * np.sqrt(np.pi * 2))

    test, samples = data(0)
    valid, _ = data(1)
    sigmas = np.logspace(-1, 0, 10)
    assert pytest.approx(sigmas) == SIGMAS
    best = max(sigmas, key=lambda s: likelihoods(valid, samples, s).mean())
    expected = likelihoods(test, samples, best)
    found = parzen_scores(samples, valid, test)
    assert found["parzen_sigma"] == best
    assert 0.1 < best < 1
    assert found["parzen_ll"] == pytest.approx(expected.mean(), rel=1e-5)
    assert found["parzen_se"] == pytest.approx(expected.std() / 50**0.5, rel=1e-5)


def test_sigma_follows_the_spread():
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(size=(2, 200, 3))
    tight = choose_sigma(narrow / 20, wide / 20)
    assert tight == SIGMAS[0] < choose_sigma(narrow, wide)


@pytest.mark.parametrize(
    ("rows", "samples", "sigma", "message"),
    [
        (np.zeros((3, 2)), np.zeros((4, 3)), 1.0, "same shape"),
        (np.zeros(3), np.zeros(3), 1.0, "same shape"),
        (np.zeros((0, 2)), np.zeros((4, 2)), 1.0, "one of each"),
        (np.zeros((3, 2)), np.zeros((0, 2)), 1.0, "one of each"),
        (np.full((3, 2), np.nan), np.zeros((4, 2)), 1.0, "finite"),
        (np.zeros((3, 2)), np.full((4, 2), np.inf), 1.0, "finite"),
        (np.zeros((3, 2)), np.zeros((4, 2)), 0.0, "positive"),
        (np.zeros((3, 2)), np.zeros((4, 2)), np.nan, "positive"),
    ],
)
def test_bad_input_is_refused(rows, samples, sigma, message):
    with pytest.raises(InputError, match=message):
        parzen_log_likelihood(rows, samples, sigma)


def test_no_sigma_is_refused():
    with pytest.raises(InputError, match="positive"):
        choose_sigma(*data(0), sigmas=())
