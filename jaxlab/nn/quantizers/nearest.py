"""Distances from codes, and the nearest one by blocks of vectors."""

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Float, Int

__all__ = ["closeness", "nearest_code"]

# Distances in memory at a time. 16 MB of float32 stay in the last cache of a CPU, and
# are enough to keep a GPU busy.
_BLOCK = 2**22


def nearest_code(
    vectors: Float[Array, "n d"],
    codebook: Float[Array, "k d"],
    *,
    block: int = _BLOCK,
) -> Int[Array, " n"]:
    """Find the code at the least Euclidean distance from each vector.

    As `closeness` has it, in float32, but never of all vectors at once. Blocks are
    strided, so that a batch that is split over devices stays split.

    Args:
        vectors: Vectors of any float type. No gradient passes.
        codebook: The codes.
        block: Distances in memory at a time.

    Returns:
        The first index among equals, int32. Of a vector that is not finite: any valid
        index.
    """
    vectors, codebook = jax.lax.stop_gradient((vectors, codebook))

    def search(some: Array) -> Array:
        return jnp.argmax(closeness(some, codebook), 1).astype(jnp.int32)

    count, num_codes = len(vectors), len(codebook)
    least = -(-count * num_codes // block)
    parts = 1 << max(least - 1, 0).bit_length()  # a power of two divides most batches
    if parts == 1:
        return search(vectors)
    padded = jnp.pad(vectors, ((0, -count % parts), (0, 0)))
    strided = padded.reshape(-1, parts, vectors.shape[1])

    def part(index: Array) -> Array:
        return search(jax.lax.dynamic_index_in_dim(strided, index, 1, keepdims=False))

    return jax.lax.map(part, jnp.arange(parts)).T.reshape(-1)[:count]


def closeness(
    vectors: Float[Array, "n d"], codebook: Float[Array, "k d"]
) -> Float[Array, "n k"]:
    r"""Return minus half the squared distances, up to a number for each vector.

    By the product $z \cdot e - |e|^2 / 2$ in float32, after the mean of the codebook is
    taken from both sides: codes far from zero would lose their small differences
    otherwise. What can be told apart is about $10^{-7}$ of the squared distance from
    that mean.

    Args:
        vectors: Vectors of any float type.
        codebook: The codes.
    """
    codebook = codebook.astype(jnp.float32)
    offset = jax.lax.stop_gradient(codebook.mean(0, keepdims=True))
    centred = codebook - offset
    products = jax.lax.dot_general(
        vectors.astype(jnp.float32) - offset,
        centred,
        (((1,), (1,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
    )
    return products - jnp.square(centred).sum(1).reshape(1, -1) / 2
