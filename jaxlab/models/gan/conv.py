"""Convolutional GANs without residuals: DCGAN, WGAN-GP's CNN, SNGAN's CNN.

With n doublings from a base (see `parts`) and w the width:

Name       Generator                              Critic
dcgan      project to base x w 2^(n-1); n convT4  n conv4 of w ... w 2^(n-1); score
           of stride 2, batch norm, ReLU; tanh    of all pixels; norm, leaky .2
cnn        the same with convT5, biases, and      n conv5 of stride 2, leaky .2, no norm
           a norm of each unit of the projection
sngan_cnn  project to base x w 2^n; n convT4,     conv3 and conv4 of stride 2 by turns,
           batch norm, ReLU; conv3, tanh          leaky .1, spectral norms

Sizes of the papers: dcgan 64 x 64, w = 64; cnn 32 x 32, w = 128; sngan_cnn 32 x 32,
w = 64.

References:
    Radford et al. 2016, https://arxiv.org/abs/1511.06434; in the form of Arjovsky et
    al. 2017, models/dcgan.py of https://github.com/martinarjovsky/WassersteinGAN.
    Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028; its gan_cifar.py.
    Miyato et al. 2018, https://arxiv.org/abs/1802.05957, table 3.
"""

import functools
from typing import Any

from flax import linen as nn

from jaxlab.core.typing import Array, Float, Int
from jaxlab.models.gan.parts import (
    ImageCritic,
    ImageGenerator,
    ImageNorm,
    NormKind,
    Scores,
    base_of,
    conv_layer,
    glorot_uniform,
    leaky_relu,
    to_images,
)
from jaxlab.nn.batch_norm import near_one
from jaxlab.nn.conv.layers import Conv, ConvTranspose

__all__ = [
    "CNNCritic",
    "CNNGenerator",
    "DCGANCritic",
    "DCGANGenerator",
    "SNGANCNNCritic",
    "SNGANCNNGenerator",
]

NORMAL = nn.initializers.normal(0.02)
HE = 2**0.5  # gain


class DCGANGenerator(ImageGenerator):
    """Transposed convolutions of 4 x 4 with batch normalisation and ReLU.

    Attributes:
        width: Channels of the last hidden layer.
    """

    shape: tuple[int, ...] = (64, 64, 3)
    width: int = 64

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b d"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b y x c"]:
        """Make images with values in [-1, 1] of latent rows.

        Raises:
            InputError: If the shape cannot be made by doubling.
        """
        rows, columns, doublings = base_of(self.shape)
        layer = {"use_bias": False, "kernel_init": NORMAL, "dtype": self.dtype}
        rectify = functools.partial(
            self.rectify, labels=labels, train=train, scale_init=near_one
        )

        width = self.width << (doublings - 1)
        # A transposed convolution of one pixel.
        x = nn.Dense(rows * columns * width, name="input", **layer)(z)
        x = rectify(x.reshape(-1, rows, columns, width), name="norm_0")
        for index in range(1, doublings):
            x = _up(width >> index, 4, name=f"up_{index}", **layer)(x)
            x = rectify(x, name=f"norm_{index}")
        x = _up(self.shape[-1], 4, name="out", **layer)(x)
        return to_images(x, self.shape)


def _up(features: int, size: int, **options: Any) -> nn.Module:
    """Make a transposed convolution that doubles rows and columns."""
    return ConvTranspose(features, (size, size), (2, 2), **options)


class DCGANCritic(ImageCritic):
    """Convolutions of 4 x 4 of stride 2, normalised but for the first one.

    Attributes:
        width: Channels of the first layer; each layer doubles them.
        norm: `batch` is the paper's; with a gradient penalty `layer` or `none`.
    """

    width: int = 64
    norm: NormKind = "batch"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b y x c"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Scores:
        """Score images; ACGAN gives logits of the classes as well.

        Raises:
            InputError: If the shape cannot be halved to 4 to 7 rows.
        """
        *_, halvings = base_of(x.shape[1:])
        conv = conv_layer(self.spectral, train)
        layer = {"use_bias": False, "kernel_init": NORMAL, "dtype": self.dtype}

        def rectified(x: Array, name: str) -> Array:
            norm = ImageNorm(
                self.norm, scale_init=near_one, dtype=self.dtype, name=name
            )
            return leaky_relu(norm(x, train=train))

        x = conv(self.width, (4, 4), (2, 2), name="conv_0", **layer)(x)
        x = leaky_relu(x)
        for index in range(1, halvings):
            width = self.width << index
            x = conv(width, (4, 4), (2, 2), name=f"conv_{index}", **layer)(x)
            x = rectified(x, f"norm_{index}")
        # The score is a convolution that leaves one pixel: a product.
        return self.score(x, labels, train=train, use_bias=False, kernel_init=NORMAL)


