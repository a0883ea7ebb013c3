r"""Losses of generative adversarial networks, from the scores of real and fake rows.

A score is a logit of "real" for minimax, non-saturating and hinge, a number to regress
for least squares, and a value of the potential for Wasserstein. All losses are to be
minimised, each by its own player; each is a mean over rows in float32 at least.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Float, Scalar

__all__ = [
    "ADVERSARIAL_LOSSES",
    "AdversarialLoss",
    "hinge_discriminator",
    "least_squares_discriminator",
    "least_squares_generator",
    "minimax_discriminator",
    "minimax_generator",
    "non_saturating_generator",
    "wasserstein_critic",
    "wasserstein_generator",
]


def _wide(scores: Array) -> Array:
    return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))


def minimax_discriminator(real: Float[Array, "*b"], fake: Float[Array, "*m"]) -> Scalar:
    r"""Give $-E \log D(x) - E \log(1 - D(G(z)))$ with D the sigmoid of the scores.

    At the best D, $p / (p + q)$, this is $2 \log 2 - 2 JS(p, q)$.

    References:
        Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1.
    """
    return jax.nn.softplus(-_wide(real)).mean() + jax.nn.softplus(_wide(fake)).mean()


def minimax_generator(fake: Float[Array, "*b"]) -> Scalar:
    r"""Give $E \log(1 - D(G(z)))$, flat where the discriminator is sure.

    References:
        Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1.
    """
    return -jax.nn.softplus(_wide(fake)).mean()


def non_saturating_generator(fake: Float[Array, "*b"]) -> Scalar:
    r"""Give $-E \log D(G(z))$, steep where the discriminator is sure.

    References:
        Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 3.
    """
    return jax.nn.softplus(-_wide(fake)).mean()


def least_squares_discriminator(
    real: Float[Array, "*b"], fake: Float[Array, "*m"]
) -> Scalar:
    r"""Give $E (D(x) - 1)^2 / 2 + E D(G(z))^2 / 2$.

    References:
        Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9.
    """
    return (((_wide(real) - 1) ** 2).mean() + (_wide(fake) ** 2).mean()) / 2


def least_squares_generator(fake: Float[Array, "*b"]) -> Scalar:
    r"""Give $E (D(G(z)) - 1)^2 / 2$.

    References:
        Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9.
    """
    return ((_wide(fake) - 1) ** 2).mean() / 2


def hinge_discriminator(real: Float[Array, "*b"], fake: Float[Array, "*m"]) -> Scalar:
    r"""Give $E \max(0, 1 - D(x)) + E \max(0, 1 + D(G(z)))$.

    The generator's loss that goes with it is `wasserstein_generator`.

    References:
        Miyato et al. 2018, https://arxiv.org/abs/1802.05957, equation 16.
    """
    return jax.nn.relu(1 - _wide(real)).mean() + jax.nn.relu(1 + _wide(fake)).mean()


def wasserstein_critic(real: Float[Array, "*b"], fake: Float[Array, "*m"]) -> Scalar:
    r"""Give $E f(G(z)) - E f(x)$, minus the estimate of $W_1$ if f has slope at most 1.

    The sign is the paper's; the authors' code minimises the opposite, with -f for f.

    References:
        Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, equation 2.
    """
    return _wide(fake).mean() - _wide(real).mean()


def wasserstein_generator(fake: Float[Array, "*b"]) -> Scalar:
    r"""Give $-E f(G(z))$.

    References:
        Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, theorem 3.
    """
    return -_wide(fake).mean()


class AdversarialLoss(NamedTuple):
    """The losses of the two players.

    Attributes:
        critic: Of the scores of real and of fake rows.
        generator: Of the scores of fake rows.
    """

    critic: Callable[[Array, Array], Array]
    generator: Callable[[Array], Array]


ADVERSARIAL_LOSSES = {
    "minimax": AdversarialLoss(minimax_discriminator, minimax_generator),
    "non_saturating": AdversarialLoss(minimax_discriminator, non_saturating_generator),
    "least_squares": AdversarialLoss(
        least_squares_discriminator, least_squares_generator
    ),
    "hinge": AdversarialLoss(hinge_discriminator, wasserstein_generator),
    "wasserstein": AdversarialLoss(wasserstein_critic, wasserstein_generator),
}
