"""Tests of `jaxlab.nn.norm`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxlab.nn.norm import LayerNorm, RMSNorm, layer_norm, make_norm, rms_norm
from tests.jitted import jitted_apply, jitted_init

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
        jitted_apply(LayerNorm(1e-6), variables, x),
        jitted_apply(theirs, variables, x),
        atol=ORDER_OF_SUMS,
    )
    shapes = jax.tree.map(jnp.shape, jitted_init(LayerNorm(), key, x))
    assert shapes == jax.tree.map(jnp.shape, jitted_init(theirs, key, x))


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


def test_the_root_mean_square_of_rows_becomes_one(arrays):
    x = arrays[0]
    out = rms_norm(x, jnp.ones(12), 0.0)
    np.testing.assert_allclose((out**2).mean(-1), 1, rtol=1e-5)
    # Rows are only shrunk: their direction and their mean's sign stay.
    cosines = (out * x).sum(-1) / jnp.sqrt((x**2).sum(-1) * 12)
    np.testing.assert_allclose(cosines, 1, rtol=1e-5)


def test_the_mean_square_of_half_precision_is_float32(arrays):
    x = arrays[0].astype(jnp.bfloat16)
    out = rms_norm(x, arrays[1])
    assert out.dtype == jnp.bfloat16
    expected = rms_norm(x.astype(jnp.float32), arrays[1]).astype(jnp.bfloat16)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.peer
def test_rms_values_and_gradients_are_those_of_torch(arrays, rng):
    torch = pytest.importorskip("torch")
    weight = rng.normal(size=(2, 5, 12)).astype(np.float32)

    def total(x, scale):
        out = RMSNorm(1e-3).apply({"params": {"scale": scale}}, x)
        return (out * weight).sum(), out

    grads, out = jax.grad(total, argnums=(0, 1), has_aux=True)(*arrays[:2])
    x, scale = (torch.tensor(np.array(a), requires_grad=True) for a in arrays[:2])
    module = torch.nn.RMSNorm(12, eps=1e-3)
    module.weight = torch.nn.Parameter(scale.detach().clone())
    expected = module(x)
    (expected * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=ORDER_OF_SUMS)
    for ours, theirs in zip(grads, (x.grad, module.weight.grad), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_norms_are_made_by_name():
    layer, rms = (make_norm(kind, 1e-3, jnp.bfloat16) for kind in ("layer", "rms"))
    assert isinstance(layer, LayerNorm)
    assert isinstance(rms, RMSNorm)
    for norm in (layer, rms):
        assert (norm.eps, norm.dtype) == (1e-3, jnp.bfloat16)
    shapes = jax.eval_shape(rms.init, jax.random.key(0), jnp.zeros((2, 3)))["params"]
    assert {name: s.shape for name, s in shapes.items()} == {"scale": (3,)}
