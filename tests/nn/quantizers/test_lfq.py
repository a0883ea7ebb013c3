"""Tests of `jaxlab.nn.quantizers.lfq`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.nn.quantizers.lfq import LFQ
from tests.jitted import jitted_apply


def test_signs_are_bits_the_first_the_highest():
    z = jnp.array([[0.3, -2.0, 0.1], [0.0, 5.0, -0.1]])
    out = jitted_apply(LFQ(8), {}, z)
    assert out.indices.tolist() == [5, 2]
    np.testing.assert_array_equal(out.codes, np.float32([[1, -1, 1], [-1, 1, -1]]))
    again = jitted_apply(LFQ(8), {}, out.indices, method="lookup")
    np.testing.assert_array_equal(out.codes, again)
    expected = np.square(np.asarray(z) - np.asarray(out.codes)).mean()
    np.testing.assert_allclose(out.terms["commitment"], expected, rtol=1e-6)


def test_the_term_of_certain_choices_of_two_codes():
    out = jitted_apply(LFQ(2), {}, jnp.array([[1.0], [-1.0]]))
    np.testing.assert_allclose(out.terms["entropy"], -0.693147, atol=1e-6)
    np.testing.assert_allclose(out.loss, -0.0693147, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_quarter_million_codes(dtype, rng):
    z = jnp.asarray(rng.normal(size=(2, 9, 18)), dtype)

    def loss(z):
        out = LFQ(2**18).apply({}, z, train=True)
        return out.loss, out

    (value, out), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(z)
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()
    assert out.codes.dtype == dtype
    assert out.indices.max() > 2**16
    again = jitted_apply(LFQ(2**18), {}, out.indices, method="lookup")
    np.testing.assert_array_equal(out.codes, again.astype(dtype))


@pytest.mark.parametrize("num_codes", [1, 12, 2**25])
def test_what_is_no_power_of_two_is_refused(num_codes):
    with pytest.raises(InputError, match=f"num_codes {num_codes} .* power of two"):
        LFQ(num_codes).apply({}, jnp.zeros((1, 4)))
