"""Gradients past the choice of a code, which has none of its own."""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Float

__all__ = ["Estimator", "pass_gradient", "rotation_trick", "straight_through"]

Estimator: TypeAlias = Literal["straight_through", "rotation"]

_LEAST_NORM = 1e-6  # below it a vector has no direction


def straight_through(
    latents: Float[Array, "*b d"], codes: Float[Array, "*b d"]
) -> Float[Array, "*b d"]:
    """Return the codes to the bit, with the gradient of the latents.

    The codes are constants: no gradient reaches them.

    References:
        Bengio et al. 2013, https://arxiv.org/abs/1308.3432.
        van den Oord et al. 2017, https://arxiv.org/abs/1711.00937, section 3.2.
    """
    return _add_nothing(latents, codes)


def rotation_trick(
    latents: Float[Array, "*b d"], codes: Float[Array, "*b d"]
) -> Float[Array, "*b d"]:
    r"""Return the codes to the bit, as a rotation and a scaling of the latents.

    The gradient is that of $\lambda R z$, where $R$ turns a latent $z$ to the direction
    of its code and $\lambda$ is the ratio of their norms, both constants. A latent or a
    code of norm 0 has no direction: there it is `straight_through`.

    References:
        Fifty et al. 2024, https://arxiv.org/abs/2410.06424, equation 4.
    """
    fixed, target = jax.lax.stop_gradient((latents, codes))
    norm, target_norm = _norm(fixed), _norm(target)
    is_turned = jnp.minimum(norm, target_norm) > _LEAST_NORM
    source = fixed / jnp.maximum(norm, _LEAST_NORM)
    target = target / jnp.maximum(target_norm, _LEAST_NORM)
    middle = source + target
    middle = middle / jnp.maximum(_norm(middle), _LEAST_NORM)
    turned = (
        latents
        - 2 * _dot(latents, middle) * middle
        + 2 * _dot(latents, source) * target
    )
    turned = turned * (target_norm / jnp.maximum(norm, _LEAST_NORM))
    return _add_nothing(jnp.where(is_turned, turned, latents), codes)


def pass_gradient(
    latents: Float[Array, "*b d"], codes: Float[Array, "*b d"], how: Estimator
) -> Float[Array, "*b d"]:
    """Return the codes with the gradient that an estimator gives the latents."""
    functions = {"straight_through": straight_through, "rotation": rotation_trick}
    return functions[how](latents, codes)


def _add_nothing(source: Array, value: Array) -> Array:
    """Return a value with the gradient of a source: z + (e - z) would round."""
    return jax.lax.stop_gradient(value) + (source - jax.lax.stop_gradient(source))


def _dot(x: Array, y: Array) -> Array:
    return (x * y).sum(-1, keepdims=True)


def _norm(x: Array) -> Array:
    return jnp.sqrt(_dot(x, x))
