"""Inception-v3 as the Frechet distance and the inception score are defined with it.

Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision",
https://arxiv.org/abs/1512.00567, in the graph that Google released on 5 December 2015.

Another Inception-v3, such as torchvision's, gives other features, and distances that
cannot be compared: it was trained anew, has 1000 classes instead of 1008, counts zeros
of the padding in its average pools and ends on an average pool where this graph has a
maximum.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import ImageFeatures, as_images, choose_layers
from jaxlab.core.typing import Array, Float, UInt8
from jaxlab.nn.conv.layers import conv

__all__ = ["INCEPTION_SIZE", "Inception", "inception_inputs"]

INCEPTION_SIZE = 299  # pixels a side
_EPS = 1e-3  # added to the variances
_SMALLEST_SIDE = 75  # pixels: one is left of the last stage


def inception_inputs(
    images: UInt8[Array, "b y x c"], size: int = INCEPTION_SIZE
) -> Float[Array, "b u v 3"]:
    """Resize and scale images as the graph of 2015 does before its first convolution.

    Bilinear as TensorFlow 1 has it: pixel i of the result lies at i * old / new of the
    image, not at the centre of a pixel, and nothing is smoothed on the way down. Other
    ways to resize change the distances (Parmar et al. 2022,
    https://arxiv.org/abs/2104.11222); torch-fidelity keeps this one, while pytorch-fid
    has torch's, which looks at the centres.

    Args:
        images: Of one channel, which is repeated, or three.
        size: Pixels a side of the result.

    Returns:
        (pixel - 128) / 128.

    Raises:
        InputError: If the images have another number of channels.
    """
    if images.shape[-1] not in (1, 3):
        raise InputError(
            f"Inception takes images of 1 or 3 channels, not of {images.shape[-1]}"
        )
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        x = _resize(x, axis, size)
    if images.shape[-1] == 1:
        x = jnp.repeat(x, 3, axis=-1)
    return (x - 128.0) / 128.0


def _resize(x: Float[Array, "b y x c"], axis: int, size: int) -> Array:
    """Resize rows or columns; places in float32, as the original has them."""
    old = x.shape[axis]
    place = np.arange(size, dtype=np.float32) * np.float32(old / size)
    low = place.astype(np.int32)
    high = np.minimum(low + 1, old - 1)
    share = jnp.asarray(place - low).reshape(-1, *(1,) * (3 - axis))[None]
    share = share if axis == 1 else share[None]
    before, after = (jnp.take(x, index, axis) for index in (low, high))
    return before + (after - before) * share


class _Conv(nn.Module):
    """Convolution, normalisation by stored statistics, ReLU.

    Attributes:
        features: Channels of the output.
        size: Rows and columns of the kernel.
        stride: Its step.
        padded: Whether zeros keep the size.
        dtype: Of the computation.
    """

    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        shape = (*self.size, x.shape[-1], self.features)
        # The variance of the sum of so many products of ReLUs is theirs (He).
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        width = (self.features,)
        scale, bias = self.param("scale", ones, width), self.param("bias", zeros, width)
        mean, var = self.param("mean", zeros, width), self.param("var", ones, width)
        # Folded into the kernel: smaller than any image.
        scale = scale * jax.lax.rsqrt(var + _EPS)
        kernel = (kernel * scale.reshape(1, 1, 1, -1)).astype(self.dtype)
        bias = (bias - mean * scale).astype(self.dtype).reshape(1, 1, 1, -1)
        padding = [(side // 2,) * 2 if self.padded else (0, 0) for side in self.size]
        strides = (self.stride, self.stride)
        return nn.relu(conv(x, kernel, stride=strides, padding=padding) + bias)


class _Block(nn.Module, kw_only=True):
    """Branches side by side, joined along the channels.

    Attributes:
        dtype: Of the computation.
    """

    dtype: Any = jnp.float32

    def chain(self, x: Array, *layers: tuple) -> Array:
        """Apply layers in turn, each a name and fields of `_Conv`."""
        layer = functools.partial(_Conv, dtype=self.dtype)
        for name, *fields in layers:
            x = layer(*fields, name=name)(x)
        return x

    def average(self, x: Array) -> Array:
        """Average 3 x 3 pixels; those outside of the image do not count."""
        return nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)), count_include_pad=False)


class _InceptionA(_Block):
    """Of 35 x 35 pixels; `width` channels of the branch that pools."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b y x d"]:
        branches = [
            self.chain(x, ("branch1x1", 64)),
            self.chain(x, ("branch5x5_1", 48), ("branch5x5_2", 64, (5, 5))),
            self.chain(
                x,
                ("branch3x3dbl_1", 64),
                ("branch3x3dbl_2", 96, (3, 3)),
                ("branch3x3dbl_3", 96, (3, 3)),
            ),
            self.chain(self.average(x), ("branch_pool", self.width)),
        ]
        return jnp.concatenate(branches, axis=-1)


