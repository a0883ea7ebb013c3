"""Tests of `jaxlab.transport.costs`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.transport.costs import power_cost


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0, np.inf])
def test_both_kinds_of_arrays_give_the_norm_of_numpy(rng, p, norm):
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    wanted = np.linalg.norm(x[:, None] - y[None], ord=norm, axis=-1) ** p
    np.testing.assert_allclose(power_cost(x, y, p, norm), wanted, rtol=1e-13)
    found = power_cost(
        jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), p, norm
    )
    assert isinstance(found, jax.Array)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0, np.inf])
def test_equal_points_cost_nothing_and_pull_nowhere(p, norm):
    x = jnp.array([[0.1, 1e3], [0.7, -2.0]])
    cost, pull = jax.value_and_grad(lambda x: power_cost(x, x + 0.0, p, norm)[0, 0])(x)
    assert cost == 0
    np.testing.assert_array_equal(pull, np.zeros_like(x))


@pytest.mark.parametrize(
    ("p", "norm"), [(0.0, 2.0), (np.inf, 2.0), (1.0, 0.5), (np.nan, 2.0)]
)
def test_powers_that_make_no_cost_are_refused(p, norm):
    with pytest.raises(InputError, match="must"):
        power_cost(np.ones((2, 2)), np.ones((2, 2)), p, norm)
