"""VQGAN's network: levels of residual blocks, attention between the smallest pixels.

Encoder   conv3, a level for each size, a block, attention, a block, norm, swish, conv3;
          conv1 to the channels of codes
Decoder   conv1, conv3, a block, attention, a block, a level of one block more for each
          size, norm, swish; last layer: conv3
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count, check_fields
from jaxlab.core.typing import Array, Float
from jaxlab.models.codes.autoencoder import CodeAutoencoder
from jaxlab.models.codes.vqgan_parts import Level, Resize, group_norm, make_conv

__all__ = ["VQGAN", "VQGANSizes"]


@dataclasses.dataclass(frozen=True)
class VQGANSizes:
    """Sizes of a `VQGAN`; the defaults are those of the paper's f16 for 256 x 256.

    Attributes:
        widths: Channels of each level, from whole images on; each level after the first
            has half the rows and columns.
        num_blocks: Blocks of a level of the encoder; the decoder has one more.
        attention: Numbers of the levels with attention after each block, from 0 on.
        latent_dim: Channels that encoder and decoder meet in.
        code_dim: Channels of codes.
        num_groups: Groups of the normalisations; divides all widths.

    Raises:
        InputError: If they cannot be.
    """

    widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    num_blocks: Count = 2
    attention: tuple[int, ...] = (4,)
    latent_dim: Count = 256
    code_dim: Count = 256
    num_groups: Count = 32

    def __post_init__(self) -> None:
        check_fields(self)
        if min(self.widths, default=0) < 1:
            raise InputError(f"widths {self.widths} must be numbers of at least 1")
        if wrong := [w for w in self.widths if w % self.num_groups]:
            raise InputError(
                f"num_groups {self.num_groups} does not divide widths {wrong}; use "
                "multiples of it, or fewer groups"
            )
        levels = range(len(self.widths))
        if wrong := [level for level in self.attention if level not in levels]:
            raise InputError(
                f"attention {wrong} names no level: there are 0 to {levels[-1]}, one "
                f"for each of widths {self.widths}"
            )


class VQGAN(CodeAutoencoder, kw_only=True):
    """The autoencoder of VQGAN; its critic is `patch_gan.PatchGAN`.

    Attributes:
        sizes: Sizes of the network.

    References:
        Esser et al. 2021, https://arxiv.org/abs/2012.09841, table 7; in the form of
        taming/modules/diffusionmodules/model.py of
        https://github.com/CompVis/taming-transformers.
    """

    sizes: VQGANSizes = VQGANSizes()

    @property
    def stride(self) -> int:
        """Rows and columns of pixels for a row and a column of codes."""
        return 2 ** (len(self.sizes.widths) - 1)

    def setup(self) -> None:
        sizes = self.sizes
        self.encoder = _Encoder(sizes, self.dtype)
        self.quant_conv = make_conv(sizes.code_dim, self.dtype, kernel_size=(1, 1))
        self.post_quant_conv = make_conv(
            sizes.latent_dim, self.dtype, kernel_size=(1, 1)
        )
        self.decoder = _Decoder(sizes, self.dtype)
        self.last_layer = make_conv(self.channels, self.dtype)

    def encode(self, images: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        """Give the latents of images, float32."""
        self.check_images(images)
        return self.quant_conv(self.encoder(images)).astype(jnp.float32)

    def decode_features(self, codes: Float[Array, "b u v d"]) -> Float[Array, "..."]:
        """Decode up to the input of the last layer."""
        return self.decoder(self.post_quant_conv(codes))


class _Encoder(nn.Module):
    sizes: VQGANSizes
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        sizes = self.sizes
        x = make_conv(sizes.widths[0], self.dtype, "conv_in")(x)
        last = len(sizes.widths) - 1
        for level in range(last + 1):
            resize: Resize = "none" if level == last else "down"
            x = _level(sizes, level, sizes.num_blocks, resize, self.dtype)(x)
        x = _middle(sizes, self.dtype)(x)
        x = nn.swish(group_norm(sizes.num_groups, self.dtype, "norm_out")(x))
        return make_conv(sizes.latent_dim, self.dtype, "conv_out")(x)


class _Decoder(nn.Module):
    sizes: VQGANSizes
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b u v d"]) -> Float[Array, "b y x c"]:
        sizes = self.sizes
        x = make_conv(sizes.widths[-1], self.dtype, "conv_in")(x)
        x = _middle(sizes, self.dtype)(x)
        for level in reversed(range(len(sizes.widths))):
            resize: Resize = "up" if level else "none"
            x = _level(sizes, level, sizes.num_blocks + 1, resize, self.dtype)(x)
        return nn.swish(group_norm(sizes.num_groups, self.dtype, "norm_out")(x))


def _level(
    sizes: VQGANSizes, level: int, num_blocks: int, resize: Resize, dtype: Any
) -> Level:
    return Level(
        sizes.widths[level],
        num_blocks,
        num_blocks if level in sizes.attention else 0,
        sizes.num_groups,
        resize,
        dtype,
        name=f"level_{level}",
    )


def _middle(sizes: VQGANSizes, dtype: Any) -> Level:
    """Give two blocks, and attention after the first."""
    return Level(sizes.widths[-1], 2, 1, sizes.num_groups, dtype=dtype, name="middle")
