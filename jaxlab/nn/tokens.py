"""Tokens to vectors with positions, vectors to logits, and masks of padding."""

import math
from typing import Any, Literal, TypeAlias, get_args

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Bool, Float, Int
from jaxlab.nn.positions import SinusoidLayout, sinusoids

__all__ = ["Positions", "TokenEmbed", "padding_mask"]

Positions: TypeAlias = Literal["interleaved", "halves", "learned", "rotary", "none"]


def padding_mask(tokens: Int[Array, "b m"], pad: int) -> Bool[Array, "b 1 1 m"]:
    """Tell which tokens may be seen: all that are not padding."""
    return (tokens != pad)[:, None, None]


class TokenEmbed(nn.Module):
    """A table of token vectors, with positions; also the softmax's, where it is tied.

    Attributes:
        vocab_size: Rows of the table.
        width: Of a vector.
        positions: `interleaved` or `halves` sines and cosines; `learned`, one vector a
            position; `rotary` and `none` add nothing here.
        max_len: Learned positions.
        scale: Multiply by the root of the width, as the paper does: the table is then
            drawn small enough to serve the softmax too.
        dtype: Of the vectors; parameters are float32.

    References:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.4; Press & Wolf
        2017, https://arxiv.org/abs/1608.05859, for one table in two places.
    """

    vocab_size: int
    width: int
    positions: Positions = "interleaved"
    max_len: int = 0
    scale: bool = True
    dtype: Any = jnp.float32

    def setup(self) -> None:
        if self.positions not in get_args(Positions):
            raise InputError(
                f"positions {self.positions!r} must be one of "
                f"{', '.join(get_args(Positions))}"
            )
        init = nn.initializers.normal(self.width**-0.5 if self.scale else 0.02)
        shape = (self.vocab_size, self.width)
        self.embedding = self.param("embedding", init, shape)
        if self.positions == "learned":
            init = nn.initializers.normal(0.02)
            self.pos_embed = self.param("pos_embed", init, (self.max_len, self.width))

    def __call__(
        self, tokens: Int[Array, "b t"], start: Int[Array, " b"] | None = None
    ) -> Float[Array, "b t d"]:
        """Look tokens up.

        Args:
            tokens: Numbers below `vocab_size`.
            start: Position of the first one of each row; None: 0.

        Raises:
            InputError: If there are more tokens than learned positions.
        """
        x = self.embedding.astype(self.dtype)[tokens]
        if self.scale:
            x = x * math.sqrt(self.width)
        if self.positions == "rotary" or self.positions == "none":
            return x
        steps = jnp.arange(tokens.shape[1])
        places = steps[None] if start is None else start[:, None] + steps[None]
        if self.positions == "learned":
            if tokens.shape[1] > self.max_len:
                raise InputError(
                    f"{tokens.shape[1]} tokens are more than the {self.max_len} "
                    "learned positions; cut the sequence, or use a larger max_len"
                )
            return x + self.pos_embed[places].astype(self.dtype)
        layout: SinusoidLayout = self.positions
        return x + sinusoids(places, self.width, layout).astype(self.dtype)

    def attend(self, x: Float[Array, "*b d"]) -> Float[Array, "*b v"]:
        """Give logits, float32: the products with all rows of the table."""
        table = self.embedding.astype(self.dtype)
        flat = x.reshape(-1, self.width)
        logits = jnp.einsum(
            "nd,vd->nv", flat, table, preferred_element_type=jnp.float32
        )
        return logits.reshape(*x.shape[:-1], self.vocab_size)
