"""What the networks of GANs share: sizes, normalisations, and heads with classes.

A network for images extends `ImageGenerator` or `ImageCritic` and writes its `__call__`
out.

An image of side `base * 2**n` is made by n doublings from `base`, which lies in 4..7:

    side   8  16  28  32  48  64
    base   4   4   7   4   6   4
    n      1   2   2   3   3   4
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError, check_choice
from jaxlab.core.typing import Array, Float, Int
from jaxlab.nn.batch_norm import BatchNorm
from jaxlab.nn.conv.layers import Conv
from jaxlab.nn.spectral import SpectralConv, SpectralDense, SpectralEmbed

__all__ = [
    "Conditional",
    "CriticHead",
    "ImageCritic",
    "ImageGenerator",
    "ImageNorm",
    "NormKind",
    "Scores",
    "base_of",
    "conv_layer",
    "dense_layer",
    "glorot_uniform",
    "leaky_relu",
    "to_images",
]

Conditional: TypeAlias = Literal["none", "acgan", "projection"]
NormKind: TypeAlias = Literal["batch", "layer", "none"]
Scores: TypeAlias = Float[Array, " b"] | tuple[Float[Array, " b"], Float[Array, "b v"]]


def base_of(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Give the rows and columns that an image starts from, and how often they double.

    Raises:
        InputError: If the shape is not (rows, columns, channels) of such sizes.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"shape {shape} must be (rows, columns, channels) of an image")
    rows, columns, _ = shape
    side, doublings = min(rows, columns), 0
    while side >= 8 and side % 2 == 0:
        side, doublings = side // 2, doublings + 1
    if not doublings or side > 7 or max(rows, columns) % 2**doublings:
        raise InputError(
            f"images of {rows} x {columns} cannot be made by doubling 4 to 7 rows; "
            "resize, crop or pad them to a side of 8, 16, 28, 32, 48 or 64"
        )
    return rows >> doublings, columns >> doublings, doublings


def leaky_relu(x: Array) -> Array:
    """Give max(x, .2 x)."""
    return jax.nn.leaky_relu(x, 0.2)


def glorot_uniform(gain: float = 1.0, stride: int = 1) -> nn.initializers.Initializer:
    r"""Draw uniformly with variance $2 g^2 / (in + out)$, as the code of WGAN-GP does.

    A stride thins out the connections of the side with more pixels. Kernels of
    convolutions are (ky, kx, in, out), those of transposed ones (ky, kx, out, in).
    """

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        *window, wide, narrow = shape
        taps = 1
        for size in window:
            taps *= size
        connections = taps * (wide + narrow / stride**2)
        limit = gain * (6 / connections) ** 0.5
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def conv_layer(spectral: bool, train: bool) -> Callable[..., nn.Module]:
    """Give the class of a critic's convolutions."""
    return functools.partial(SpectralConv, update=train) if spectral else Conv


def dense_layer(spectral: bool, train: bool) -> Callable[..., nn.Module]:
    """Give the class of a critic's dense layers."""
    return functools.partial(SpectralDense, update=train) if spectral else nn.Dense


def _embed_layer(spectral: bool, train: bool) -> Callable[..., nn.Module]:
    return functools.partial(SpectralEmbed, update=train) if spectral else nn.Embed


