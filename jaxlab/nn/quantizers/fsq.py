"""Finite scalar quantisation: a few channels, each rounded to a few levels."""

import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Int
from jaxlab.nn.quantizers.estimators import straight_through
from jaxlab.nn.quantizers.projection import Projection
from jaxlab.nn.quantizers.quantized import Quantized, batch_perplexity, check_width

__all__ = ["FSQ", "FSQ_LEVELS"]

# Levels of about so many codes: from 256 the paper's table, but for 512.
FSQ_LEVELS = {
    64: (8, 8),
    256: (8, 6, 5),
    512: (8, 8, 8),
    1024: (8, 5, 5, 5),
    4096: (7, 5, 5, 5, 5),
    16384: (8, 8, 8, 6, 5),
    65536: (8, 8, 8, 5, 5, 5),
}

_MOST_CODES = 2**31 - 1  # of an int32
_EPS = 1e-3  # the paper's: the bounds lie so far beyond the outer levels


class FSQ(nn.Module):
    r"""Bounds each channel by a tanh and rounds it; the codes are a grid, not learnt.

    Of L levels the values are $-\lfloor L/2 \rfloor, \dots$ over $\lfloor L/2 \rfloor$:
    within [-1, 1], and not symmetric if L is even, as in the paper. The first channel
    is the lowest digit of an index. Rounds in float32 whatever the latents. Nothing is
    learnt, so the loss is 0.

    Attributes:
        levels: Levels of each channel, at least 3.
        dim: Channels of the latents; if not as many as levels, they are projected and
            projected back. None: as many.

    References:
        Mentzer et al. 2023, https://arxiv.org/abs/2309.15505, appendix A.1.
    """

    levels: tuple[int, ...]
    dim: int | None = None

    def setup(self) -> None:
        _check_levels(self.levels)
        channels = len(self.levels)
        width = channels if self.dim is None else self.dim
        self.projection = Projection(width, channels)

    @property
    def num_codes(self) -> int:
        """The product of the levels."""
        return math.prod(self.levels)

    def __call__(
        self, latents: Float[Array, "*b d"], *, train: bool = False
    ) -> Quantized:
        """Quantise; training changes nothing.

        Raises:
            InputError: If the latents have other channels.
        """
        check_width(latents, self.projection.width)
        inner = self.projection.inward(latents.astype(jnp.float32))
        levels, half, places = self._row(inner.ndim)
        bounded = _bound(inner, levels)
        # Clipped: of a thousand levels the bounds are half a level too far.
        digits = jnp.clip(jnp.round(bounded).astype(jnp.int32) + half, 0, levels - 1)
        indices = (digits * places).sum(-1, dtype=jnp.int32)
        codes = straight_through(bounded / half, (digits - half) / half)
        return Quantized(
            self.projection.outward(codes).astype(latents.dtype),
            indices,
            jnp.zeros(()),
            {"batch_perplexity": batch_perplexity(indices, self.num_codes)},
        )

    def lookup(self, indices: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        """Return the codes of indices, float32; NaN where there is no such index."""
        levels, half, places = self._row(indices.ndim + 1)
        index = indices[..., None]
        codes = (index // places % levels - half) / half
        is_code = (index >= 0) & (index < self.num_codes)
        return self.projection.outward(jnp.where(is_code, codes, jnp.nan))

    def _row(self, ndim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return levels, half of them, and the values of digits, to broadcast."""
        levels = np.array(self.levels, np.int32)
        places = np.cumprod(levels) // levels
        shape = (*(1,) * (ndim - 1), -1)
        return levels.reshape(shape), levels.reshape(shape) // 2, places.reshape(shape)


def _bound(x: Array, levels: np.ndarray) -> Array:
    """Bound channels so that rounding gives so many levels; 0 stays 0."""
    half = (levels - 1) * (1 + _EPS) / 2
    offset = np.where(levels % 2 == 0, 0.5, 0.0)
    shift = np.arctanh(offset / half)
    # Taken in float64, since near 1 the inverse of tanh is steep.
    scale, down, right = (jnp.asarray(n, jnp.float32) for n in (half, offset, shift))
    return jnp.tanh(x + right) * scale - down


def _check_levels(levels: tuple[int, ...]) -> None:
    if not levels or min(levels) < 3:
        raise InputError(
            f"levels {levels} must be at least 3 in each channel; two levels a channel "
            "are the quantiser lfq"
        )
    if math.prod(levels) > _MOST_CODES:
        raise InputError(
            f"levels {levels} make {math.prod(levels)} codes, more than the "
            f"{_MOST_CODES} of an int32; take fewer levels or channels"
        )