class _InceptionB(_Block):
    """From 35 to 17 pixels a side."""

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        branches = [
            self.chain(x, ("branch3x3", 384, (3, 3), 2, False)),
            self.chain(
                x,
                ("branch3x3dbl_1", 64),
                ("branch3x3dbl_2", 96, (3, 3)),
                ("branch3x3dbl_3", 96, (3, 3), 2, False),
            ),
            nn.max_pool(x, (3, 3), (2, 2)),
        ]
        return jnp.concatenate(branches, axis=-1)


class _InceptionC(_Block):
    """Of 17 x 17 pixels; `width` channels between two long kernels."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b y x d"]:
        branches = [
            self.chain(x, ("branch1x1", 192)),
            self.chain(
                x,
                ("branch7x7_1", self.width),
                ("branch7x7_2", self.width, (1, 7)),
                ("branch7x7_3", 192, (7, 1)),
            ),
            self.chain(
                x,
                ("branch7x7dbl_1", self.width),
                ("branch7x7dbl_2", self.width, (7, 1)),
                ("branch7x7dbl_3", self.width, (1, 7)),
                ("branch7x7dbl_4", self.width, (7, 1)),
                ("branch7x7dbl_5", 192, (1, 7)),
            ),
            self.chain(self.average(x), ("branch_pool", 192)),
        ]
        return jnp.concatenate(branches, axis=-1)


class _InceptionD(_Block):
    """From 17 to 8 pixels a side."""

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        branches = [
            self.chain(x, ("branch3x3_1", 192), ("branch3x3_2", 320, (3, 3), 2, False)),
            self.chain(
                x,
                ("branch7x7x3_1", 192),
                ("branch7x7x3_2", 192, (1, 7)),
                ("branch7x7x3_3", 192, (7, 1)),
                ("branch7x7x3_4", 192, (3, 3), 2, False),
            ),
            nn.max_pool(x, (3, 3), (2, 2)),
        ]
        return jnp.concatenate(branches, axis=-1)


class _InceptionE(_Block):
    """Of 8 x 8 pixels.

    Attributes:
        max_pool: Whether the branch that pools takes maxima. The last block does, most
            likely by a slip in the graph of 2015; so do all who compare with it.
    """

    max_pool: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b y x d"]:
        three = self.chain(x, ("branch3x3_1", 384))
        double = self.chain(x, ("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, (3, 3)))
        pool = self.average(x)
        if self.max_pool:
            pool = nn.max_pool(x, (3, 3), padding=((1, 1), (1, 1)))
        branches = [
            self.chain(x, ("branch1x1", 320)),
            self.chain(three, ("branch3x3_2a", 384, (1, 3))),
            self.chain(three, ("branch3x3_2b", 384, (3, 1))),
            self.chain(double, ("branch3x3dbl_3a", 384, (1, 3))),
            self.chain(double, ("branch3x3dbl_3b", 384, (3, 1))),
            self.chain(pool, ("branch_pool", 192)),
        ]
        return jnp.concatenate(branches, axis=-1)


class Inception(_Block):
    """Inception-v3 of 2015, to embed images; it is not meant to be trained.

    Layers have the names of the files that hold the weights, see
    `jaxlab.interop.images.inception`.

    Attributes:
        num_classes: Outputs of the head; those after the first 1000 and a background
            mean nothing.
        dtype: Of the computation; parameters, features and logits are float32.
    """

    num_classes: int = 1008

    def __call__(
        self, images: Float[Array, "b y x 3"], *, train: bool = False
    ) -> Float[Array, "b v"]:
        """Give the logits of the classes."""
        return self._run(images, ())[2]

    def embed(
        self, images: Float[Array, "b y x 3"], *, train: bool = False
    ) -> tuple[Float[Array, "b 2048"], Float[Array, "b v"]]:
        """Give what the scores are of: features and logits.

        Args:
            images: See `inception_inputs`; 75 pixels a side at least.
            train: Changes nothing.

        Returns:
            The mean over the pixels of the last block, and the logits without the bias
            of the head, which the inception score leaves out (Salimans et al. 2016,
            https://arxiv.org/abs/1606.03498, in their code).

        Raises:
            InputError: If the images are too small.
        """
        features, logits, _ = self._run(images, ())
        return features.pooled, logits

    def features(
        self,
        images: Float[Array, "b y x 3"],
        layers: tuple[int, ...] = (),
        *,
        train: bool = False,
    ) -> ImageFeatures:
        """Return the mean over the pixels of the last block, and chosen blocks.

        Args:
            images: See `inception_inputs`; 75 pixels a side at least.
            layers: Numbers of the mixed blocks, from 0 (5b) to 10 (7c).
            train: Changes nothing.

        Raises:
            InputError: If the images are too small, or there is no such block.
        """
        return self._run(images, layers)[0]

    @nn.compact
    def _run(
        self, images: Float[Array, "b y x 3"], layers: tuple[int, ...]
    ) -> tuple[ImageFeatures, Float[Array, "b v"], Float[Array, "b v"]]:
        if min(images.shape[1:3]) < _SMALLEST_SIDE:
            raise InputError(
                f"images of {images.shape[1]} x {images.shape[2]} pixels are too small "
                f"for Inception; give {_SMALLEST_SIDE} a side at least, as "
                "inception_inputs does"
            )
        x = self.chain(
            as_images(images, self.dtype),
            ("Conv2d_1a_3x3", 32, (3, 3), 2, False),
            ("Conv2d_2a_3x3", 32, (3, 3), 1, False),
            ("Conv2d_2b_3x3", 64, (3, 3)),
        )
        x = self.chain(
            nn.max_pool(x, (3, 3), (2, 2)),
            ("Conv2d_3b_1x1", 80),
            ("Conv2d_4a_3x3", 192, (3, 3), 1, False),
        )
        x = nn.max_pool(x, (3, 3), (2, 2))
        dtype = self.dtype
        blocks = [
            _InceptionA(width=32, dtype=dtype, name="Mixed_5b"),
            _InceptionA(width=64, dtype=dtype, name="Mixed_5c"),
            _InceptionA(width=64, dtype=dtype, name="Mixed_5d"),
            _InceptionB(dtype=dtype, name="Mixed_6a"),
            _InceptionC(width=128, dtype=dtype, name="Mixed_6b"),
            _InceptionC(width=160, dtype=dtype, name="Mixed_6c"),
            _InceptionC(width=160, dtype=dtype, name="Mixed_6d"),
            _InceptionC(width=192, dtype=dtype, name="Mixed_6e"),
            _InceptionD(dtype=dtype, name="Mixed_7a"),
            _InceptionE(dtype=dtype, name="Mixed_7b"),
            _InceptionE(dtype=dtype, max_pool=True, name="Mixed_7c"),
        ]
        outputs = []
        for block in blocks:
            x = block(x)
            outputs.append(x)
        features = x.astype(jnp.float32).mean((1, 2))
        shape = (features.shape[-1], self.num_classes)
        kernel = self.param("fc_kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("fc_bias", nn.initializers.zeros, shape[1:])
        logits = features @ kernel
        found = ImageFeatures(features, choose_layers(outputs, layers))
        return found, logits, logits + bias[None]
