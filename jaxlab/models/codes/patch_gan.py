"""PatchGAN: a critic that scores each patch of an image."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.ranges import Count, check_fields
from jaxlab.core.typing import Array, Float
from jaxlab.models.gan.parts import ImageNorm, NormKind, conv_layer, leaky_relu
from jaxlab.nn.batch_norm import near_one

__all__ = ["PatchGAN"]

_NORMAL = nn.initializers.normal(0.02)
_MOST = 8  # times the width of the first layer


class PatchGAN(nn.Module):
    """Convolutions of 4 x 4 with leaky ReLU: `num_layers` of stride 2, two of 1.

    With 3 layers a score sees 70 pixels a side, with 2 it sees 34, with 1 it sees 16.

    Attributes:
        width: Channels of the first layer; each layer doubles them, up to 8 times.
        num_layers: Layers of stride 2, which are as many as those between the first and
            the last.
        norm: Of these: `batch` is the paper's, `layer` or `none` need no statistics of
            a batch, so that each image is scored alone.
        spectral: Spectral normalisation of all layers.
        dtype: Of the computation; parameters and scores are float32.

    References:
        Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 3.2.2; in the form
        of https://github.com/CompVis/taming-transformers.
    """

    width: Count = 64
    num_layers: Count = 3
    norm: NormKind = "batch"
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "b y x c"], *, train: bool = False
    ) -> Float[Array, "b u v"]:
        """Score the patches of images.

        Raises:
            InputError: If images are smaller than the last kernels.
        """
        check_fields(self)
        conv = conv_layer(self.spectral, train)
        layer = {"padding": 1, "kernel_init": _NORMAL, "dtype": self.dtype}
        x = leaky_relu(conv(self.width, (4, 4), (2, 2), name="conv_0", **layer)(images))
        for index in range(1, self.num_layers + 1):
            width = self.width * min(2**index, _MOST)
            stride = (1, 1) if index == self.num_layers else (2, 2)
            # A bias in front of a batch's mean would have no effect.
            has_bias = self.norm != "batch"
            x = conv(
                width, (4, 4), stride, use_bias=has_bias, name=f"conv_{index}", **layer
            )(x)
            norm = ImageNorm(
                self.norm, scale_init=near_one, dtype=self.dtype, name=f"norm_{index}"
            )
            x = leaky_relu(norm(x, train=train))
        scores = conv(1, (4, 4), name="score", **layer)(x)
        return scores[..., 0].astype(jnp.float32)
