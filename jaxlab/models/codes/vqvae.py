"""VQ-VAE of the sizes of DeepMind's example: four pixels by four are one code.

Encoder   conv4 of stride 2 to w / 2, ReLU, conv4 of stride 2 to w, ReLU, conv3,
          residual blocks, ReLU, conv1 to the channels of codes
Decoder   conv3 to w, residual blocks, ReLU, convT4 of stride 2 to w / 2, ReLU;
          last layer: convT4 of stride 2
Block     x + conv1(ReLU(conv3(ReLU(x)))), with few channels between
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.ranges import Count, Natural, check_fields
from jaxlab.core.typing import Array, Float
from jaxlab.models.codes.autoencoder import CodeAutoencoder
from jaxlab.nn.conv.layers import Conv, ConvTranspose

__all__ = ["VQVAE"]


class VQVAE(CodeAutoencoder, kw_only=True):
    """Convolutions of stride 2, residual blocks, and the same back.

    Attributes:
        width: Channels inside; half of them next to the images.
        num_blocks: Residual blocks of the encoder, and of the decoder.
        block_width: Channels inside a block.
        code_dim: Channels of the latents.

    References:
        van den Oord et al. 2017, https://arxiv.org/abs/1711.00937, section 4.1; in the
        sizes of examples/vqvae_example.ipynb of https://github.com/deepmind/sonnet.
    """

    width: Count = 128
    num_blocks: Natural = 2
    block_width: Count = 32
    code_dim: Count = 64

    @property
    def stride(self) -> int:
        """Rows and columns of pixels for a row and a column of codes."""
        return 4

    def setup(self) -> None:
        check_fields(self)
        narrow = max(1, self.width // 2)
        self.down_0 = Conv(narrow, (4, 4), (2, 2), dtype=self.dtype)
        self.down_1 = Conv(self.width, (4, 4), (2, 2), dtype=self.dtype)
        self.encoder_in = Conv(self.width, dtype=self.dtype)
        self.encoder_blocks = self._blocks()
        self.encoder_out = Conv(self.code_dim, (1, 1), dtype=self.dtype)
        self.decoder_in = Conv(self.width, dtype=self.dtype)
        self.decoder_blocks = self._blocks()
        self.up = ConvTranspose(narrow, (4, 4), (2, 2), dtype=self.dtype)
        self.last_layer = ConvTranspose(self.channels, (4, 4), (2, 2), dtype=self.dtype)

    def encode(self, images: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        """Give the latents of images, float32."""
        self.check_images(images)
        x = nn.relu(self.down_0(images))
        x = self.encoder_in(nn.relu(self.down_1(x)))
        for block in self.encoder_blocks:
            x = block(x)
        return self.encoder_out(nn.relu(x)).astype(jnp.float32)

    def decode_features(self, codes: Float[Array, "b u v d"]) -> Float[Array, "..."]:
        """Decode up to the input of the last layer."""
        x = self.decoder_in(codes)
        for block in self.decoder_blocks:
            x = block(x)
        return nn.relu(self.up(nn.relu(x)))

    @nn.nowrap
    def _blocks(self) -> list["_Block"]:
        return [_Block(self.block_width, self.dtype) for _ in range(self.num_blocks)]


class _Block(nn.Module):
    """Two convolutions beside the input."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b y x c"]:
        narrow = Conv(self.width, dtype=self.dtype, name="conv_0")(nn.relu(x))
        out = Conv(x.shape[-1], (1, 1), dtype=self.dtype, name="conv_1")
        return x + out(nn.relu(narrow))
