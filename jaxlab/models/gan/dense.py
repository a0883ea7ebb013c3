"""Dense GANs: of the first paper, of its simplest ports, and of points.

Name      Generator                               Critic
maxout    z, ReLU 1200, 1200, sigmoid             maxout 240 of 5 pieces, twice, dropout
mlp       256, 512, 1024: leaky, batch norm;tanh  512, 256: leaky
point     512, 512, 512: ReLU                     the same

References:
    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661; its mnist.yaml (maxout).
    Keras-GAN, gan.py, https://github.com/eriklindernoren/Keras-GAN (mlp).
    Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028; its gan_toy.py (point).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.ranges import Count, NotNegative, Range, check_fields, check_number
from jaxlab.core.typing import Array, Float, Int
from jaxlab.models.gan.parts import (
    ImageCritic,
    ImageGenerator,
    Scores,
    dense_layer,
    leaky_relu,
    to_images,
)
from jaxlab.nn.batch_norm import BatchNorm
from jaxlab.nn.dropout import Dropout

__all__ = [
    "MLPCritic",
    "MLPGenerator",
    "MaxoutCritic",
    "MaxoutGenerator",
    "PointCritic",
    "PointGenerator",
]

GLOROT = nn.initializers.xavier_uniform()
HE = nn.initializers.he_uniform()


def _uniform(limit: float) -> nn.initializers.Initializer:
    """Draw from [-limit, limit]: pylearn2's `irange`."""

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


class MLPGenerator(ImageGenerator):
    """Dense layers of a quarter, a half and all of the width, then tanh.

    Each is followed by a leaky ReLU and then by batch normalisation (momentum .8 and
    eps .001, those of Keras).

    Attributes:
        width: Of the last hidden layer.
    """

    shape: tuple[int, ...] = (28, 28, 1)
    width: int = 1024

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b d"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b y x c"]:
        """Make images with values in [-1, 1] of latent rows."""
        x = z.astype(self.dtype)
        for index, width in enumerate((self.width // 4, self.width // 2, self.width)):
            x = nn.Dense(
                width, kernel_init=GLOROT, dtype=self.dtype, name=f"dense_{index}"
            )(x)
            x = BatchNorm(
                momentum=0.8,
                eps=1e-3,
                num_classes=self.num_classes,
                dtype=self.dtype,
                name=f"norm_{index}",
            )(leaky_relu(x), labels, train=train)
        pixels = math.prod(self.shape)
        x = nn.Dense(pixels, kernel_init=GLOROT, dtype=self.dtype, name="out")(x)
        return to_images(x, self.shape)


class MLPCritic(ImageCritic):
    """Dense layers of the width and of half of it, each with a leaky ReLU.

    Attributes:
        width: Of the first layer.
    """

    width: int = 512

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b ..."],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Scores:
        """Score images; ACGAN gives logits of the classes as well."""
        dense = dense_layer(self.spectral, train)
        x = x.reshape(len(x), -1).astype(self.dtype)
        for index, width in enumerate((self.width, self.width // 2)):
            x = dense(
                width, kernel_init=GLOROT, dtype=self.dtype, name=f"dense_{index}"
            )(x)
            x = leaky_relu(x)
        return self.score(x, labels, train=train)


class MaxoutGenerator(nn.Module):
    """Two layers of ReLU, then a sigmoid, stretched from [0, 1] to [-1, 1].

    Attributes:
        shape: Of an image.
        width: Of both layers.
        dtype: Of the computation; parameters and images are float32.
    """

    shape: tuple[int, ...] = (28, 28, 1)
    width: int = 1200
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b d"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b y x c"]:
        """Make images with values in [-1, 1] of latent rows; labels are not used."""
        init = _uniform(0.05)
        x = z.astype(self.dtype)
        for index in range(2):
            x = nn.Dense(
                self.width, kernel_init=init, dtype=self.dtype, name=f"dense_{index}"
            )(x)
            x = nn.relu(x)
        pixels = math.prod(self.shape)
        x = nn.Dense(pixels, kernel_init=init, dtype=self.dtype, name="out")(x)
        return to_images(x / 2, self.shape)  # 2 sigmoid(x) - 1


class MaxoutCritic(nn.Module):
    """Two layers of maxout units on pixels in [0, 1], with dropout before each layer.

    Attributes:
        width: Units of a layer.
        num_pieces: Linear pieces of a unit.
        input_dropout_rate: Of pixels.
        dropout_rate: Of units.
        spectral: Spectral normalisation of all layers.
        dtype: Of the computation; parameters and scores are float32.

    References:
        Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389 (maxout).
    """

    width: int = 240
    num_pieces: int = 5
    input_dropout_rate: float = 0.2
    dropout_rate: float = 0.5
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b ..."],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, " b"]:
        """Score images with values in [-1, 1]; labels are not used."""
        dense = dense_layer(self.spectral, train)
        init = _uniform(0.005)
        x = ((x + 1) / 2).reshape(len(x), -1).astype(self.dtype)
        x = Dropout(self.input_dropout_rate)(x, deterministic=not train)
        for index in range(2):
            x = dense(
                self.width * self.num_pieces,
                kernel_init=init,
                dtype=self.dtype,
                name=f"dense_{index}",
            )(x)
            x = x.reshape(len(x), self.width, self.num_pieces).max(-1)
            x = Dropout(self.dropout_rate)(x, deterministic=not train)
        head = dense(1, kernel_init=init, name="out")  # in float32 whatever the rest
        return head(x.astype(jnp.float32))[:, 0]


class PointNetwork(nn.Module):
    """Layers of ReLU, with the fields of networks of points.

    Attributes:
        width: Of a layer.
        depth: Layers.
        max_bias: Biases of the layers start uniform up to this, not 0: units that bend
            away from the origin too. torch's layers start so, the first with 0.7.
        dtype: Of the computation; parameters, points and scores are float32.
    """

    width: Count = 512
    depth: Count = 3
    max_bias: NotNegative = 0.0
    dtype: Any = jnp.float32

    def hidden(
        self, x: Float[Array, "b j"], dense: Callable[..., nn.Module]
    ) -> Float[Array, "b d"]:
        """Give the units of the last hidden layer, in float32."""
        check_fields(self)
        x = x.astype(self.dtype)
        for index in range(self.depth):
            x = dense(
                self.width,
                kernel_init=HE,
                bias_init=_uniform(self.max_bias),
                dtype=self.dtype,
                name=f"dense_{index}",
            )(x)
            x = nn.relu(x)
        return x.astype(jnp.float32)


class PointGenerator(PointNetwork):
    """Layers of ReLU from latent rows to points.

    Attributes:
        num_features: Coordinates of a point.
    """

    num_features: Count = 2

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b d"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b j"]:
        """Make points; labels are not used.

        Raises:
            InputError: If a size is below 1, or the largest bias below 0.
        """
        check_number("latent_dim", z.shape[-1], Range(1))
        x = self.hidden(z, nn.Dense)
        return nn.Dense(self.num_features, kernel_init=GLOROT, name="out")(x)


class PointCritic(PointNetwork):
    """Layers of ReLU from points to scores.

    Attributes:
        spectral: Spectral normalisation of all layers.
    """

    spectral: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b j"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, " b"]:
        """Score points; labels are not used.

        Raises:
            InputError: As of `PointGenerator`.
        """
        dense = dense_layer(self.spectral, train)
        x = self.hidden(x, dense)
        return dense(1, kernel_init=GLOROT, name="out")(x)[:, 0]