class CNNGenerator(ImageGenerator):
    """Transposed convolutions of 5 x 5 with batch normalisation and ReLU.

    Attributes:
        width: Channels of the last hidden layer, DIM in the authors' code.
    """

    shape: tuple[int, ...] = (32, 32, 3)
    width: int = 128

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b d"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b y x c"]:
        """Make images with values in [-1, 1] of latent rows.

        Raises:
            InputError: If the shape cannot be made by doubling.
        """
        rows, columns, doublings = base_of(self.shape)
        rectify = functools.partial(self.rectify, labels=labels, train=train)

        width = self.width << (doublings - 1)
        x = nn.Dense(
            rows * columns * width,
            kernel_init=glorot_uniform(),
            dtype=self.dtype,
            name="input",
        )(z)
        x = rectify(x, name="norm_0")  # of each unit: pixels apart
        x = x.reshape(-1, rows, columns, width)
        layer = {"kernel_init": glorot_uniform(HE, 2), "dtype": self.dtype}
        for index in range(1, doublings):
            x = _up(width >> index, 5, name=f"up_{index}", **layer)(x)
            x = rectify(x, name=f"norm_{index}")
        x = _up(self.shape[-1], 5, name="out", **layer)(x)
        return to_images(x, self.shape)


class CNNCritic(ImageCritic):
    """Convolutions of 5 x 5 of stride 2 with leaky ReLU, without normalisation.

    Attributes:
        width: Channels of the first layer, DIM; each layer doubles them.
        norm: Of all layers but the first.
    """

    width: int = 128
    norm: NormKind = "none"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b y x c"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Scores:
        """Score images; ACGAN gives logits of the classes as well.

        Raises:
            InputError: If the shape cannot be halved to 4 to 7 rows.
        """
        *_, halvings = base_of(x.shape[1:])
        conv = conv_layer(self.spectral, train)
        layer = {"kernel_init": glorot_uniform(HE, 2), "dtype": self.dtype}
        for index in range(halvings):
            width = self.width << index
            x = conv(width, (5, 5), (2, 2), name=f"conv_{index}", **layer)(x)
            if index:
                norm = ImageNorm(self.norm, dtype=self.dtype, name=f"norm_{index}")
                x = norm(x, train=train)
            x = leaky_relu(x)
        return self.score(x, labels, train=train, kernel_init=glorot_uniform())


class SNGANCNNGenerator(ImageGenerator):
    """Transposed convolutions of 4 x 4 from a wide projection, and one of 3 x 3.

    Attributes:
        width: Channels of the last hidden layer.
    """

    shape: tuple[int, ...] = (32, 32, 3)
    width: int = 64

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b d"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b y x c"]:
        """Make images with values in [-1, 1] of latent rows.

        Raises:
            InputError: If the shape cannot be made by doubling.
        """
        rows, columns, doublings = base_of(self.shape)
        layer = {"kernel_init": NORMAL, "dtype": self.dtype}
        rectify = functools.partial(self.rectify, labels=labels, train=train)

        width = self.width << doublings
        x = nn.Dense(rows * columns * width, name="input", **layer)(z)
        x = rectify(x.reshape(-1, rows, columns, width), name="norm_0")
        for index in range(1, doublings + 1):
            x = _up(width >> index, 4, name=f"up_{index}", **layer)(x)
            x = rectify(x, name=f"norm_{index}")
        x = Conv(self.shape[-1], (3, 3), name="out", **layer)(x)
        return to_images(x, self.shape)


class SNGANCNNCritic(ImageCritic):
    """Convolutions of 3 x 3, and of 4 x 4 of stride 2, by turns.

    Attributes:
        width: Channels of the first layer.
    """

    width: int = 64
    spectral: bool = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b y x c"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Scores:
        """Score images; ACGAN gives logits of the classes as well.

        Raises:
            InputError: If the shape cannot be halved to 4 to 7 rows.
        """
        *_, halvings = base_of(x.shape[1:])
        conv = conv_layer(self.spectral, train)
        layer = {"kernel_init": NORMAL, "dtype": self.dtype}
        for index in range(halvings):
            width = self.width << index
            x = conv(width, (3, 3), name=f"conv_{index}", **layer)(x)
            x = nn.leaky_relu(x, 0.1)
            x = conv(2 * width, (4, 4), (2, 2), name=f"down_{index}", **layer)(x)
            x = nn.leaky_relu(x, 0.1)
        x = conv(self.width << halvings, (3, 3), name=f"conv_{halvings}", **layer)(x)
        x = nn.leaky_relu(x, 0.1)
        return self.score(x, labels, train=train, kernel_init=NORMAL)
