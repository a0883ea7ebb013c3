"""Tests of `jaxlab.nn.spectral`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.model import SPECTRAL
from jaxlab.nn.spectral import (
    SpectralConv,
    SpectralDense,
    SpectralEmbed,
    spectral_normalize,
    spectral_start,
)
from tests.jitted import jitted_apply, jitted_init
from tests.torch_spectral import set_direction

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
    # A direction far from the singular one.
    state = set_direction(layer, [0.6, 0.8, 0.0, 0.0])
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


LAYERS = {
    "dense": SpectralDense(5),
    "conv": SpectralConv(5, (3, 2), (2, 1), padding=((1, 0), (1, 1))),
    "embed": SpectralEmbed(4, 5),
}


def inputs_of(kind, rng):
    """Give what a layer takes, and torch's form of it."""
    if kind == "embed":
        numbers = rng.integers(0, 4, 6)
        return jnp.asarray(numbers, jnp.int32), numbers
    x = rng.normal(size=(6, 7) if kind == "dense" else (2, 6, 4, 3)).astype(np.float32)
    return jnp.asarray(x), x if kind == "dense" else x.transpose(0, 3, 1, 2).copy()


@pytest.mark.peer
@pytest.mark.parametrize("kind", LAYERS)
def test_layers_are_those_of_torch_before_and_after_a_step(kind, rng, key):
    torch = pytest.importorskip("torch")
    layer = LAYERS[kind]
    x, their_x = inputs_of(kind, rng)
    variables = jitted_init(layer, key, x)
    params = variables["params"]
    weight = np.asarray(params["embedding" if kind == "embed" else "kernel"])
    weight = {"dense": (1, 0), "conv": (3, 2, 0, 1), "embed": (0, 1)}[kind], weight
    theirs = {
        "dense": lambda: torch.nn.Linear(7, 5),
        "conv": lambda: torch.nn.Conv2d(3, 5, (3, 2), (2, 1)),
        "embed": lambda: torch.nn.Embedding(4, 5),
    }[kind]()
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(weight[1].transpose(weight[0]).copy()))
        if kind != "embed":
            theirs.bias.fill_(0.5)
            params = {**params, "bias": jnp.full(5, 0.5)}
    u = rng.normal(size=len(theirs.weight)).astype(np.float32)
    u /= np.linalg.norm(u)
    theirs = torch.nn.utils.parametrizations.spectral_norm(theirs)
    state = set_direction(theirs, u)
    vectors = {"u": jnp.asarray(u)}
    if kind == "conv":
        their_x = np.pad(their_x, ((0, 0), (0, 0), (1, 0), (1, 1)))
    for train in (False, True):
        theirs.train(train)
        out, new = layer.clone(update=train).apply(
            {"params": params, SPECTRAL: vectors}, x, mutable=[SPECTRAL]
        )
        expected = theirs(torch.tensor(their_x)).detach().numpy()
        if kind == "conv":
            expected = expected.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            new[SPECTRAL]["u"], state._u.numpy(), atol=ORDER_OF_SUMS
        )
        if not train:
            np.testing.assert_array_equal(new[SPECTRAL]["u"], u)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_new_layer_has_a_largest_singular_value_near_one(kind, rng, key):
    layer, (x, _) = LAYERS[kind], inputs_of(kind, rng)
    variables = jax.jit(layer.init)(key, x)
    kernel = variables["params"]["embedding" if kind == "embed" else "kernel"]
    rows = kernel.T if kind == "embed" else kernel.reshape(-1, kernel.shape[-1])
    normal, _ = spectral_normalize(rows, variables[SPECTRAL]["u"], 0)
    # 15 iterations: within a few percent from below.
    largest = np.linalg.svd(np.asarray(normal), compute_uv=False)[0]
    assert 1 - 1e-6 < largest < 1.05


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_compute_in_their_dtype_and_normalise_in_float32(kind, rng, key):
    layer, (x, _) = LAYERS[kind], inputs_of(kind, rng)
    variables = jitted_init(layer, key, x)
    low = layer.clone(dtype=jnp.bfloat16, update=True)
    out, new = low.apply(variables, x, mutable=[SPECTRAL])
    assert out.dtype == jnp.bfloat16
    assert new[SPECTRAL]["u"].dtype == jnp.float32
    # Without a mutable collection, as in a penalty, the iteration is made but not kept.
    np.testing.assert_array_equal(jitted_apply(low, variables, x), out)
