"""Tests of `jaxlab.nn.quantizers.fsq`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.nn.quantizers.fsq import FSQ, FSQ_LEVELS
from tests.jitted import jitted_apply, jitted_init

Z = (-10, -1, -0.5, 0, 0.5, 1, 10)
TABLE = {
    3: (-1, -1, 0, 0, 0, 1, 1),
    4: (-1, -0.5, -0.5, 0, 0.5, 0.5, 0.5),
    5: (-1, -1, -0.5, 0, 0.5, 1, 1),
    8: (-1, -0.75, -0.5, 0, 0.25, 0.5, 0.75),
}
SMALL = (8, 8, 8, 6, 5)


@pytest.mark.parametrize("levels", TABLE)
def test_codes_are_those_of_the_table(levels):
    z = jnp.array(Z, jnp.float32).reshape(-1, 1)
    out = jitted_apply(FSQ((levels,)), {}, z)
    np.testing.assert_array_equal(out.codes.ravel(), np.float32(TABLE[levels]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_all_codes_have_an_index_of_their_own(dtype):
    quantizer = FSQ(SMALL)
    assert quantizer.num_codes == 15360
    indices = jnp.arange(15360)
    codes = jitted_apply(quantizer, {}, indices, method="lookup")
    assert len(np.unique(np.asarray(codes), axis=0)) == 15360
    # Latents that round to each code: the inverse of the bounds.
    levels = np.array(SMALL)
    half, offset = (levels - 1) * 1.001 / 2, (levels % 2 == 0) / 2
    bounded = np.asarray(codes) * (levels // 2)
    z = np.arctanh((bounded + offset) / half) - np.arctanh(offset / half)
    out = jitted_apply(quantizer, {}, jnp.asarray(z, dtype), train=True)
    np.testing.assert_array_equal(out.indices, indices)
    assert out.indices.dtype == jnp.int32
    assert out.codes.dtype == dtype
    np.testing.assert_array_equal(out.codes, codes.astype(dtype))


@pytest.mark.parametrize("levels", [(3,), (8, 5), (1000,), (1001,), (1002, 1003)])
def test_no_index_is_out_of_range(levels, rng):
    quantizer = FSQ(levels)
    extremes = np.array([-np.inf, -1e30, -10, -1, 0, 1, 10, 1e30, np.inf, np.nan])
    z = rng.choice(extremes, (200, len(levels))).astype(np.float32)
    out = jitted_apply(quantizer, {}, jnp.asarray(z), train=True)
    assert out.indices.min() >= 0
    assert out.indices.max() < quantizer.num_codes
    largest = jitted_apply(quantizer, {}, jnp.full((1, len(levels)), 1e30))
    assert largest.indices.tolist() == [quantizer.num_codes - 1]


def test_the_gradient_is_that_of_the_bounds():
    z = jnp.array([[0.3, -0.2]])
    slope = jax.grad(lambda z: FSQ((5, 5)).apply({}, z).codes.sum())(z)
    # tanh times 2 * 1.001, over 2.
    np.testing.assert_allclose(slope, 1.001 / np.cosh(z) ** 2, rtol=1e-5)


def test_latents_of_other_widths_are_projected(rng, key):
    quantizer = FSQ((5, 4, 3), dim=8)
    z = jnp.asarray(rng.normal(size=(2, 3, 8)), jnp.float32)
    variables = jitted_init(quantizer, key, z)
    out = jitted_apply(quantizer, variables, z)
    assert out.codes.shape == z.shape
    assert out.indices.shape == (2, 3)
    again = jitted_apply(quantizer, variables, out.indices, method="lookup")
    np.testing.assert_allclose(out.codes, again, atol=1e-6)


@pytest.mark.parametrize("count", FSQ_LEVELS)
def test_levels_make_about_so_many_codes(count):
    assert FSQ(FSQ_LEVELS[count]).num_codes == pytest.approx(count, rel=0.07)


@pytest.mark.parametrize(
    ("levels", "message"),
    [((2, 5), "at least 3 .* lfq"), ((), "at least 3"), ((60000, 60000), "int32")],
)
def test_levels_that_cannot_be_are_refused(levels, message):
    with pytest.raises(InputError, match=message):
        FSQ(levels).apply({}, jnp.zeros((1, len(levels))))
