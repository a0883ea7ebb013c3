"""In which precision to compute."""

from typing import Literal, TypeAlias

import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array

__all__ = ["Precision", "at_least_float32", "compute_dtype"]

Precision: TypeAlias = Literal["float32", "bfloat16"]


def compute_dtype(precision: Precision) -> jnp.dtype:
    """Give the dtype of activations and matrix products.

    Parameters, optimiser moments, normalisation statistics, softmax, logits and losses
    are float32 in both: an update of 1e-3 on a bfloat16 weight of 1 would be lost.
    Half precision (float16) is not offered: it would need loss scaling.
    """
    if precision not in ("float32", "bfloat16"):
        raise InputError(
            f"precision {precision!r} is not known; use 'float32' or 'bfloat16'"
        )
    return jnp.dtype(precision)


def at_least_float32(x: Array) -> Array:
    """Widen half precision, for sums and losses; float32 and float64 stay."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
