"""A maker's name and arguments survive JSON."""

import json
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.recorded import read_fields, record


class Network(NamedTuple):
    name: str
    shape: tuple = (1, 2)
    dtype: object = jnp.float32
    rate: float | None = None


def test_a_maker_is_called_again_with_the_same_fields():
    shape, rate = (8, np.int64(4)), np.float32(0.5)
    found = record(Network, "cnn", shape=shape, dtype=jnp.bfloat16, rate=rate)
    assert found.network == Network("cnn", shape, jnp.bfloat16, rate)
    assert found.maker == "Network"
    fields = json.loads(json.dumps(found.fields))
    assert fields["dtype"] == {"dtype": "bfloat16"}
    assert Network(**read_fields(fields)) == found.network


def test_what_is_not_plain_is_refused_by_name():
    with pytest.raises(InputError, match="rate is a ndarray"):
        record(Network, "cnn", rate=np.zeros(3))
    with pytest.raises(InputError, match="rate is a type"):
        record(Network, "cnn", rate=Network)


def test_defaults_and_further_fields_are_kept():
    def maker(name, depth=2, **fields):
        return name, depth, fields

    found = record(maker, "S", width=np.int32(3), scan=np.bool_(True))
    assert found.fields == {"name": "S", "depth": 2, "width": 3, "scan": True}
    assert maker(**read_fields(found.fields)) == ("S", 2, {"width": 3, "scan": True})
