"""What networks share that turn an image into a map of codes, and back."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count
from jaxlab.core.typing import Array, Float, Int
from jaxlab.nn.quantizers.quantized import Quantized

__all__ = ["CodeAutoencoder"]


class CodeAutoencoder(nn.Module, kw_only=True):
    """An encoder, a quantiser, and a decoder whose last layer can be run alone.

    Images are in [-1, 1], though nothing holds reconstructions there. A network of this
    kind has `encode`, `decode_features`, `stride` and, as `last_layer`, the layer that
    gives pixels: by the gradients of its kernel, `params["last_layer"]["kernel"]`,
    VQGAN weighs an adversarial loss against that of reconstruction.

    Attributes:
        quantizer: See `jaxlab.nn.quantizers`; of as many channels as `encode` gives.
        channels: Channels of the images.
        dtype: Of the computation; parameters, latents, codes and images are float32.
    """

    quantizer: nn.Module
    channels: Count = 3
    dtype: Any = jnp.float32

    @property
    def stride(self) -> int:
        """Rows and columns of pixels for a row and a column of codes."""
        raise NotImplementedError

    @property
    def num_codes(self) -> int:
        """Codes that there are: tokens are below it."""
        return self.quantizer.num_codes

    def encode(self, images: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        """Give the latents of images, float32.

        Raises:
            InputError: If rows or columns are no multiple of `stride`, or the channels
                are not those of the network.
        """
        raise NotImplementedError

    def quantize(
        self, latents: Float[Array, "b u v d"], *, train: bool = False
    ) -> Quantized:
        """Give each latent a code; while training, the codebook learns from them."""
        return self.quantizer(latents, train=train)

    def decode_features(self, codes: Float[Array, "b u v d"]) -> Float[Array, "..."]:
        """Decode up to the input of the last layer."""
        raise NotImplementedError

    def to_images(self, features: Float[Array, "b y x c"]) -> Float[Array, "..."]:
        """Run the last layer of the decoder; images are float32."""
        return self.last_layer(features).astype(jnp.float32)

    def decode(self, codes: Float[Array, "b u v d"]) -> Float[Array, "b y x c"]:
        """Make images of codes."""
        return self.to_images(self.decode_features(codes))

    def __call__(
        self, images: Float[Array, "b y x c"], *, train: bool = False
    ) -> tuple[Float[Array, "b y x c"], Quantized]:
        """Give reconstructions, and the codes that they were made of."""
        quantized = self.quantize(self.encode(images), train=train)
        return self.decode(quantized.codes), quantized

    def tokens(self, images: Float[Array, "b y x c"]) -> Int[Array, "b u v"]:
        """Give the numbers of the codes of images."""
        return self.quantize(self.encode(images)).indices

    def from_tokens(self, tokens: Int[Array, "b u v"]) -> Float[Array, "b y x c"]:
        """Make images of numbers of codes; NaN where there is no such code."""
        return self.decode(self.quantizer.lookup(tokens))

    @nn.nowrap
    def check_images(self, images: Array) -> None:
        """Refuse images whose map of codes would not decode to their own size."""
        *_, rows, columns, channels = images.shape
        if rows % self.stride or columns % self.stride:
            raise InputError(
                f"images of {rows} x {columns} pixels have no whole number of codes: "
                f"each stands for {self.stride} x {self.stride}; resize or crop them"
            )
        if channels != self.channels:
            raise InputError(
                f"images of {channels} channels do not fit a network of "
                f"channels={self.channels}"
            )
