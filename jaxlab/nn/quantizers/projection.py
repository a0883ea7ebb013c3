"""Latents to the channels of codes and back, where they are others."""

from flax import linen as nn

from jaxlab.core.typing import Array, Float

__all__ = ["Projection"]


class Projection(nn.Module):
    """A linear layer to fewer channels and one back; none if the widths are equal.

    Attributes:
        width: Channels of the latents.
        inner: Channels of the codes.

    References:
        Yu et al. 2021 (ViT-VQGAN), https://arxiv.org/abs/2110.04627, section 3.2.
    """

    width: int
    inner: int

    def setup(self) -> None:
        if self.width != self.inner:
            self.to_inner = nn.Dense(self.inner)
            self.to_width = nn.Dense(self.width)

    def inward(self, latents: Float[Array, "*b d"]) -> Float[Array, "*b e"]:
        """Project latents to the channels of codes, in float32."""
        return latents if self.width == self.inner else self.to_inner(latents)

    def outward(self, codes: Float[Array, "*b e"]) -> Float[Array, "*b d"]:
        """Project codes to the channels of latents."""
        return codes if self.width == self.inner else self.to_width(codes)
