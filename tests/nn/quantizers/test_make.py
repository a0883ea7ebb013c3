"""Tests of `jaxlab.nn.quantizers.make`: what all quantisers do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.nn.quantizers.make import QUANTIZERS, make_quantizer
from tests.jitted import jitted_apply, jitted_init


@pytest.fixture
def latents(rng):
    """Give a batch of latent pictures."""
    return jnp.asarray(rng.normal(size=(4, 3, 5, 12)), jnp.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_one_interface(name, dtype, latents, key):
    quantizer = make_quantizer(name, num_codes=64, dim=12)
    z = latents.astype(dtype)
    model = from_linen(quantizer)
    params, state = jitted_init(model, key, z)
    assert quantizer.num_codes == 64

    @jax.jit
    def run(params, state, z):
        out, new = model.apply(params, state, z, key=jax.random.key(1), train=True)
        return out.loss + out.codes.astype(jnp.float32).sum(), (out, new)

    slopes, (out, new) = jax.grad(run, (0, 2), has_aux=True)(params, state, z)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((slopes, new)))
    assert jnp.abs(slopes[1]).max() > 0
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert out.codes.shape == z.shape
    assert out.codes.dtype == dtype
    assert out.indices.shape == z.shape[:-1]
    assert out.indices.dtype == jnp.int32
    for number in (out.loss, *out.terms.values()):
        assert number.shape == ()
        assert number.dtype == jnp.float32
    assert 1 <= out.terms["batch_perplexity"] <= 60.001

    out, _ = jitted_apply(model, params, new, z)
    variables = {"params": params, **new}
    codes = jitted_apply(quantizer, variables, out.indices, method="lookup")
    np.testing.assert_allclose(
        out.codes.astype(jnp.float32),
        codes.astype(dtype).astype(jnp.float32),
        atol=1e-6,
    )
    wrong = jitted_apply(quantizer, variables, jnp.array([-1, 0, 64]), method="lookup")
    assert jnp.isnan(wrong).all(1).tolist() == [True, False, True]


@pytest.mark.parametrize("name", QUANTIZERS)
def test_latents_of_other_channels_are_refused(name, key):
    quantizer = make_quantizer(name, num_codes=64, dim=12)
    with pytest.raises(InputError, match=r"latents of 5 channels .* dim=12"):
        quantizer.init(key, jnp.zeros((2, 5)))


def test_the_perplexity_of_a_batch():
    quantizer = make_quantizer("lfq", num_codes=4, dim=2)
    z = jnp.array([[1.0, 1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
    out = jitted_apply(quantizer, {}, z)
    np.testing.assert_allclose(out.terms["batch_perplexity"], 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vqq", {}, "quantizer 'vqq'.* is not one of vq, ema"),
        ("ema", {"deacy": 0.9}, r"'deacy' \(did you mean 'decay'\?\)"),
        ("fsq", {"num_codes": 100}, "num_codes 100: .* 64, 256, 512, .* levels="),
        ("vq", {"num_codes": 0}, "num_codes 0 must be"),
        ("ema", {"decay": 1.0}, "decay 1.0 must be"),
        ("cosine", {"code_dim": 0}, "code_dim 0 must be"),
    ],
)
def test_what_cannot_be_made_is_refused(name, options, message, key):
    options = {"num_codes": 64, "dim": 3, **options}
    with pytest.raises(InputError, match=message):
        make_quantizer(name, **options).init(key, jnp.zeros((2, 3)))


def test_fsq_takes_levels():
    assert make_quantizer("fsq", num_codes=64, dim=2, levels=(7, 9)).num_codes == 63
