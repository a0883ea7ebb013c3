"""Tests of `jaxlab.nn.activation`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.nn.activation import GATES, activation

NAMES = ["gelu", "gelu_tanh", "relu", "silu"]
POINTS = np.linspace(-8, 8, 641, dtype=np.float32)
# Elementary functions of two libraries differ in the last bits of values up to 8.
LAST_BITS = 2e-6


def test_each_is_its_formula():
    formulas = {
        "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
        "gelu_tanh": lambda x: (
            x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        ),
        "relu": lambda x: max(x, 0.0),
        "silu": lambda x: x / (1 + math.exp(-x)),
    }
    for name, formula in formulas.items():
        expected = [formula(float(x)) for x in POINTS]
        got = activation(name)(jnp.asarray(POINTS))
        np.testing.assert_allclose(got, expected, atol=LAST_BITS, err_msg=name)


def test_gates_are_those_that_their_names_tell():
    assert GATES == {"swiglu": "silu", "geglu": "gelu", "reglu": "relu"}


def test_the_two_gelus_are_different_functions():
    exact, approximate = (activation(n)(jnp.asarray(POINTS)) for n in NAMES[:2])
    assert 4e-4 < np.abs(exact - approximate).max() < 5e-4


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_at_zero_and_far_out(name):
    slopes = jax.vmap(jax.grad(activation(name)))(jnp.array([-100.0, 0.0, 100.0]))
    np.testing.assert_allclose(slopes[::2], [0, 1], atol=LAST_BITS)
    assert 0 <= slopes[1] <= 0.5


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_stays_bfloat16(name):
    assert activation(name)(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.peer
@pytest.mark.parametrize("name", NAMES)
def test_each_is_that_of_torch(name):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    theirs = {
        "gelu": functional.gelu,
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "relu": functional.relu,
        "silu": functional.silu,
    }
    expected = theirs[name](torch.from_numpy(POINTS)).numpy()
    got = activation(name)(jnp.asarray(POINTS))
    np.testing.assert_allclose(got, expected, atol=LAST_BITS)
