"""Tests of `jaxlab.nn.quantizers.entropy`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.nn.quantizers.entropy import binary_entropies, entropies

SURE = 1000.0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([[SURE, 0], [0, SURE]], -0.693147),  # half each, with certainty
        ([[SURE, 0], [SURE, 0]], 0.0),  # one code always
        ([[0, 0], [0, 0]], 0.0),  # undecided
    ],
)
def test_lower_is_better(logits, expected, dtype):
    def term(logits):
        of_one, of_mean = entropies(logits)
        return of_one - of_mean

    value, gradient = jax.jit(jax.value_and_grad(term))(jnp.array(logits, dtype))
    assert float(value) == pytest.approx(expected, abs=1e-6)
    assert value.dtype == jnp.float32
    assert jnp.isfinite(gradient).all()


def test_the_term_is_a_mean_over_vectors(rng):
    logits = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    once, twice = entropies(logits), entropies(jnp.tile(logits, (2, 1)))
    np.testing.assert_allclose(once, twice, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_codes_of_bits_have_the_entropies_of_all_codes(bits, rng):
    odds = jnp.asarray(2 * rng.normal(size=(7, bits)), jnp.float32)
    codes = np.arange(2**bits)[:, None] >> np.arange(bits)[::-1] & 1
    every = jnp.asarray(codes.T, jnp.float32)

    @jax.jit
    def both(odds):
        of_bits, of_codes = binary_entropies(odds), entropies(odds @ every)
        return of_bits, of_codes

    np.testing.assert_allclose(*both(odds), rtol=1e-5)
    slopes = jax.jit(jax.jacobian(both))(odds)
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-6)


def test_bits_in_extremes_are_finite():
    odds = jnp.array([[1e4, -1e4], [0, 1e4]])

    def total(odds):
        return sum(binary_entropies(odds))

    value, gradient = jax.jit(jax.value_and_grad(total))(odds)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
