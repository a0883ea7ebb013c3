"""In which precision to compute."""

from typing import Literal, TypeAlias

import jax.numpy as jnp

from jaxlab.core.errors import InputError

__all__ = ["Precision", "compute_dtype"]

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
