"""Tests of `jaxlab.models.sizing`."""

import jax.numpy as jnp
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import num_elements
from jaxlab.models.recurrent.language import RNNLM
from jaxlab.models.sizing import num_parameters, width_for
from tests.jitted import jitted_init

TOKENS = jnp.zeros((1, 2), jnp.int32)


def build(width):
    return RNNLM(50, width=width, pad=None)


def test_parameters_are_counted_as_made(key):
    params = jitted_init(build(16), key, TOKENS)["params"]
    assert num_parameters(build(16), TOKENS) == num_elements(params)


@pytest.mark.parametrize("wanted", [3_000, 20_000, 100_000])
def test_no_other_width_is_nearer(wanted):
    width = width_for(build, wanted, TOKENS, multiple=4)
    assert width % 4 == 0
    here, *others = (
        abs(num_parameters(build(w), TOKENS) - wanted)
        for w in (width, width - 4, width + 4)
        if w
    )
    assert here <= min(others)


def test_too_few_parameters_are_refused():
    with pytest.raises(InputError, match="num_parameters 10 is too few: a network"):
        width_for(build, 10, TOKENS)
