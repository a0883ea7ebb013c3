"""Tokens to vectors with positions, vectors to logits, and masks of padding."""

import math
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Bool, Float, Int
from jaxlab.nn.positions import SinusoidLayout, sinusoids

__all__ = [
    "Positions",
    "TokenEmbed",
    "check_numbers",
    "look_up",
    "padding_mask",
    "read_prompts",
]

Positions: TypeAlias = Literal["interleaved", "halves", "learned", "rotary", "none"]


def padding_mask(tokens: Int[Array, "b m"], pad: int | None) -> Bool[Array, "b 1 1 m"]:
    """Tell which tokens may be seen: all that are not padding, if there is any."""
    if pad is None:
        return jnp.ones((len(tokens), 1, 1, tokens.shape[1]), bool)
    return (tokens != pad)[:, None, None]


def check_numbers(numbers: Any, least: int, most: int, name: str, what: str) -> None:
    """Refuse integers that are out of range, where their values are known.

    Under `jax.jit` they are not, and nothing is checked.

    Args:
        numbers: An array of integers.
        least: The smallest that is allowed.
        most: The largest.
        name: What one of them is, for the message.
        what: What the range is, for the message.

    Raises:
        InputError: Naming the first that is out of range, and its place.
    """
    is_known = not isinstance(numbers, jax.core.Tracer)
    if not is_known or not getattr(numbers, "is_fully_addressable", True):
        return
    known = np.asarray(numbers)
    wrong = np.argwhere((known < least) | (known > most))
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise InputError(
            f"{name} {known[place]} at {list(place)} is none of {what}, {least} to "
            f"{most}"
        )


def look_up(
    table: Float[Array, "v d"], ids: Int[Array, "*b"], name: str = "token"
) -> Float[Array, "*b d"]:
    """Read rows of a table by number.

    A number that the table does not have, negative ones included, is refused where its
    value is known; inside `jax.jit` its row is NaN, so that no logits look right.

    Args:
        table: Vectors.
        ids: Numbers of rows.
        name: What a number is, for the message.

    Raises:
        InputError: If a known number is out of range.
    """
    check_numbers(ids, 0, len(table) - 1, name, f"the {len(table)} of this network")
    rows = table.at[ids]
    return rows.get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def read_prompts(
    tokens: Int[Array, "b t"], lengths: Int[Array, " b"]
) -> tuple[Int[Array, "b t"], Int[Array, " b"]]:
    """Cut prompts at their lengths.

    Args:
        tokens: Prompts, padded at their ends with anything.
        lengths: Tokens of each prompt, at least 1.

    Returns:
        The prompts, with zeros behind them, and the last token of each. Inside
        `jax.jit` that is -1, whose vector is NaN, where a length is out of range.

    Raises:
        InputError: If there is no room for a token, or a known length is out of range.
    """
    size = tokens.shape[1]
    if not size:
        raise InputError("prompts of 0 tokens cannot be gone on with; give at least 1")
    check_numbers(lengths, 1, size, "prompt length", f"those of rows of {size} tokens")
    is_right = (lengths >= 1) & (lengths <= size)
    last = jnp.where(is_right, lengths - 1, 0)
    ends = jnp.take_along_axis(tokens, last[:, None], axis=1)[:, 0]
    is_prompt = jnp.arange(size)[None] < lengths[:, None]
    return jnp.where(is_prompt, tokens, 0), jnp.where(is_right, ends, -1)


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
            tokens: Numbers below `vocab_size`; see `look_up`.
            start: Position of the first one of each row; None: 0.

        Raises:
            InputError: If there are more tokens than learned positions, or a known
                token or position is out of range.
        """
        x = look_up(self.embedding.astype(self.dtype), tokens)
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
            return x + look_up(self.pos_embed, places, "position").astype(self.dtype)
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
