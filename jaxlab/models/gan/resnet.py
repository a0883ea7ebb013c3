"""Residual GANs: those of WGAN-GP and of SNGAN, which differ in little.

          Generator                        Critic
resnet    project to base x 128; a block   halving blocks until 8 rows remain, then 2
(WGAN-GP) for each doubling, batch norm;   blocks, 128 channels; no norm; mean of pixels
          norm, ReLU, conv3, tanh
sngan     the same, 256 channels           the same, spectral norms; sum of pixels, no
                                           bias of the score

For 32 x 32 pixels these are the 3 blocks of the generators and the 4 of the critics of
both papers. A block is norm, ReLU, conv3, norm, ReLU, conv3 beside a shortcut of 1 x 1;
it doubles before its first convolution or takes the mean of 2 x 2 after its second. The
first one of a critic begins with its convolution.

References:
    Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028; its gan_cifar_resnet.py.
    Miyato et al. 2018, https://arxiv.org/abs/1802.05957; the networks for 32 x 32 of
    https://github.com/pfnet-research/sngan_projection.
"""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import check_choice
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
    to_images,
)
from jaxlab.nn.conv.layers import Conv

__all__ = ["ResNetCritic", "ResNetGenerator", "ResidualBlock"]

Pool: TypeAlias = Literal["mean", "sum"]
Resample: TypeAlias = Literal["up", "down", "none"]
HE = 2**0.5  # gain


def _double(x: Float[Array, "b y x c"]) -> Float[Array, "b v u c"]:
    """Repeat each pixel in a square of 2 x 2."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def _halve(x: Float[Array, "b y x c"]) -> Float[Array, "b v u c"]:
    """Take the mean of each square of 2 x 2."""
    b, rows, columns, c = x.shape
    return x.reshape(b, rows // 2, 2, columns // 2, 2, c).mean((2, 4))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, up, down or at the same size.

    Attributes:
        features: Channels that come out.
        resample: `up` doubles rows and columns, `down` halves them.
        norm: Before each activation.
        num_classes: See `BatchNorm`.
        norm_eps: Added to the variance.
        is_first: Begin with the convolution: pixels are not activated.
        spectral: Spectral normalisation of all convolutions.
        dtype: Of the computation; parameters are float32.
    """

    features: int
    resample: Resample = "none"
    norm: NormKind = "none"
    num_classes: int = 0
    norm_eps: float = 1e-5
    is_first: bool = False
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b y x c"],
        labels: Int[Array, " b"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b v u d"]:
        """Add the block's change to its input."""
        conv = conv_layer(self.spectral, train)

        def convolve(x: Array, index: int) -> Array:
            return conv(
                self.features,
                (3, 3),
                kernel_init=glorot_uniform(HE),
                dtype=self.dtype,
                name=f"conv_{index}",
            )(x)

        def activate(x: Array, index: int) -> Array:
            norm = ImageNorm(
                self.norm,
                self.num_classes,
                self.norm_eps,
                dtype=self.dtype,
                name=f"norm_{index}",
            )
            return nn.relu(norm(x, labels, train=train))

        out = x if self.is_first else activate(x, 0)
        out = convolve(_double(out) if self.resample == "up" else out, 0)
        out = convolve(activate(out, 1), 1)
        # A shortcut of 1 x 1 and a mean or a copy of pixels can change places: the
        # convolution is where there are fewer pixels.
        short = x
        if self.resample == "down":
            out, short = _halve(out), _halve(short)
        if self.resample != "none" or x.shape[-1] != self.features:
            short = conv(
                self.features,
                (1, 1),
                kernel_init=glorot_uniform(),
                dtype=self.dtype,
                name="shortcut",
            )(short)
        return out + (_double(short) if self.resample == "up" else short)


class ResNetGenerator(ImageGenerator):
    """A projection, a doubling block for each time, and a convolution.

    Attributes:
        width: Channels of all layers.
        num_classes: As of `ImageGenerator`, of the norms in blocks alone.
        norm_eps: Added to the variance.
    """

    width: int = 128
    norm_eps: float = 1e-5

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
        x = nn.Dense(
            rows * columns * self.width,
            kernel_init=glorot_uniform(),
            dtype=self.dtype,
            name="input",
        )(z).reshape(-1, rows, columns, self.width)
        for index in range(doublings):
            x = ResidualBlock(
                self.width,
                "up",
                "batch",
                self.num_classes,
                self.norm_eps,
                dtype=self.dtype,
                name=f"block_{index}",
            )(x, labels, train=train)
        x = ImageNorm("batch", eps=self.norm_eps, dtype=self.dtype, name="norm")(
            x, train=train
        )
        x = Conv(
            self.shape[-1],
            (3, 3),
            kernel_init=glorot_uniform(),
            dtype=self.dtype,
            name="out",
        )(nn.relu(x))
        return to_images(x, self.shape)


class ResNetCritic(ImageCritic):
    """Blocks that halve an image to at most 8 rows, two more, and a pool.

    Attributes:
        width: Channels of all layers.
        norm: Of all blocks but the first; `layer` is the option of WGAN-GP's code.
        pool: Of the last pixels: `mean` in WGAN-GP, `sum` in SNGAN.
        use_bias: Of the score: not in SNGAN.
    """

    width: int = 128
    norm: NormKind = "none"
    pool: Pool = "mean"
    use_bias: bool = True

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
        check_choice("pool", self.pool, Pool)
        x = x.astype(self.dtype)
        for index, resample in enumerate(_critic_blocks(x.shape[1:])):
            x = ResidualBlock(
                self.width,
                resample,
                self.norm if index else "none",
                is_first=index == 0,
                spectral=self.spectral,
                dtype=self.dtype,
                name=f"block_{index}",
            )(x, train=train)
        x = nn.relu(x).astype(jnp.float32)
        features = x.mean((1, 2)) if self.pool == "mean" else x.sum((1, 2))
        return self.score(
            features,
            labels,
            train=train,
            use_bias=self.use_bias,
            kernel_init=glorot_uniform(),
        )


def _critic_blocks(shape: tuple[int, ...]) -> list[Resample]:
    """Halve once, and on until at most 8 rows remain; then two blocks more."""
    base_of(shape)
    side = min(shape[:2])
    blocks: list[Resample] = []
    while not blocks or side > 8:
        blocks.append("down")
        side //= 2
    return [*blocks, "none", "none"]
