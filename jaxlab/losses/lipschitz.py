"""What holds a critic's slope: gradient penalties and clipping.

The penalties take the critic as a function of rows, `scores = critic(x)`, with all else
(parameters, labels) bound to it. **A row's score must depend on that row alone**, else
the gradient of one row's score at that row is not what is penalised;
`critic_of_rows` makes such a function of a model, or says why it cannot. (Spectral
normalisation is `jaxlab.nn.spectral`.)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.model import SPECTRAL, Model
from jaxlab.core.precision import at_least_float32
from jaxlab.core.typing import Array, Float, Key, ModelState, Params, PyTree, Scalar
from jaxlab.losses.adversarial import scores_of

__all__ = [
    "clip_weights",
    "critic_of_rows",
    "dragan_penalty",
    "gradient_norms",
    "gradient_penalty",
    "interpolate",
    "r1_penalty",
    "r2_penalty",
]


def critic_of_rows(
    model: Model,
    params: Params,
    model_state: ModelState,
    *,
    key: Key[Array, ""] | None = None,
    **options: Any,
) -> Callable[[Array], Array]:
    """Bind the parameters of a model in training; what it makes of its state is lost.

    Args:
        model: The critic; of a tuple, the scores are the first.
        params: Its parameters.
        model_state: Its state: empty, or vectors of spectral normalisation alone, in
            the collection `jaxlab.core.model.SPECTRAL`.
        key: For dropout.
        options: Passed on, labels for example.

    Raises:
        InputError: If the model keeps another state, such as batch statistics.
    """
    if others := sorted(set(model_state) - {SPECTRAL}):
        raise InputError(
            "a penalised critic must score each row alone, but this one keeps "
            f"{', '.join(others)}: with batch statistics every score depends on all "
            "rows and a slope per row means nothing; use layer normalisation or none"
        )

    def critic(x: Array) -> Array:
        out, _ = model.apply(params, model_state, x, key=key, train=True, **options)
        return scores_of(out)

    return critic


def _squared_norms(
    critic: Callable[[Array], Array], x: Float[Array, "b ..."]
) -> Float[Array, " b"]:
    """Give the squared norm of each row's gradient, in float32 at least."""
    # Rows do not mix, so the gradient of the sum holds each row's own.
    x = at_least_float32(x)
    gradients = jax.grad(lambda x: at_least_float32(critic(x)).sum())(x)
    return (gradients.reshape(len(x), -1) ** 2).sum(1)


def gradient_norms(
    critic: Callable[[Array], Array], x: Float[Array, "b ..."]
) -> Float[Array, " b"]:
    """Give the norm of the critic's gradient at each row: its slope there.

    Inputs of less than float32 are widened before the critic sees them: only its
    own computations are in low precision. Where a gradient is zero, the derivative of
    its norm is taken to be zero.
    """
    squares = _squared_norms(critic, x)
    is_zero = squares == 0
    # The root of 1 in place of 0: an infinite slope times zero would be NaN.
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squares)))


def _slope_penalty(
    critic: Callable[[Array], Array], x: Array, target: float, one_sided: bool
) -> Array:
    excess = gradient_norms(critic, x) - target
    return ((jax.nn.relu(excess) if one_sided else excess) ** 2).mean()


def interpolate(
    real: Float[Array, "b ..."], fake: Float[Array, "m ..."], key: Key[Array, ""]
) -> Float[Array, "b ..."]:
    r"""Draw $\epsilon x + (1 - \epsilon) \tilde x$, one uniform number for each row.

    Raises:
        InputError: If there are not as many rows, or not of the same shape.
    """
    if real.shape != fake.shape:
        raise InputError(
            f"real rows of shape {real.shape} and fake ones of {fake.shape} must have "
            "the same shape to be joined by lines; give the critic as many of each"
        )
    real, fake = at_least_float32(real), at_least_float32(fake)
    shape = (len(real),) + (1,) * (real.ndim - 1)
    epsilon = jax.random.uniform(key, shape, real.dtype)
    return epsilon * real + (1 - epsilon) * fake


def gradient_penalty(
    critic: Callable[[Array], Array],
    real: Float[Array, "b ..."],
    fake: Float[Array, "m ..."],
    key: Key[Array, ""],
    *,
    weight: float = 10.0,
    one_sided: bool = False,
) -> Scalar:
    r"""Give $\lambda E (|\nabla f(\hat x)| - 1)^2$ between real and fake rows.

    Args:
        critic: Scores of rows, each of its row alone; see `critic_of_rows`.
        real: Rows of data.
        fake: As many rows of the generator.
        key: Draws a place between the two for each row.
        weight: $\lambda$; the toy script of the authors takes 0.1.
        one_sided: Penalise slopes above 1 only (WGAN-LP).

    Raises:
        InputError: If the rows differ in number or shape.

    References:
        Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, equation 3.
        Petzka et al. 2018, https://arxiv.org/abs/1709.08894 (one-sided).
    """
    x = interpolate(real, fake, key)
    return weight * _slope_penalty(critic, x, 1.0, one_sided)


def dragan_penalty(
    critic: Callable[[Array], Array],
    real: Float[Array, "b ..."],
    key: Key[Array, ""],
    *,
    weight: float = 10.0,
    target: float = 1.0,
) -> Scalar:
    r"""Give $\lambda E (|\nabla D(x + \delta)| - k)^2$ around the rows of data.

    As in the authors' code, $\delta$ is a uniform share (one for each row) of noise
    that is uniform in [0, half the batch's standard deviation) in each place.

    Args:
        critic: Scores of rows, each of its row alone; see `critic_of_rows`.
        real: Rows of data.
        key: Draws noise and shares.
        weight: $\lambda$.
        target: k, the slope asked for.

    References:
        Kodali et al. 2017, https://arxiv.org/abs/1705.07215.
    """
    real = at_least_float32(real)
    noise_key, share_key = jax.random.split(key)
    noise = jax.random.uniform(noise_key, real.shape, real.dtype)
    x = interpolate(real + 0.5 * real.std() * noise, real, share_key)
    return weight * _slope_penalty(critic, x, target, one_sided=False)


def r1_penalty(
    critic: Callable[[Array], Array],
    real: Float[Array, "b ..."],
    *,
    weight: float = 10.0,
) -> Scalar:
    r"""Give $\gamma / 2\; E |\nabla D(x)|^2$ at the rows of data.

    Args:
        critic: Scores of rows, each of its row alone; see `critic_of_rows`.
        real: Rows of data.
        weight: $\gamma$.

    References:
        Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 9.
    """
    return weight / 2 * _squared_norms(critic, real).mean()


def r2_penalty(
    critic: Callable[[Array], Array],
    fake: Float[Array, "b ..."],
    *,
    weight: float = 10.0,
) -> Scalar:
    r"""Give $\gamma / 2\; E |\nabla D(G(z))|^2$ at the rows of the generator.

    Args:
        critic: Scores of rows, each of its row alone; see `critic_of_rows`.
        fake: Rows of the generator.
        weight: $\gamma$.

    References:
        Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 10.
    """
    return weight / 2 * _squared_norms(critic, fake).mean()


def clip_weights(params: PyTree, limit: float = 0.01) -> PyTree:
    """Bring every number of the parameters, biases too, into [-limit, limit].

    The authors' code clips before each step of the critic.

    Raises:
        InputError: If the limit is not positive.

    References:
        Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, algorithm 1.
    """
    if not limit > 0:
        raise InputError(f"the limit {limit} of clipping must be positive, say 0.01")
    return jax.tree.map(lambda leaf: jnp.clip(leaf, -limit, limit), params)
