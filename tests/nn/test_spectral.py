"""Tests of `jaxlab.nn.spectral`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.nn.spectral import spectral_normalize, spectral_start

# Float32, a few dozen products in another order than torch.
ORDER_OF_SUMS = 1e-6


@pytest.mark.peer
@pytest.mark.parametrize("num_iterations", [0, 1, 3])
@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 5, 4)])
def test_spectral_normalisation_is_that_of_torch(shape, num_iterations, rng):
    torch = pytest.importorskip("torch")
    kernel = jnp.asarray(rng.normal(size=shape), jnp.float32)
    is_dense = len(shape) == 2
    layer = torch.nn.Linear(6, 4) if is_dense else torch.nn.Conv2d(5, 4, (3, 2))
    to_torch = (1, 0) if is_dense else (3, 2, 0, 1)
    weight = torch.tensor(np.transpose(np.asarray(kernel), to_torch).copy())
    layer.weight = torch.nn.Parameter(weight)
    layer = torch.nn.utils.parametrizations.spectral_norm(
        layer, n_power_iterations=max(num_iterations, 1)
    )
    state = layer.parametrizations.weight[0]
    # A direction far from the singular one, and the v that goes with it.
    state._u.copy_(torch.tensor([0.6, 0.8, 0.0, 0.0]))
    v = weight.flatten(1).T @ state._u
    state._v.copy_(v / v.norm())
    u = jnp.asarray(state._u.numpy().copy())
    layer.train(num_iterations > 0)

    factors = rng.normal(size=shape).astype(np.float32)
    theirs = layer.weight
    (theirs * torch.tensor(np.transpose(factors, to_torch).copy())).sum().backward()
    ours, u = spectral_normalize(kernel, u, num_iterations)
    grad = jax.grad(
        lambda k: (spectral_normalize(k, start, num_iterations)[0] * factors).sum()
    )
    start = jnp.array([0.6, 0.8, 0.0, 0.0])
    np.testing.assert_allclose(
        np.transpose(ours, to_torch), theirs.detach().numpy(), atol=ORDER_OF_SUMS
    )
    np.testing.assert_allclose(u, state._u.numpy(), atol=ORDER_OF_SUMS)
    np.testing.assert_allclose(
        np.transpose(grad(kernel), to_torch),
        layer.parametrizations.weight.original.grad.numpy(),
        atol=ORDER_OF_SUMS,
    )


def test_iterations_end_at_the_largest_singular_value(rng, key):
    kernel = jnp.asarray(rng.normal(size=(3, 3, 2, 5)), jnp.float32)
    u = spectral_start(key, kernel)
    np.testing.assert_allclose(jnp.linalg.norm(u), 1, rtol=ORDER_OF_SUMS)
    normal, _ = jax.jit(spectral_normalize, static_argnums=2)(kernel, u, 100)
    largest = np.linalg.svd(np.reshape(normal, (-1, 5)), compute_uv=False)[0]
    np.testing.assert_allclose(largest, 1, rtol=1e-5)
    low, _ = spectral_normalize(kernel.astype(jnp.bfloat16), u)
    assert low.dtype == jnp.bfloat16


def test_a_kernel_of_zeros_keeps_its_direction(key):
    zeros = jnp.zeros((3, 2))
    start = spectral_start(key, zeros)
    normal, u = spectral_normalize(zeros, start)
    np.testing.assert_array_equal(normal, zeros)
    np.testing.assert_array_equal(u, start)


def test_a_negative_number_of_iterations_is_refused(key):
    with pytest.raises(InputError, match="-1 power iterations"):
        spectral_normalize(jnp.ones((2, 2)), jnp.ones(2), -1)
