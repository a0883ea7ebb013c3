"""The precision of computation."""

import typing

import jax
import jax.numpy as jnp
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.precision import Precision, at_least_float32, compute_dtype


def test_every_precision_of_the_type_has_a_dtype():
    names = typing.get_args(Precision)
    assert [compute_dtype(name) for name in names] == [jnp.float32, jnp.bfloat16]


def test_another_precision_is_an_error_that_names_both():
    unchecked = getattr(compute_dtype, "__wrapped__", compute_dtype)
    with pytest.raises(InputError, match="'float16' is not known; use 'float32' or"):
        unchecked("float16")


def test_half_precision_is_widened_and_more_than_float32_stays():
    with jax.enable_x64(True):
        names = ["float16", "bfloat16", "float32", "float64"]
        found = [at_least_float32(jnp.ones(2, name)).dtype.name for name in names]
    assert found == ["float32", "float32", "float32", "float64"]
