"""What a quantiser returns."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import entr

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Int, Metrics, Scalar

__all__ = [
    "CODEBOOK",
    "Quantized",
    "batch_perplexity",
    "check_width",
    "count_indices",
]

# The collection of what a codebook has read from data.
CODEBOOK = "codebook"


class Quantized(NamedTuple):
    """Latents, quantised.

    Attributes:
        codes: What the decoder reads, of the shape and dtype of the latents: those of
            `lookup(indices)`, with a gradient for the latents.
        indices: Numbers of the codes, of the latents' shape without its last axis.
        loss: The weighted sum of the quantiser's own terms, float32: add it to the
            loss.
        terms: Its terms by name, without their weights, and the `batch_perplexity`: how
            many codes, if all were used alike, would be as evenly spread as those of
            this batch. That depends on the batch's size; `metrics.code_usage` reports
            that of a data set.
    """

    codes: Float[Array, "*b d"]
    indices: Int[Array, "*b"]
    loss: Scalar
    terms: Metrics


def count_indices(indices: Int[Array, " n"], num_codes: int) -> Float[Array, " k"]:
    """Count how often each code was chosen."""
    return jnp.zeros(num_codes, jnp.float32).at[indices].add(1.0)


def batch_perplexity(indices: Int[Array, "*b"], num_codes: int) -> Scalar:
    """Return the exponential of the entropy of the codes' shares."""
    shares = count_indices(indices.reshape(-1), num_codes) / indices.size
    return jnp.exp(entr(shares).sum())


def check_width(latents: Array, dim: int) -> None:
    """Refuse latents of other channels than a quantiser is for.

    Raises:
        InputError: With both widths.
    """
    if latents.shape[-1] != dim:
        raise InputError(
            f"latents of {latents.shape[-1]} channels do not fit a quantiser of "
            f"dim={dim}; give it dim={latents.shape[-1]}"
        )
