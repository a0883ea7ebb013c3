"""Levels of VQGAN: residual blocks, attention between pixels, and a new size."""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.typing import Array, Float
from jaxlab.nn.attention import MultiHeadAttention
from jaxlab.nn.conv.layers import Conv

__all__ = ["Level", "Resize", "group_norm", "make_conv"]

Resize: TypeAlias = Literal["up", "down", "none"]

# torch's own start of a convolution, which the published code keeps.
_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def make_conv(
    features: int, dtype: Any, name: str | None = None, **options: Any
) -> Conv:
    """Give a convolution, of 3 x 3 if nothing else is said."""
    return Conv(features, kernel_init=_INIT, dtype=dtype, name=name, **options)


def group_norm(num_groups: int, dtype: Any, name: str | None = None) -> nn.GroupNorm:
    """Give the normalisation of groups of channels, over all pixels."""
    return nn.GroupNorm(
        num_groups, epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name
    )


class Level(nn.Module):
    """All that happens at one size of images, and the step to the next size.

    Blocks are norm, swish, conv3, norm, swish, conv3 beside a shortcut. A smaller size
    is a convolution of stride 2 with zeros below and right alone; a larger one repeats
    pixels, and convolves.

    Attributes:
        width: Channels that come out.
        num_blocks: Residual blocks.
        num_attentions: After each of the first so many blocks, one head of attention
            between all pixels.
        num_groups: Groups of the normalisations.
        resize: At the end.
        dtype: Of the computation; parameters are float32.
    """

    width: int
    num_blocks: int
    num_attentions: int = 0
    num_groups: int = 32
    resize: Resize = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        """Run the blocks."""
        sizes = (self.width, self.num_groups, self.dtype)
        for index in range(self.num_blocks):
            x = _Block(*sizes, name=f"block_{index}")(x)
            if index < self.num_attentions:
                x = _PixelAttention(*sizes, name=f"attention_{index}")(x)
        if self.resize == "none":
            return x
        if self.resize == "down":
            zeros = ((0, 1), (0, 1))
            half = {"strides": (2, 2), "padding": zeros}
            return make_conv(self.width, self.dtype, "resize", **half)(x)
        doubled = x.repeat(2, axis=1).repeat(2, axis=2)
        return make_conv(self.width, self.dtype, "resize")(doubled)


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which is one of 1 x 1 to other channels."""

    width: int
    num_groups: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b y x d"]:
        out = x
        for index in range(2):
            norm = group_norm(self.num_groups, self.dtype, f"norm_{index}")
            conv = make_conv(self.width, self.dtype, f"conv_{index}")
            out = conv(nn.swish(norm(out)))
        if x.shape[-1] != self.width:
            x = make_conv(self.width, self.dtype, "shortcut", kernel_size=(1, 1))(x)
        return x + out


class _PixelAttention(nn.Module):
    """One head of attention between all pixels, beside the input."""

    width: int
    num_groups: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b y x d"]) -> Float[Array, "b y x d"]:
        normal = group_norm(self.num_groups, self.dtype, "norm")(x)
        pixels = normal.reshape(len(x), -1, self.width)
        attend = MultiHeadAttention(self.width, 1, dtype=self.dtype, name="attention")
        return x + attend(pixels).reshape(x.shape)
