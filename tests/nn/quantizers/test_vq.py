"""Tests of `jaxlab.nn.quantizers.vq`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.model import from_linen
from jaxlab.nn.quantizers.vq import VectorQuantizer
from tests.jitted import jitted_apply, jitted_init


def gradients(quantizer, codebook, z):
    """Give a loss, and its slopes for codebook and latents."""

    def loss(codebook, z):
        return quantizer.apply({"params": {"codebook": codebook}}, z).loss

    return jax.jit(jax.value_and_grad(loss, (0, 1)))(codebook, z)


@pytest.mark.parametrize(
    ("beta_on", "slopes"), [("commitment", (-2.0, 0.5)), ("codebook", (-0.5, 2.0))]
)
def test_where_beta_stands(beta_on, slopes):
    quantizer = VectorQuantizer(num_codes=1, dim=1, beta_on=beta_on)
    loss, found = gradients(quantizer, jnp.zeros((1, 1)), jnp.ones((1, 1)))
    assert float(loss) == 1.25  # in both: a test of the value cannot see it
    assert [slope.item() for slope in found] == list(slopes)


def test_codes_that_are_used_have_a_gradient_and_no_others(rng):
    codebook = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    z = codebook[jnp.array([1, 4, 4])] + 0.01
    _, (slope, _) = gradients(VectorQuantizer(num_codes=6, dim=3), codebook, z)
    used = np.asarray(jnp.abs(slope).min(1) > 0)
    np.testing.assert_array_equal(np.flatnonzero(used), [1, 4])
    assert not np.asarray(slope)[~used].any()


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_what_is_decoded_gives_no_gradient_to_codes_and_one_to_latents(estimator, rng):
    quantizer = VectorQuantizer(num_codes=6, dim=3, estimator=estimator)
    codebook, z, factors = jnp.asarray(rng.normal(size=(3, 6, 3)), jnp.float32)

    def decoded(codebook, z):
        out = quantizer.apply({"params": {"codebook": codebook}}, z)
        return (out.codes * factors).sum()

    slope, z_slope = jax.jit(jax.grad(decoded, (0, 1)))(codebook, z)
    assert not slope.any()
    assert bool((z_slope == factors).all()) == (estimator == "straight_through")


def test_as_in_the_paper_it_keeps_no_state(key):
    model = from_linen(VectorQuantizer(num_codes=6, dim=3))
    _, state = jitted_init(model, key, jnp.zeros((2, 3)))
    assert state == {}


def test_codes_of_the_first_batch_and_dead_ones_again(rng, key):
    options = {"start": "data", "revive_below": 0.5, "decay": 0.0}
    quantizer = VectorQuantizer(num_codes=4, dim=2, **options)
    model = from_linen(quantizer)
    z = jnp.asarray(rng.normal(size=(4, 2)), jnp.float32) + 5
    params, state = jitted_init(model, key, z)
    keys = jax.random.split(jax.random.clone(key))
    out, state = jitted_apply(model, params, state, z, key=keys[0], train=True)
    np.testing.assert_allclose(out.codes, z, rtol=1e-6)
    assert sorted(out.indices.tolist()) == [0, 1, 2, 3]
    # Parameters stay the optimiser's, and later batches draw dead codes alone.
    far = z.at[1:].set(z[0])
    table = quantizer.apply({"params": params, **state}, method="table")
    out, state = jitted_apply(model, params, state, far, key=keys[1], train=True)
    np.testing.assert_array_equal(out.codes, table[out.indices])
    new = quantizer.apply({"params": params, **state}, method="table")
    np.testing.assert_allclose(new, far, rtol=1e-6)


def test_the_entropy_term_reaches_codes_and_latents(rng):
    codebook, z = jnp.asarray(rng.normal(size=(2, 4, 3)), jnp.float32)
    plain = VectorQuantizer(num_codes=4, dim=3, temperature=1.0)
    weighted = plain.clone(entropy_weight=2.0)
    out = weighted.apply({"params": {"codebook": codebook}}, z)
    distances = np.square(np.asarray(z)[:, None] - np.asarray(codebook)).sum(-1)
    chances = np.exp(-distances) / np.exp(-distances).sum(1, keepdims=True)
    mean = chances.mean(0)
    expected = (mean * np.log(mean)).sum() - (chances * np.log(chances)).sum(1).mean()
    np.testing.assert_allclose(out.terms["entropy"], expected, rtol=1e-5)
    loss, slopes = gradients(weighted, codebook, z)
    plain_loss, plain_slopes = gradients(plain, codebook, z)
    np.testing.assert_allclose(loss, plain_loss + 2 * expected, rtol=1e-5)
    for slope, other in zip(slopes, plain_slopes, strict=True):
        assert (slope != other).all()
