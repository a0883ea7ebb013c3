"""Tests of `jaxlab.nn.quantizers.estimators`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.nn.quantizers import estimators
from jaxlab.nn.quantizers.estimators import pass_gradient

rotation_trick = jax.jit(estimators.rotation_trick)
straight_through = jax.jit(estimators.straight_through)


@pytest.mark.parametrize("how", ["straight_through", "rotation"])
def test_the_value_is_the_code_to_the_bit(how, rng):
    z = jnp.asarray(rng.normal(size=(50, 7)), jnp.float32)
    codes = jnp.asarray(1e3 * rng.normal(size=(50, 7)), jnp.float32)
    passed = jax.jit(pass_gradient, static_argnums=2)(z, codes, how)
    np.testing.assert_array_equal(passed, codes)


def test_straight_through_has_the_gradient_of_the_latents(rng):
    z, codes, factors = jnp.asarray(rng.normal(size=(3, 4, 2)), jnp.float32)
    grads = jax.grad(lambda *x: (straight_through(*x) * factors).sum(), (0, 1))(
        z, codes
    )
    np.testing.assert_array_equal(grads[0], factors)
    np.testing.assert_array_equal(grads[1], np.zeros((4, 2)))


def test_the_rotation_trick_turns_the_gradient():
    z, e = jnp.array([3.0, 4.0]), jnp.array([0.0, 10.0])
    np.testing.assert_array_equal(rotation_trick(z, e), e)
    jacobian = jax.jacobian(rotation_trick)(z, e)
    np.testing.assert_allclose(jacobian, [[1.6, -1.2], [1.2, 1.6]], atol=1e-6)
    gradient = jax.grad(lambda z: rotation_trick(z, e).sum())(z)
    np.testing.assert_allclose(gradient, [2.8, 0.4], atol=1e-6)
    # Neither code nor angle has one.
    assert not jax.grad(lambda e: rotation_trick(z, e).sum())(e).any()


@pytest.mark.parametrize(
    ("z", "e", "expected"),
    [
        ([0.0, 0.0], [0.0, 10.0], [[1, 0], [0, 1]]),  # no direction: straight through
        ([3.0, 4.0], [0.0, 0.0], [[1, 0], [0, 1]]),
        ([0.0, -2.0], [0.0, 2.0], [[1, 0], [0, -1]]),  # opposite: a reflection
    ],
)
def test_the_rotation_trick_without_an_angle(z, e, expected):
    z, e = jnp.array(z), jnp.array(e)
    np.testing.assert_array_equal(rotation_trick(z, e), e)
    jacobian = jax.jacobian(rotation_trick)(z, e)
    np.testing.assert_allclose(jacobian, np.float32(expected), atol=1e-6)
