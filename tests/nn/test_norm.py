"""Tests of `jaxlab.nn.norm`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxlab.nn.norm import LayerNorm, layer_norm

# Sums of a few dozen float32 numbers, in another order.
ORDER_OF_SUMS = 2e-6


@pytest.fixture
def arrays(rng):
    """Give inputs (2, 5, 12) far from zero, and a scale and a bias (12,)."""
    x = rng.normal(3, 2, (2, 5, 12))
    scale, bias = rng.normal(size=(2, 12))
    return [jnp.asarray(array, jnp.float32) for array in (x, scale, bias)]


def test_rows_have_mean_zero_and_variance_one(arrays):
    out = layer_norm(arrays[0], jnp.ones(12), jnp.zeros(12), 0.0)
    np.testing.assert_allclose(out.mean(-1), 0, atol=ORDER_OF_SUMS)
    np.testing.assert_allclose(out.var(-1), 1, atol=ORDER_OF_SUMS)


def test_a_large_mean_does_not_cancel_the_variance():
    x = 1e4 + jnp.array([[1.0, -1.0, 1.0, -1.0]])
    out = layer_norm(x, jnp.ones(4), jnp.zeros(4), 0.0)
    np.testing.assert_allclose(out, [[1, -1, 1, -1]], atol=1e-3)


def test_statistics_of_half_precision_are_float32(arrays):
    x = arrays[0].astype(jnp.bfloat16)
    out = layer_norm(x, *arrays[1:])
    assert out.dtype == jnp.bfloat16
    expected = layer_norm(x.astype(jnp.float32), *arrays[1:])
    np.testing.assert_array_equal(out, expected.astype(jnp.bfloat16))


def test_the_module_is_that_of_flax(arrays, key):
    x = arrays[0]
    variables = {"params": {"scale": arrays[1], "bias": arrays[2]}}
    theirs = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False)
    np.testing.assert_allclose(
        LayerNorm(1e-6).apply(variables, x),
        theirs.apply(variables, x),
        atol=ORDER_OF_SUMS,
    )
    shapes = jax.tree.map(jnp.shape, LayerNorm().init(key, x))
    assert shapes == jax.tree.map(jnp.shape, theirs.init(key, x))


@pytest.mark.peer
def test_values_and_gradients_are_those_of_torch(arrays, rng):
    torch = pytest.importorskip("torch")
    weight = rng.normal(size=(2, 5, 12)).astype(np.float32)

    def total(*arrays):
        out = LayerNorm(1e-5).apply(
            {"params": {"scale": arrays[1], "bias": arrays[2]}}, arrays[0]
        )
        return (out * weight).sum()

    value, grads = jax.value_and_grad(total, argnums=(0, 1, 2))(*arrays)
    theirs = [torch.tensor(np.array(array), requires_grad=True) for array in arrays]
    out = torch.nn.functional.layer_norm(theirs[0], (12,), *theirs[1:], eps=1e-5)
    expected = (out * torch.tensor(weight)).sum()
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    for ours, tensor in zip(grads, theirs, strict=True):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), atol=1e-5)


def test_it_can_be_differentiated_forwards(arrays):
    variables = {"params": {"scale": arrays[1], "bias": arrays[2]}}
    x, tangent = arrays[0], jnp.ones_like(arrays[0])
    _, out = jax.jvp(lambda x: LayerNorm().apply(variables, x), (x,), (tangent,))
    np.testing.assert_allclose(out, 0, atol=1e-5)  # shifting a row changes nothing
