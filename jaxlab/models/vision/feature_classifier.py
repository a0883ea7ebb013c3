"""A small convolutional classifier whose features can measure generated images.

Where no Inception weights are at hand, its penultimate layer is the network of the
Frechet distance; which must then be named after it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import ImageFeatures, as_images, choose_layers
from jaxlab.core.typing import Array, Float
from jaxlab.nn.conv.layers import conv

__all__ = ["FeatureClassifier"]

_SMALLEST_SIDE = 4  # pixels a side of the last stage
_LARGE_SIDE = 16  # images larger than this are halved by the stem already
_GROUP = 8  # channels normalised together
_EPS = 1e-6  # added to the squares of a kernel


class FeatureClassifier(nn.Module):
    """Residual network for images of 8 to 64 pixels a side, without batch statistics.

    A stem; stages of residual convolutions, between which the sides are halved until
    they are at most 4 pixels; the mean over pixels, which are the features; and a
    linear head. The last stage has `num_features` channels, each one before it half
    as many as the next, but at least a quarter of them.

    Normalisation is by groups of channels of one image (Wu & He 2018,
    https://arxiv.org/abs/1803.08494), before each convolution (He et al. 2016,
    https://arxiv.org/abs/1603.05027), and of kernels: the features of an image depend
    on no other.

    Attributes:
        num_classes: Outputs of the head.
        num_features: Width of the penultimate layer, a multiple of 32.
        depth: Residual convolutions a stage.
        dtype: Of the computation; parameters, features and logits are float32.
    """

    num_classes: int
    num_features: int = 64
    depth: int = 1
    dtype: Any = jnp.float32

    def __call__(
        self, images: Float[Array, "b y x c"], *, train: bool = False
    ) -> Float[Array, "b v"]:
        """Return the logits of the classes of images in [-1, 1]."""
        return self.embed(images, train=train)[1]

    def embed(
        self, images: Float[Array, "b y x c"], *, train: bool = False
    ) -> tuple[Float[Array, "b d"], Float[Array, "b v"]]:
        """Return features and logits at once; training changes nothing but parameters.

        Raises:
            InputError: If `num_features` is no multiple of 32.
        """
        features, logits = self._run(images, ())
        return features.pooled, logits

    def features(
        self,
        images: Float[Array, "b y x c"],
        layers: tuple[int, ...] = (),
        *,
        train: bool = False,
    ) -> ImageFeatures:
        """Return what the head reads, and the outputs of chosen residual convolutions.

        Args:
            images: Values in [-1, 1].
            layers: Numbers of residual convolutions, from 0 at the largest size.
            train: Changes nothing.

        Raises:
            InputError: If there is no such layer.
        """
        return self._run(images, layers)[0]

    @nn.compact
    def _run(
        self, images: Float[Array, "b y x c"], layers: tuple[int, ...]
    ) -> tuple[ImageFeatures, Float[Array, "b v"]]:
        if self.num_features % (4 * _GROUP):
            raise InputError(
                f"num_features {self.num_features} must be a multiple of {4 * _GROUP}"
            )
        halve_first = min(images.shape[1:3]) > _LARGE_SIDE
        sides = [max(images.shape[1:3]) // (2 if halve_first else 1)]
        while sides[-1] > _SMALLEST_SIDE:
            sides.append(-(-sides[-1] // 2))
        widths = [
            max(self.num_features >> (len(sides) - 1 - stage), self.num_features // 4)
            for stage in range(len(sides))
        ]
        stem = (4, 2) if halve_first else (3, 1)
        x = self._conv(widths[0], *stem, "stem")(as_images(images, self.dtype))
        outputs = []
        for stage, width in enumerate(widths):
            if stage:
                x = self._conv(width, 3, 2, f"halve_{stage}")(x)
            for block in range(self.depth):
                name = f"{stage}_{block}"
                y = nn.relu(self._norm(f"norm_{name}")(x))
                x = x + self._conv(width, 3, 1, f"conv_{name}")(y)
                outputs.append(x)
        x = nn.relu(self._norm("norm")(x))
        features = x.astype(jnp.float32).mean((1, 2))
        # Zeros: the first predictions are uniform.
        head = nn.Dense(
            self.num_classes, kernel_init=nn.initializers.zeros, name="head"
        )
        chosen = choose_layers(outputs, layers)
        return ImageFeatures(features, chosen), head(features)

    def _norm(self, name: str) -> nn.GroupNorm:
        return nn.GroupNorm(
            num_groups=None,
            group_size=_GROUP,
            use_fast_variance=False,
            dtype=self.dtype,
            name=name,
        )

    def _conv(self, features: int, size: int, stride: int, name: str) -> nn.Module:
        return _StandardConv(features, size, stride, self.dtype, name=name)


class _StandardConv(nn.Module):
    """Convolution whose kernels have mean 0 and norm `gain`, which is learned.

    What groups lack of batches, kernels can make up for (Qiao et al. 2019,
    https://arxiv.org/abs/1903.10520).

    Attributes:
        features: Channels of the output.
        size: Rows and columns of the kernel.
        stride: Its step.
        dtype: Of the computation.
    """

    features: int
    size: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        width, shape = (self.features,), (self.size, self.size, x.shape[-1])
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (*shape, *width))
        gain = self.param("gain", nn.initializers.ones, width).reshape(1, 1, 1, -1)
        bias = self.param("bias", nn.initializers.zeros, width).reshape(1, 1, 1, -1)
        kernel = kernel - kernel.mean((0, 1, 2), keepdims=True)
        square = jnp.square(kernel).sum((0, 1, 2), keepdims=True)
        kernel = kernel * jax.lax.rsqrt(square + _EPS) * gain
        strides = (self.stride, self.stride)
        y = conv(x, kernel.astype(self.dtype), stride=strides)
        return y + bias.astype(self.dtype)
