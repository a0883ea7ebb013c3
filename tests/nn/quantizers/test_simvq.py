"""Tests of `jaxlab.nn.quantizers.simvq`."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.model import from_linen
from jaxlab.nn.quantizers.quantized import CODEBOOK
from jaxlab.nn.quantizers.simvq import SimVQ
from tests.jitted import jitted_apply, jitted_init


def test_one_layer_moves_all_codes_and_the_fixed_vectors_none(rng, key):
    z = jnp.asarray(rng.normal(size=(20, 3)), jnp.float32)
    quantizer = SimVQ(num_codes=7, dim=3)
    model = from_linen(quantizer)
    params, state = jitted_init(model, key, z)
    fixed = np.asarray(state[CODEBOOK]["fixed"])
    table = fixed @ np.asarray(params["layer"]["kernel"])  # its bias starts at 0
    out, same = jitted_apply(model, params, state, z, train=True)
    np.testing.assert_allclose(out.codes, table[out.indices], rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, same, state)

    def loss(params):
        return model.apply(params, state, z[:1], train=True)[0].loss

    moved = jax.tree.map(
        lambda p, g: p - 0.1 * g, params, jax.jit(jax.grad(loss))(params)
    )
    new = quantizer.apply({"params": moved, **state}, method="table")
    assert (jnp.abs(new - table) > 1e-6).any(1).all()
