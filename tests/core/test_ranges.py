"""Settings are checked where they are declared."""

import dataclasses
import math
import typing

import numpy as np
import pytest

from experiments import vit_cifar
from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count, Natural, Range, Rate, check_fields, check_number


@dataclasses.dataclass(frozen=True)
class Inner:
    every: Count = 5
    workers: Natural | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    name: str = "any"
    rate: Rate = 0.5
    kind: typing.Literal["a", "b"] | typing.Literal["all"] = "a"
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "text"),
    [
        (Range(), (0, 1e300), (-1e-9,), "at least 0"),
        (Range(0, 1), (0, 0.5, 1), (-0.1, 1.1), "at least 0 and at most 1"),
        (Range(0, 1, is_open=True), (1e-9, 1), (0,), "above 0 and at most 1"),
        (Range(2, 3, is_open_above=True), (2, 2.9), (3,), "at least 2 and below 3"),
        (Range(1, 2**31 - 1), (1, 2**31 - 1), (0, 2**31), "2147483647"),
    ],
)
def test_a_range_holds_what_it_says(allowed, inside, outside, text):
    for value in inside:
        check_number("x", value, allowed)
    for value in outside:
        with pytest.raises(InputError, match=f"x {value} must be .*{text}"):
            check_number("x", value, allowed)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1", [1]])
def test_what_is_no_finite_number_is_in_no_range(value):
    with pytest.raises(InputError, match="must be a finite number at least 0"):
        check_number("x", value, Range())


@pytest.mark.parametrize("value", [2.5, 2.0, math.nan, "2", None])
def test_what_is_counted_is_whole(value):
    check_number("x", np.int32(2), Range(1), is_whole=True)
    with pytest.raises(InputError, match="must be a whole number at least 1"):
        check_number("x", value, Range(1), is_whole=True)


def test_numbers_of_any_length_are_compared():
    with pytest.raises(InputError, match="must be at least 1 and"):
        check_fields(Inner(every=10**400))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(rate=1.0), "rate 1.0 must be at least 0 and below 1"),
        (Config(kind="c"), "kind 'c' is not one of a, b, all"),
        (Config(inner=Inner(every=0)), "every 0 must be at least 1"),
        (Config(inner=Inner(workers=-1)), "workers -1 must be at least 0"),
    ],
)
def test_fields_are_checked_by_their_types(config, message):
    check_fields(Config(kind="all", inner=Inner(workers=0)))
    with pytest.raises(InputError, match=message):
        check_fields(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_heads", 0),
        ("width", -64),
        ("label_smoothing", 2.0),
        ("weight_decay", -1.0),
        ("eval_every", -1),
        ("warmup_rate", 1.0),
        ("learning_rate", math.nan),
        ("weight_decay", math.inf),
        ("seed", 2**32),
        ("batch_size", 0),
    ],
)
def test_a_value_out_of_range_is_told_by_its_own_name(field, value):
    with pytest.raises(InputError, match=f"^{field} {value} must be "):
        check_fields(dataclasses.replace(vit_cifar.SMOKE, **{field: value}))
