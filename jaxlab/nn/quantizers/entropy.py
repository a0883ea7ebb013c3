"""The entropy term: each choice certain, all codes used."""

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Float, Scalar

__all__ = ["binary_entropies", "entropies", "mean_entropy"]

_TINY = 1e-30  # to take logarithms of


def entropies(logits: Float[Array, "n k"]) -> tuple[Scalar, Scalar]:
    r"""Return the mean entropy of a choice, and the entropy of the mean choice.

    The term of a loss is the first less the second, in nats: between $-\log k$ (each
    choice certain, all codes used alike) and 0. Means over vectors, in float32.

    Args:
        logits: How near each code lies: minus the distances over a temperature.

    References:
        Jansen et al. 2019, https://arxiv.org/abs/1911.05894 (the term).
        Yu et al. 2023, https://arxiv.org/abs/2310.05737, equation 5 (for codes).
    """
    log_chances = jax.nn.log_softmax(logits.astype(jnp.float32))
    chances = jnp.exp(log_chances)
    of_one = -(chances * log_chances).sum(-1).mean()
    return of_one, mean_entropy(chances.mean(0))


def binary_entropies(logits: Float[Array, "n i"]) -> tuple[Scalar, Scalar]:
    """Return the same for codes of bits, each chosen by itself with a log-odds.

    Exact, though no vector's 2**i chances are ever made: the entropy of one choice is
    the sum over its bits, and the mean choice is a product of two matrices, of the
    chances of the first bits and of the last.

    Args:
        logits: The log-odds of each bit.
    """
    logits = logits.astype(jnp.float32)
    log_ones, log_zeros = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    ones, zeros = jnp.exp(log_ones), jnp.exp(log_zeros)
    of_one = -(ones * log_ones + zeros * log_zeros).sum(-1).mean()

    def joint(bits: slice) -> Array:  # (n, 2**bits), the first bit the highest
        chances = jnp.ones((len(logits), 1))
        for one, zero in zip(ones[:, bits].T, zeros[:, bits].T, strict=True):
            both = jnp.stack([zero, one], -1).reshape(-1, 1, 2)
            chances = (chances.reshape(len(logits), -1, 1) * both).reshape(
                len(logits), -1
            )
        return chances

    half = logits.shape[1] // 2
    first, last = joint(slice(None, half)), joint(slice(half, None))
    precision = jax.lax.Precision.HIGHEST
    mean = jnp.matmul(first.T, last, precision=precision) / len(logits)
    return of_one, mean_entropy(mean.reshape(-1))


def mean_entropy(chances: Float[Array, " k"]) -> Scalar:
    """Return the entropy of chances in nats; 0 has none, and no infinite slope."""
    return -(chances * jnp.log(jnp.maximum(chances, _TINY))).sum()