def to_images(x: Float[Array, "b ..."], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Give tanh in float32, in the shape of images."""
    return jnp.tanh(x.astype(jnp.float32)).reshape(-1, *shape)


class ImageNorm(nn.Module):
    """The normalisation of that name, or none.

    `layer` takes the mean and variance of a whole image, over channels and pixels
    (Gulrajani et al. 2017); each row of a batch is then computed alone, so that it can
    be penalised.

    Attributes:
        kind: batch, layer or none.
        num_classes: See `BatchNorm`.
        eps: Added to the variance.
        scale_init: Of the scale.
        dtype: Of the output; statistics are float32.
    """

    kind: NormKind = "batch"
    num_classes: int = 0
    eps: float = 1e-5
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
        """Normalise."""
        if self.kind == "batch":
            return BatchNorm(
                eps=self.eps,
                num_classes=self.num_classes,
                scale_init=self.scale_init,
                dtype=self.dtype,
                name="batch",
            )(x, labels, train=train)
        if self.kind == "layer":
            return nn.GroupNorm(
                num_groups=1,
                epsilon=self.eps,
                scale_init=self.scale_init,
                use_fast_variance=False,
                dtype=self.dtype,
                name="layer",
            )(x)
        check_choice("norm", self.kind, NormKind)
        return x


class CriticHead(nn.Module):
    r"""Scores of features, without classes or with them.

    - `none`: $w^T h + b$.
    - `acgan`: beside the score the logits of the classes.
    - `projection`: $(w + v_y)^T h + b$, with a vector for each class.

    Attributes:
        conditional: Which of them.
        num_classes: Classes.
        spectral: Normalise all of its matrices.
        use_bias: Of the score.
        kernel_init: Of all matrices.

    References:
        Odena et al. 2017, https://arxiv.org/abs/1610.09585 (ACGAN).
        Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637 (projection), eq. 3.
    """

    conditional: Conditional = "none"
    num_classes: int = 0
    spectral: bool = False
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "b d"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool,
    ) -> Scores:
        """Score rows, in float32.

        Raises:
            InputError: If labels, classes or the kind are missing or not known.
        """
        self._check(labels)
        features = features.astype(jnp.float32)
        dense = dense_layer(self.spectral, train)
        scores = dense(
            1, use_bias=self.use_bias, kernel_init=self.kernel_init, name="score"
        )(features)[:, 0]
        if self.conditional == "acgan":
            logits = dense(
                self.num_classes, kernel_init=self.kernel_init, name="classes"
            )(features)
            return scores, logits
        if self.conditional == "projection":
            embed = _embed_layer(self.spectral, train)(
                self.num_classes,
                features.shape[-1],
                embedding_init=self.kernel_init,
                name="embed",
            )
            scores = scores + (embed(labels) * features).sum(-1)
        return scores

    def _check(self, labels: Array | None) -> None:
        check_choice("conditional", self.conditional, Conditional)
        if self.conditional != "none" and self.num_classes < 2:
            raise InputError(
                f"conditional {self.conditional!r} needs num_classes of 2 or more, not "
                f"{self.num_classes}"
            )
        if self.conditional == "projection" and labels is None:
            raise InputError("a projection critic needs labels: one for each row")


class ImageGenerator(nn.Module):
    """The fields of generators of images, and the layer that they share.

    Attributes:
        shape: Of an image.
        width: Channels or units, as the network counts them.
        num_classes: Scales and shifts of the batch normalisation for each class; 0:
            without classes.
        dtype: Of the computation; parameters and images are float32.
    """

    shape: tuple[int, ...] = (32, 32, 3)
    width: int = 64
    num_classes: int = 0
    dtype: Any = jnp.float32

    def rectify(
        self,
        x: Float[Array, "b *rest d"],
        labels: Int[Array, " b"] | None,
        *,
        train: bool,
        name: str,
        **options: Any,
    ) -> Float[Array, "b *rest d"]:
        """Normalise over the batch, and apply a ReLU."""
        norm = ImageNorm(
            num_classes=self.num_classes, dtype=self.dtype, name=name, **options
        )
        return nn.relu(norm(x, labels, train=train))


class ImageCritic(nn.Module):
    """The fields of critics of images, and their last layer.

    Attributes:
        width: Channels or units, as the network counts them.
        conditional: See `CriticHead`.
        num_classes: See `CriticHead`.
        spectral: Spectral normalisation of all layers.
        dtype: Of the computation; parameters and scores are float32.
    """

    width: int = 64
    conditional: Conditional = "none"
    num_classes: int = 0
    spectral: bool = False
    dtype: Any = jnp.float32

    def score(
        self,
        x: Float[Array, "b ..."],
        labels: Int[Array, " b"] | None,
        *,
        train: bool,
        **options: Any,
    ) -> Scores:
        """Score all features of a row; options are those of `CriticHead`."""
        head = CriticHead(
            self.conditional,
            self.num_classes,
            self.spectral,
            name="head",
            **options,
        )
        return head(x.reshape(len(x), -1), labels, train=train)
