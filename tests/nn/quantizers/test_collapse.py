"""Which codebooks collapse: 512 codes for 2048 vectors of N(0, .25 I_64), 200 steps.

What of other libraries loses all but a few codes, and the cures. Same data each step,
as in the experiment that found the cause; use is counted over them after the last one.
"""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxlab.core.model import from_linen
from jaxlab.metrics.code_usage import code_usage, count_codes
from jaxlab.nn.quantizers.ema import EMAQuantizer
from jaxlab.nn.quantizers.make import make_quantizer
from jaxlab.nn.quantizers.quantized import CODEBOOK

CODES, WIDTH, STEPS = 512, 64, 200
NORMAL = jax.nn.initializers.normal(1.0)


@pytest.fixture
def vectors():
    """Give the vectors."""
    return 0.5 * jax.random.normal(jax.random.key(7), (2048, WIDTH))


def use_after_training(quantizer, vectors, state=None):
    """Train by the quantiser's own loss, and give the share of codes then in use."""
    model = from_linen(quantizer)
    params, first = jax.jit(model.init)(jax.random.key(0), vectors)
    optimizer = optax.adam(1e-3)

    def loss(params, state, key):
        out, state = model.apply(params, state, vectors, key=key, train=True)
        return out.loss, state

    @jax.jit
    def train(params, state):
        def step(carry, key):
            params, state, moments = carry
            slopes, state = jax.grad(loss, has_aux=True)(params, state, key)
            updates, moments = optimizer.update(slopes, moments)
            return (optax.apply_updates(params, updates), state, moments), None

        carry = params, state, optimizer.init(params)
        keys = jax.random.split(jax.random.key(1), STEPS)
        (params, state, _), _ = jax.lax.scan(step, carry, keys)
        return model.apply(params, state, vectors)[0].indices

    indices = train(params, first if state is None else state)
    return code_usage(count_codes(indices, quantizer.num_codes))["usage"]


RANDOM = functools.partial(
    EMAQuantizer, num_codes=CODES, dim=WIDTH, start="random", revive_below=0.0
)
