"""Normalisation of tokens that keeps only its input for the backward pass."""

from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import check_choice
from jaxlab.core.typing import Array, Float

__all__ = ["LayerNorm", "Norm", "RMSNorm", "layer_norm", "make_norm", "rms_norm"]

Norm: TypeAlias = Literal["layer", "rms"]


def layer_norm(
    x: Float[Array, "*b d"],
    scale: Float[Array, " d"],
    bias: Float[Array, " d"],
    eps: float = 1e-6,
) -> Float[Array, "*b d"]:
    """Normalise each row to mean 0 and variance 1, then scale and shift.

    Statistics are float32 whatever the input, and taken in two passes: the one-pass
    variance `E[x^2] - E[x]^2` cancels where the mean is large.

    References:
        Ba, Kiros & Hinton 2016, "Layer Normalization",
        https://arxiv.org/abs/1607.06450, equation 4.
    """
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    normal = centred * jax.lax.rsqrt(variance + eps)
    stretch = (1,) * (x.ndim - 1)
    out = normal * scale.reshape(*stretch, -1) + bias.reshape(*stretch, -1)
    return out.astype(x.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis, with `scale` and `bias`.

    The backward pass recomputes the statistics instead of reading them: fewer trips to
    memory than arithmetic costs, on CPUs and GPUs alike.

    Attributes:
        eps: Added to the variance.
        dtype: Of the output; parameters are float32.
    """

    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        apply = jax.checkpoint(layer_norm, static_argnums=(3,))
        return apply(x.astype(self.dtype), scale, bias, self.eps)


def rms_norm(
    x: Float[Array, "*b d"], scale: Float[Array, " d"], eps: float = 1e-6
) -> Float[Array, "*b d"]:
    """Divide each row by its root mean square, then scale; float32 inside.

    References:
        Zhang & Sennrich 2019, "Root Mean Square Layer Normalization",
        https://arxiv.org/abs/1910.07467, equation 4.
    """
    wide = x.astype(jnp.float32)
    mean_square = jnp.square(wide).mean(-1, keepdims=True)
    out = wide * jax.lax.rsqrt(mean_square + eps)
    return (out * scale.reshape(*(1,) * (x.ndim - 1), -1)).astype(x.dtype)


class RMSNorm(nn.Module):
    """Normalisation by the root mean square over the last axis, with `scale`.

    Attributes:
        eps: Added to the mean square.
        dtype: Of the output; parameters are float32.
    """

    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        apply = jax.checkpoint(rms_norm, static_argnums=(2,))
        return apply(x.astype(self.dtype), scale, self.eps)


def make_norm(
    kind: Norm, eps: float, dtype: Any, name: str | None = None
) -> LayerNorm | RMSNorm:
    """Make the normalisation of that name.

    Raises:
        InputError: If there is none.
    """
    check_choice("norm", kind, Norm)
    return (LayerNorm if kind == "layer" else RMSNorm)(eps, dtype, name=name)
