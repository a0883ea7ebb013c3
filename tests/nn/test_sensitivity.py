"""Tests of `jaxlab.nn.sensitivity`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.nn.sensitivity import gradient_by_lag

# Products of up to five small float32 matrices.
ROUNDING = 1e-5


def linear_recurrence(transition, entry):
    """Give the network h_t = A h_{t-1} + B x_t."""

    def apply(x):
        def step(hidden, now):
            hidden = hidden @ transition.T + now @ entry.T
            return hidden, hidden

        start = jnp.zeros((len(x), len(transition)))
        return jnp.swapaxes(jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1))[1], 0, 1)

    return apply


def test_a_linear_recurrence_has_powers_of_its_matrix(rng):
    transition, entry = rng.normal(size=(3, 3)), rng.normal(size=(3, 2))
    x = jnp.asarray(rng.normal(size=(4, 6, 2)), jnp.float32)
    network = linear_recurrence(
        jnp.asarray(transition, jnp.float32), jnp.asarray(entry, jnp.float32)
    )
    powers = [np.linalg.matrix_power(transition, lag) @ entry for lag in range(6)]
    np.testing.assert_allclose(
        gradient_by_lag(network, x), [np.linalg.norm(p) for p in powers], rtol=ROUNDING
    )


def test_norms_are_averaged_over_rows(rng):
    # The derivative of x^2 is 2x, of each row another.
    x = jnp.asarray(rng.normal(size=(5, 3, 1)), jnp.float32)
    got = gradient_by_lag(jnp.square, x)
    expected = [np.abs(2 * x[:, -1, 0]).mean(), 0, 0]
    np.testing.assert_allclose(got, expected, rtol=ROUNDING)


def test_outputs_of_the_last_time_alone_are_refused(rng):
    with pytest.raises(InputError, match=r"shape \(5, 2\) are not \(b, t, h\)"):
        gradient_by_lag(lambda x: x[:, -1], jnp.zeros((5, 3, 2)))
