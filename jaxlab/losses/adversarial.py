r"""Losses of generative adversarial networks, from the scores of real and fake rows.

A score is a logit of "real" for minimax, non-saturating and hinge, a number to regress
for least squares, and a value of the potential for Wasserstein. All losses are to be
minimised, each by its own player; each is a mean over rows in float32 at least.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.model import SPECTRAL, Model
from jaxlab.core.precision import at_least_float32
from jaxlab.core.typing import Array, Float, Key, ModelState, Params, Scalar

__all__ = [
    "ADVERSARIAL_LOSSES",
    "AdversarialLoss",
    "hinge_discriminator",
    "least_squares_discriminator",
    "least_squares_generator",
    "minimax_discriminator",
    "minimax_generator",
    "non_saturating_generator",
    "score_both",
    "scores_of",
    "wasserstein_critic",
    "wasserstein_generator",
]


def minimax_discriminator(real: Float[Array, "*b"], fake: Float[Array, "*m"]) -> Scalar:
    r"""Give $-E \log D(x) - E \log(1 - D(G(z)))$ with D the sigmoid of the scores.

    At the best D, $p / (p + q)$, this is $2 \log 2 - 2 JS(p, q)$.

    References:
        Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1.
    """
    real, fake = at_least_float32(real), at_least_float32(fake)
    return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean()


def minimax_generator(fake: Float[Array, "*b"]) -> Scalar:
    r"""Give $E \log(1 - D(G(z)))$, flat where the discriminator is sure.

    References:
        Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1.
    """
    return -jax.nn.softplus(at_least_float32(fake)).mean()


def non_saturating_generator(fake: Float[Array, "*b"]) -> Scalar:
    r"""Give $-E \log D(G(z))$, steep where the discriminator is sure.

    References:
        Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 3.
    """
    return jax.nn.softplus(-at_least_float32(fake)).mean()


def least_squares_discriminator(
    real: Float[Array, "*b"], fake: Float[Array, "*m"]
) -> Scalar:
    r"""Give $E (D(x) - 1)^2 / 2 + E D(G(z))^2 / 2$.

    References:
        Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9.
    """
    real, fake = at_least_float32(real), at_least_float32(fake)
    return (((real - 1) ** 2).mean() + (fake**2).mean()) / 2


def least_squares_generator(fake: Float[Array, "*b"]) -> Scalar:
    r"""Give $E (D(G(z)) - 1)^2 / 2$.

    References:
        Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9.
    """
    return ((at_least_float32(fake) - 1) ** 2).mean() / 2


def hinge_discriminator(real: Float[Array, "*b"], fake: Float[Array, "*m"]) -> Scalar:
    r"""Give $E \max(0, 1 - D(x)) + E \max(0, 1 + D(G(z)))$.

    The generator's loss that goes with it is `wasserstein_generator`.

    References:
        Miyato et al. 2018, https://arxiv.org/abs/1802.05957, equation 16.
    """
    real, fake = at_least_float32(real), at_least_float32(fake)
    return jax.nn.relu(1 - real).mean() + jax.nn.relu(1 + fake).mean()


def wasserstein_critic(real: Float[Array, "*b"], fake: Float[Array, "*m"]) -> Scalar:
    r"""Give $E f(G(z)) - E f(x)$, minus the estimate of $W_1$ if f has slope at most 1.

    The sign is the paper's; the authors' code minimises the opposite, with -f for f.

    References:
        Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, equation 2.
    """
    return at_least_float32(fake).mean() - at_least_float32(real).mean()


def wasserstein_generator(fake: Float[Array, "*b"]) -> Scalar:
    r"""Give $-E f(G(z))$.

    References:
        Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, theorem 3.
    """
    return -at_least_float32(fake).mean()


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


def scores_of(out: Array | tuple[Array, ...]) -> Array:
    """Pick the scores out of what a critic gives: of a tuple they are the first."""
    return out[0] if isinstance(out, tuple) else out


def score_both(
    critic: Model,
    params: Params,
    model_state: ModelState,
    real: Float[Array, "b ..."],
    fake: Float[Array, "m ..."],
    *inputs: Any,
    key: Key[Array, ""] | None = None,
) -> tuple[Any, Any, ModelState]:
    """Let a critic in training score real rows and as many fake ones.

    In one pass, so that vectors of spectral normalisation move once a step; but in two
    with batch statistics, which are not to mix real and fake rows (Radford et al.
    2016, https://arxiv.org/abs/1511.06434).

    Args:
        critic: From rows, and other inputs, to scores or a tree of outputs by row.
        params: Its parameters.
        model_state: Its state.
        real: Rows of data.
        fake: Rows of the generator.
        inputs: Other inputs by row, the same for both: labels.
        key: For dropout.

    Returns:
        Its outputs of real rows, of fake ones, and its new state.

    Raises:
        InputError: If there are not as many rows of both.
    """
    if real.shape != fake.shape:
        raise InputError(
            f"real rows of shape {real.shape} and fake ones of {fake.shape} must be as "
            "many, of the same shape"
        )
    if set(model_state) - {SPECTRAL}:
        keys = (None, None) if key is None else jax.random.split(key)
        real_out, model_state = critic.apply(
            params, model_state, real, *inputs, key=keys[0], train=True
        )
        fake_out, model_state = critic.apply(
            params, model_state, fake, *inputs, key=keys[1], train=True
        )
        return real_out, fake_out, model_state

    def join(first: Array, second: Array) -> Array:
        # By turns: rows that lie on one device stay there.
        both = jnp.stack([first, second.astype(first.dtype)], axis=1)
        return both.reshape(-1, *first.shape[1:])

    twice = [join(leaf, leaf) for leaf in inputs]
    out, model_state = critic.apply(
        params, model_state, join(real, fake), *twice, key=key, train=True
    )
    real_out = jax.tree.map(lambda leaf: leaf[::2], out)
    return real_out, jax.tree.map(lambda leaf: leaf[1::2], out), model_state
