"""Tests of `jaxlab.core.config`."""

import dataclasses

import pytest

from jaxlab.core.config import fields


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 3
    depth: int = 2


def test_the_fields_asked_for_are_given():
    assert fields(Config(), "depth") == {"depth": 2}
    with pytest.raises(AttributeError, match="height"):
        fields(Config(), "height")
