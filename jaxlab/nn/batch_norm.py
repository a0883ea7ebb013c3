"""Batch normalisation, plain and with a scale and a shift for each class."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Int

__all__ = ["BatchNorm", "near_one"]


def near_one(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Draw scales from N(1, .02), as DCGAN and those after it start."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class BatchNorm(nn.Module):
    """Normalisation by the mean and variance of a batch, over all axes but the last.

    While training, by those of the batch (of all devices together); else by running
    ones, in the collection `batch_stats`. The running variance is the unbiased one, as
    in the paper and in torch, while the batch is divided by the biased one. Statistics
    are float32 and taken in two passes, whatever the input.

    Attributes:
        momentum: Share of the running statistics that a batch leaves (torch's .1 is .9
            here).
        eps: Added to the variance.
        num_classes: Give each class its own scale and shift; 0: one for all.
        scale_init: Of the scale; shifts start at 0.
        dtype: Of the output; parameters and statistics are float32.

    References:
        Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167, algorithms 1 and 2.
        Dumoulin et al. 2017, https://arxiv.org/abs/1610.07629 (one for each class).
    """

    momentum: float = 0.9
    eps: float = 1e-5
    num_classes: int = 0
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *rest d"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b *rest d"]:
        """Normalise; labels are needed if there are classes, and else not looked at.

        Raises:
            InputError: If there are classes but no labels.
        """
        width = x.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (width,))
        variance = self.variable("batch_stats", "var", jnp.ones, (width,))
        scale, bias = self._affine(width, labels)
        used = _moments(x) if train else (mean.value, variance.value)
        keeps = self.is_mutable_collection("batch_stats") and not self.is_initializing()
        if train and keeps:
            batch_mean, batch_variance = used
            count = x.size // width
            unbiased = batch_variance * (count / max(count - 1, 1))
            kept = self.momentum
            mean.value = kept * mean.value + (1 - kept) * batch_mean
            variance.value = kept * variance.value + (1 - kept) * unbiased
        return _normalize(x, *used, scale, bias, self.eps, self.dtype)

    def _affine(self, width: int, labels: Array | None) -> tuple[Array, Array]:
        shape = (self.num_classes, width) if self.num_classes else (width,)
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if not self.num_classes:
            return scale, bias
        if labels is None:
            raise InputError(
                f"a network of {self.num_classes} classes needs labels: one class "
                "number for each row"
            )
        return scale[labels], bias[labels]


def _moments(x: Array) -> tuple[Array, Array]:
    wide = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    mean = wide.mean(axes, keepdims=True)
    return mean.reshape(-1), jnp.square(wide - mean).mean(axes)


def _normalize(
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array,
    bias: Array,
    eps: float,
    dtype: Any,
) -> Array:
    def stretch(rows: Array) -> Array:  # (d,) or (b, d) to the rank of x
        leading = rows.shape[:-1] or (1,)
        return rows.reshape(*leading, *(1,) * (x.ndim - 2), rows.shape[-1])

    factor = stretch(jax.lax.rsqrt(variance + eps)) * stretch(scale)
    return ((x.astype(jnp.float32) - stretch(mean)) * factor + stretch(bias)).astype(
        dtype
    )
