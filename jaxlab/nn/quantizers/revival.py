"""Codes that come from data: all of them at the start, dead ones later."""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Bool, Float, Key

__all__ = [
    "Start",
    "Usage",
    "codebook_key",
    "draw_rows",
    "move_counts",
    "uniform_codes",
]

# Where the first codes come from: the first batch of training, or chance.
Start: TypeAlias = Literal["data", "random"]

# Of the count below which a code is dead: what a revived one is given.
_REVIVED = 2.0


class Usage(NamedTuple):
    """How often codes are chosen, and which of them are dead.

    Attributes:
        counts: Moving averages of vectors a batch, by code; of dead codes what they are
            given as they are revived.
        is_dead: Codes to be revived.
    """

    counts: Float[Array, " k"]
    is_dead: Bool[Array, " k"]


def move_counts(
    counts: Float[Array, " k"],
    batch_counts: Float[Array, " k"],
    decay: float,
    revive_below: float,
) -> Usage:
    """Move the average counts on by a batch, and find the codes to revive.

    Args:
        counts: Averages before the batch.
        batch_counts: Counts of the batch.
        decay: Share of the averages that a batch leaves.
        revive_below: Share of the mean count below which a code is dead; a revived one
            is given twice as much, so that it is not dead again at once.
    """
    moved = decay * counts + (1 - decay) * batch_counts
    limit = revive_below * moved.mean()
    is_dead = moved < limit
    return Usage(jnp.where(is_dead, _REVIVED * limit, moved), is_dead)


def draw_rows(
    key: Key[Array, ""], vectors: Float[Array, "n d"], count: int
) -> Float[Array, "k d"]:
    """Draw rows of a batch by chance: one of each that are equal, before any other.

    So a batch of no more distinct vectors than codes has each of them drawn. Of fewer
    rows than wanted, all are drawn again.
    """
    order_key, hash_key = jax.random.split(key)
    chance = jax.random.uniform(order_key, vectors.shape[:1])
    hashes = _hash_rows(hash_key, vectors)
    by_hash = jnp.lexsort((chance, hashes))
    repeats = hashes[by_hash[1:]] == hashes[by_hash[:-1]]
    is_repeat = jnp.zeros(len(vectors), bool).at[by_hash[1:]].set(repeats)
    order = jnp.lexsort((chance, is_repeat))
    return vectors[order[jnp.arange(count) % len(vectors)]]


def _hash_rows(key: Key[Array, ""], vectors: Array) -> Array:
    """Give equal rows the same number, and others hardly ever."""
    plain = jnp.where(vectors == 0, 0.0, vectors)  # -0 is 0
    bits = jax.lax.bitcast_convert_type(plain, jnp.uint32)
    # Murmur's last step: the low bits of round numbers are all zero.
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        bits = (bits ^ (bits >> 15)) * jnp.uint32(factor)
    bits = bits ^ (bits >> 16)
    factors = jax.random.bits(key, (1, vectors.shape[1]), jnp.uint32) | 1
    return (bits * factors).sum(1, dtype=jnp.uint32)


def codebook_key(module: nn.Module) -> Key[Array, ""]:
    """Give a module a key of the step, of the stream that all layers draw from.

    Raises:
        InputError: If the module was applied without one.
    """
    if not module.has_rng("dropout"):
        raise InputError(
            f"{type(module).__name__} draws codes from the batch while training; apply "
            "it with key=, or with start='random' and revive_below=0"
        )
    return module.make_rng("dropout")


def uniform_codes(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "k d"]:
    """Draw codes evenly within 1 / k of zero, as VQGAN's authors do."""
    bound = 1 / shape[0]
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
