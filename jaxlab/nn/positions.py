"""Positions of tokens in a sequence: sine and cosine, or rotations."""

from typing import Literal, TypeAlias

import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Int

__all__ = ["SinusoidLayout", "rotate", "sinusoids"]

SinusoidLayout: TypeAlias = Literal["interleaved", "halves"]


def sinusoids(
    positions: Int[Array, "*t"],
    width: int,
    layout: SinusoidLayout = "interleaved",
    *,
    temperature: float = 10_000.0,
) -> Float[Array, "*t d"]:
    r"""Give fixed positions $\sin(p\,\omega_i), \cos(p\,\omega_i)$.

    With $\omega_i = 10000^{-2i/d}$, so that a shift by k is one rotation of each pair,
    whatever the position.

    Args:
        positions: Numbers of tokens, from 0.
        width: Of the vectors; even.
        layout: `interleaved` is the paper's, sine and cosine by turns; `halves` has all
            sines first (Marian, tensor2tensor, Flax's example).
        temperature: The longest wave is 2 pi times this, in tokens.

    Raises:
        InputError: If the width is odd.

    References:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5.
    """
    angles = _angles(positions, width, temperature)
    if layout == "halves":
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    both = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return both.reshape(*positions.shape, width)


def rotate(
    x: Float[Array, "b h t k"],
    positions: Int[Array, "b t"],
    *,
    temperature: float = 10_000.0,
) -> Float[Array, "b h t k"]:
    """Turn queries or keys by their positions (RoPE).

    The product of a query and a key then depends on their distance alone. Number i is
    paired with number i + k/2, as in GPT-NeoX and Llama; the RoFormer paper pairs
    neighbours, which is the same up to an order of the numbers.

    Args:
        x: Queries or keys.
        positions: Of the tokens, from 0.
        temperature: Base of the frequencies, Llama's `rope_theta`.

    Raises:
        InputError: If the heads have an odd width.

    References:
        Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding",
        https://arxiv.org/abs/2104.09864, equation 34.
    """
    angles = _angles(positions, x.shape[-1], temperature)[:, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def _angles(
    positions: Int[Array, "*t"], width: int, temperature: float
) -> Float[Array, "*t half"]:
    if width % 2 or width < 2:
        raise InputError(f"positions by pairs need an even width, not {width}")
    omega = temperature ** (-jnp.arange(0, width, 2) / width)
    omega = omega.reshape(*[1] * positions.ndim, -1)
    return positions[..., None] * omega.astype(jnp.float32)
