"""Fixed point against exact arithmetic: powers of two, any order, no overflow."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.trees.grow.fixed_point import MOST_BITS, exponent, num_bits, quantize, unit

FLOAT_BITS = 24  # of a float32's mantissa
TINIEST, HUGE = 2.0**-126, float(np.finfo(np.float32).max)  # normal float32


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def step(values, rows=None):
    """What one step of these values is worth, and the values in steps."""
    values = jnp.asarray(values, jnp.float32)
    worth = unit(exponent(values), num_bits(rows or len(values)))
    return float(worth), np.asarray(quantize(values, worth))


@pytest.mark.parametrize("bits", [31, 37, MOST_BITS])
def test_units_are_exact_powers_of_two(bits):
    exponents = jnp.arange(-148, 129, dtype=jnp.int32)
    found = jax.vmap(lambda exponent: unit(exponent, bits))(exponents)
    assert found.dtype == jnp.float64
    assert found.tolist() == [math.ldexp(1, e - bits) for e in exponents.tolist()]


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (1.0, 1),
        (-1.0, 1),
        (0.999, 0),
        (2.0, 2),
        (HUGE, 128),
        (TINIEST, -125),
        (0.0, 0),
    ],
)
def test_the_exponent_bounds_the_largest_value_closely(largest, expected):
    values = jnp.asarray([0.0, largest, largest / 4], jnp.float32)
    assert int(exponent(values)) == expected


def test_the_exponent_is_that_of_all_devices():
    values = jnp.asarray([[1.0, 3.0], [0.1, -100.0]], jnp.float32)
    found = jax.vmap(lambda part: exponent(part, "d"), axis_name="d")(values)
    assert found.tolist() == [7, 7]


@pytest.mark.parametrize(
    "rows",
    [1, 2, 3, 2**24 - 1, 2**24, 2**24 + 1, 2**25, 33_000_000, 2**30, 2**31 - 1],
)
def test_the_sum_of_all_rows_fits_63_bits(rows):
    bits = num_bits(rows)
    assert rows * 2**bits < 2**63  # a value may round up to a whole 2^bits
    assert FLOAT_BITS <= bits <= MOST_BITS
    assert bits == MOST_BITS or 2 * rows * 2 ** (bits + 1) > 2**62, "bits are wasted"


def test_33_million_equal_rows_add_up_without_overflow():
    rows = 33_000_000
    values = np.full(1, np.nextafter(np.float32(2), np.float32(0)))
    worth, steps = step(values, rows)
    total = jnp.full(rows, steps[0]).sum()
    assert int(total) == rows * int(steps[0])
    assert float(total) * worth == pytest.approx(rows * float(values[0]), rel=1e-15)


@pytest.mark.parametrize("scale", [1e-30, 1e-16, 1.0, 1e20, HUGE / 8])
def test_sums_are_the_same_in_any_order_and_close_to_the_exact_sum(rng, scale):
    values = (rng.normal(size=1000).clip(-8, 8) * scale).astype(np.float32)
    worth, steps = step(values)
    sums = {int(steps[rng.permutation(1000)].sum()) for _ in range(5)}
    sums.add(sum(int(part.sum()) for part in np.array_split(steps, 7)))
    assert len(sums) == 1
    exact = math.fsum(values.astype(np.float64))
    assert abs(sums.pop() * worth - exact) <= 1000 * worth / 2


def test_rounding_is_to_the_nearest_step_and_ties_go_to_even():
    worth = jnp.float64(0.25)
    values = jnp.asarray([0.125, 0.375, -0.125, -0.375, 0.2, 0.3, 1.0], jnp.float32)
    assert quantize(values, worth).tolist() == [0, 2, 0, -2, 1, 1, 4]


def test_values_near_the_largest_keep_every_bit(rng):
    values = rng.uniform(2.0**-13, 1, 1000).astype(np.float32)
    worth, steps = step(values)
    np.testing.assert_array_equal(steps * worth, values.astype(np.float64))


def test_no_gradient_is_no_step():
    worth, steps = step(np.zeros(4))
    assert np.isfinite(worth)
    assert worth > 0
    assert not steps.any()
