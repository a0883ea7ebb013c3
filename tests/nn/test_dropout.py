"""Dropout: how many numbers it drops, which, and what it does to the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.nn.dropout import Dropout, dropout

# Deviations of the share of dropped numbers: a right mask exceeds them with the seed
# given once in 10**6 runs or never.
MOST_DEVIATIONS = 5


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("width", [64, 63])
def test_numbers_are_dropped_at_the_rate_and_the_others_scaled_to_keep_the_mean(
    rate, width
):
    x = jnp.ones((1000, width))
    out = np.asarray(dropout(jax.random.key(0), x, rate))
    np.testing.assert_allclose(np.unique(out), [0, 1 / (1 - rate)], rtol=1e-3)
    for part in (out, out[:, : width // 2], out[:, width // 2 :], out[:, -1]):
        deviation = (rate * (1 - rate) / part.size) ** 0.5
        assert abs((part == 0).mean() - rate) < MOST_DEVIATIONS * deviation


def test_what_is_kept_has_the_mean_one_exactly():
    # 1/3 is no multiple of 2**-16: the scale is that of the rounded rate.
    out = dropout(jax.random.key(0), jnp.ones((4, 8)), 1 / 3)
    assert out.max() == np.float32(2**16 / round(2 / 3 * 2**16))


def test_both_halves_of_a_word_of_randomness_are_independent():
    out = np.asarray(dropout(jax.random.key(0), jnp.ones((2000, 64)), 0.5)) > 0
    correlations = np.corrcoef(out.T) - np.eye(64)
    assert np.abs(correlations).max() < MOST_DEVIATIONS / 2000**0.5


def test_the_gradient_passes_where_numbers_do():
    x = jax.random.normal(jax.random.key(1), (5, 8))
    out, pull = jax.vjp(lambda x: dropout(jax.random.key(0), x, 0.4), x)
    np.testing.assert_allclose(pull(jnp.ones_like(x))[0], out / x, rtol=1e-6)


def test_the_layer_drops_only_while_training_and_anew_with_each_key():
    x = jnp.ones((10, 16))
    layer = Dropout(0.5)

    def run(seed, deterministic=False):
        rngs = {"dropout": jax.random.key(seed)}
        return layer.apply({}, x, deterministic=deterministic, rngs=rngs)

    np.testing.assert_array_equal(run(0, deterministic=True), x)
    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()
    assert not run(0, deterministic=True).min() < 1


def test_half_precision_stays():
    x = jnp.ones((2, 4), "bfloat16")
    assert dropout(jax.random.key(0), x, 0.5).dtype == "bfloat16"


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"rate 1.0 must lie in \[0, 1\)"):
        dropout(jax.random.key(0), jnp.ones((2, 2)), 1.0)
