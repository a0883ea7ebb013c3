r"""Divergences of distributions over the same places, and what they say of a GAN.

Distributions are given by their probabilities, each summing to 1. All is in nats and
differentiable; $0 \log 0$ is 0.
"""

import jax.numpy as jnp
import numpy as np

from jaxlab.core.typing import Array, Float, Scalar

__all__ = [
    "jensen_shannon",
    "kullback_leibler",
    "minimax_value",
    "optimal_discriminator",
]

_Shares = Float[Array | np.ndarray, " n"]


def kullback_leibler(p: _Shares, q: _Shares) -> Scalar:
    r"""Give $KL(p | q) = \sum p \log (p / q)$, infinite where p has mass and q none."""
    p, q = jnp.asarray(p), jnp.asarray(q)
    has_mass = p > 0
    # Differentiable: neither branch is NaN or infinite where the other is taken.
    inner, outer = jnp.where(has_mass, p, 1), jnp.where(has_mass, q, 1)
    return (p * (jnp.log(inner) - jnp.log(outer))).sum()


def jensen_shannon(p: _Shares, q: _Shares) -> Scalar:
    r"""Give $KL(p | m) / 2 + KL(q | m) / 2$ with $m = (p + q) / 2$.

    From 0 to log 2, which it is for any two distributions without common places, near
    ones or far ones: so a generator learns nothing from it there, unlike from $W_1$.

    References:
        Lin 1991; Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, example 1.
    """
    p, q = jnp.asarray(p), jnp.asarray(q)
    middle = (p + q) / 2
    return (kullback_leibler(p, middle) + kullback_leibler(q, middle)) / 2


def optimal_discriminator(p: _Shares, q: _Shares) -> Float[Array, " n"]:
    r"""Give $D^* = p / (p + q)$, the best at telling data p from a generator q.

    Where neither has mass it is 1/2: any value does. Its score is $\log p - \log q$.

    References:
        Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, proposition 1.
    """
    p, q = jnp.asarray(p), jnp.asarray(q)
    is_empty = p + q == 0
    return jnp.where(is_empty, 0.5, p / jnp.where(is_empty, 1, p + q))


def minimax_value(p: _Shares, q: _Shares) -> Scalar:
    r"""Give $C(G) = 2 JS(p, q) - 2 \log 2$, the value of the game at $D^*$.

    The least, $-2 \log 2$, is reached where the generator's distribution is the data's.

    References:
        Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, theorem 1.
    """
    return 2 * jensen_shannon(p, q) - 2 * jnp.log(2.0)
