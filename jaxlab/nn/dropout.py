"""Dropout with 16 random bits a number: half of the work of drawing its mask."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Key

__all__ = ["Dropout", "dropout"]

_STEPS = 1 << 16


def dropout(
    key: Key[Array, ""], x: Float[Array, "*b d"], rate: float
) -> Float[Array, "*b d"]:
    """Drop numbers by chance and scale the others up, so that the mean stays.

    Args:
        key: Randomness.
        x: Any numbers.
        rate: Share of numbers to drop, in [0, 1); rounded to a multiple of 2**-16.

    Raises:
        InputError: If the rate is out of range.

    References:
        Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from
        Overfitting", https://jmlr.org/papers/v15/srivastava14a.html.
    """
    if not 0 <= rate < 1:
        raise InputError(f"dropout rate {rate} must lie in [0, 1)")
    kept = max(round((1 - rate) * _STEPS), 1)
    *rows, width = x.shape
    # Most of the work of a small network's dropout is to draw words of 32 bits: each
    # serves two numbers.
    words = jax.random.bits(key, (*rows, (width + 1) // 2), jnp.uint32)
    halves = words & (_STEPS - 1), words >> 16
    mask = jnp.concatenate([half < kept for half in halves], axis=-1)[..., :width]
    return jnp.where(mask, x * (_STEPS / kept), 0)


class Dropout(nn.Module):
    """Drops numbers while training, by the random stream `dropout`.

    Attributes:
        rate: See `dropout`.
    """

    rate: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b d"], *, deterministic: bool
    ) -> Float[Array, "*b d"]:
        if deterministic or not self.rate:
            return x
        return dropout(self.make_rng("dropout"), x, self.rate)
