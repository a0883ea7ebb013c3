"""Divergences against scipy, and the theory of the game they are the value of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from jaxlab.losses.adversarial import (
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
)
from tests.losses.divergences import (
    jensen_shannon,
    kullback_leibler,
    minimax_value,
    optimal_discriminator,
)

LOG2 = np.log(2)
# Sums of a dozen logarithms in float32.
SINGLE = 1e-6


def counts(seed):
    """Rows at each of eight places, of p and of q; some places have none."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(24, np.ones(8) / 8, size=2)


@pytest.mark.parametrize("seed", range(5))
def test_divergences_are_scipys(seed):
    p, q = (counts(seed) / 24).astype(np.float32)
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q) ** 2, abs=SINGLE)
    smooth = (q + 0.1) / (q + 0.1).sum()
    assert kullback_leibler(p, smooth) == pytest.approx(entropy(p, smooth), abs=SINGLE)


def test_mass_where_the_other_has_none():
    p, q = jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])
    assert kullback_leibler(p, q) == jnp.inf
    assert kullback_leibler(q, p) == pytest.approx(LOG2)


@pytest.mark.parametrize("distance", [1, 5, 16])
def test_js_without_common_places_is_log_two_at_any_distance(distance):
    p = jnp.zeros(32).at[:8].set(1 / 8)
    assert jensen_shannon(p, p) == 0
    moved = jnp.roll(p, 7 + distance)
    assert jensen_shannon(p, moved) == pytest.approx(LOG2, rel=SINGLE)
    assert minimax_value(p, moved) == pytest.approx(0, abs=SINGLE)
    # So that its slope in the generator's place is none.
    assert minimax_value(p, p) == pytest.approx(-2 * LOG2, rel=SINGLE)


def test_the_curve_of_js_over_the_loss_of_the_discriminator():
    """JS = log 2 - L / 2 lies in [0, log 2] for any two distributions."""
    for seed in range(20):
        p, q = (counts(seed) / 24).astype(np.float32)
        assert -SINGLE <= jensen_shannon(p, q) <= LOG2 + SINGLE
        assert jensen_shannon(p, q) == pytest.approx(
            float(minimax_value(p, q)) / 2 + LOG2, abs=SINGLE
        )


def scores_of(chance):
    return jnp.log(chance) - jnp.log1p(-chance)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_at_the_best_discriminator_is_that_of_js(seed):
    of_p, of_q = counts(seed)
    p, q = (counts(seed) / 24).astype(np.float32)
    best = scores_of(optimal_discriminator(p, q))
    real, fake = np.repeat(best, of_p), np.repeat(best, of_q)
    found = float(minimax_discriminator(real, fake))
    js = float(jensen_shannon(p, q))
    assert found == pytest.approx(2 * LOG2 - 2 * js, rel=1e-5)
    assert -found == pytest.approx(float(minimax_value(p, q)), rel=1e-5)


def test_no_other_discriminator_does_better():
    of_p, of_q = counts(0) + 1
    p, q = (of / of.sum() for of in (of_p, of_q))
    best = scores_of(optimal_discriminator(p, q))

    def loss(scores):
        return minimax_discriminator(
            jnp.repeat(scores, of_p, total_repeat_length=int(of_p.sum())),
            jnp.repeat(scores, of_q, total_repeat_length=int(of_q.sum())),
        )

    assert abs(jax.grad(loss)(best)).max() < SINGLE
    for seed in range(5):
        other = best + jax.random.normal(jax.random.key(seed), best.shape)
        assert loss(other) > loss(best)


def test_the_losses_of_a_discriminator_that_cannot_tell():
    p = jnp.full(4, 0.25)
    half = optimal_discriminator(p, p)
    assert half.tolist() == [0.5] * 4
    scores = scores_of(half)
    assert minimax_discriminator(scores, scores) == pytest.approx(2 * LOG2)
    assert non_saturating_generator(scores) == pytest.approx(LOG2)
    assert minimax_generator(scores) == pytest.approx(-LOG2)


def test_places_without_mass():
    p, q = jnp.array([0.0, 0.5, 0.5, 0.0]), jnp.array([0.0, 0.0, 0.5, 0.5])
    assert optimal_discriminator(p, q).tolist() == [0.5, 1.0, 0.5, 0.0]
    slopes = jax.grad(jensen_shannon, argnums=(0, 1))(p, q)
    assert all(bool(jnp.isfinite(slope).all()) for slope in slopes)
    for function in (optimal_discriminator, jensen_shannon):
        assert jax.jit(function)(p, q) == pytest.approx(function(p, q))
