"""The precision of computation."""

import typing

import jax.numpy as jnp
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.precision import Precision, compute_dtype


def test_every_precision_of_the_type_has_a_dtype():
    names = typing.get_args(Precision)
    assert [compute_dtype(name) for name in names] == [jnp.float32, jnp.bfloat16]


def test_another_precision_is_an_error_that_names_both():
    unchecked = getattr(compute_dtype, "__wrapped__", compute_dtype)
    with pytest.raises(InputError, match="'float16' is not known; use 'float32' or"):
        unchecked("float16")
