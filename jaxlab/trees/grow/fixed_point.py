"""Gradients as integers, so that sums do not depend on their order.

Integer addition is associative: any number of devices, any order of rows and any
implementation give the same histograms, and so the same trees, bit for bit.
"""

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Float, Int

__all__ = ["MOST_BITS", "exponent", "num_bits", "quantize", "unit"]

MOST_BITS = 38  # steps of 2^-38 of the largest value; float32 itself has 24 bits


def num_bits(num_rows: int) -> int:
    """Give the bits a value may have so that `num_rows` of them fit in 63 bits."""
    return min(MOST_BITS, 62 - max(num_rows - 1, 1).bit_length())


def exponent(
    values: Float[Array, " n"], axis_name: str | tuple[str, ...] | None = None
) -> Int[Array, ""]:
    """Give the least e with |x| < 2^e for all values, over all devices of the axis."""
    largest = jnp.abs(values).max()
    if axis_name is not None:
        largest = jax.lax.pmax(largest, axis_name)
    return jnp.frexp(largest)[1].astype(jnp.int32)


def unit(exponent: Int[Array, ""], bits: int) -> Float[Array, ""]:
    """Give what one step is worth: 2^(e - bits), exactly, in float64.

    Built from its bits: a power function may round. Needs `jax.enable_x64`.
    """
    biased = (exponent.astype(jnp.int64) - bits + 1023) << 52
    return jax.lax.bitcast_convert_type(biased, jnp.float64)


def quantize(values: Float[Array, " n"], unit: Float[Array, ""]) -> Int[Array, " n"]:
    """Round values to whole steps, ties to even; the error is at most half a step."""
    return jnp.round(values.astype(jnp.float64) / unit).astype(jnp.int64)
