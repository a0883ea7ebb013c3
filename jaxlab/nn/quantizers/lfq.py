"""Lookup-free quantisation: the signs of a few channels."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count, NotNegative, Positive, check_fields
from jaxlab.core.typing import Array, Float, Int
from jaxlab.nn.quantizers.entropy import binary_entropies
from jaxlab.nn.quantizers.estimators import straight_through
from jaxlab.nn.quantizers.projection import Projection
from jaxlab.nn.quantizers.quantized import Quantized, batch_perplexity, check_width

__all__ = ["LFQ"]

_MOST_BITS = 24  # whose mean choice still fits into memory


class LFQ(nn.Module):
    r"""Each channel becomes 1 if it is positive and -1 if not; nothing is looked up.

    An index has the first channel as its highest bit. The entropy term is exact: that
    of a choice among all codes by the softmax of $2 z \cdot c$ over a temperature.

    Attributes:
        num_codes: A power of two.
        dim: Channels of the latents; if not as many as bits, they are projected and
            projected back. None: as many.
        beta: Weight of the commitment term.
        entropy_weight: Weight of the entropy term.
        entropy_gamma: Weight, within that term, of the entropy of the mean choice.
        temperature: Temperature of the choice.

    References:
        Yu et al. 2023 (MAGVIT-v2), https://arxiv.org/abs/2310.05737, equations 3 to 5.
    """

    num_codes: Count
    dim: int | None = None
    beta: NotNegative = 0.25
    entropy_weight: NotNegative = 0.1
    entropy_gamma: NotNegative = 1.0
    temperature: Positive = 0.01

    def setup(self) -> None:
        check_fields(self)
        bits = self.num_codes.bit_length() - 1
        if self.num_codes != 1 << bits or not 0 < bits <= _MOST_BITS:
            raise InputError(
                f"num_codes {self.num_codes} of lfq must be a power of two from 2 to "
                f"{1 << _MOST_BITS}: one bit a channel"
            )
        self.places = 1 << np.arange(bits - 1, -1, -1, dtype=np.int32)
        self.projection = Projection(bits if self.dim is None else self.dim, bits)

    def __call__(
        self, latents: Float[Array, "*b d"], *, train: bool = False
    ) -> Quantized:
        """Quantise; training changes nothing.

        Raises:
            InputError: If the latents have other channels.
        """
        check_width(latents, self.projection.width)
        inner = self.projection.inward(latents.astype(jnp.float32))
        is_one = inner > 0
        indices = jnp.where(is_one, self._places(inner.ndim), 0).sum(-1)
        codes = jnp.where(is_one, 1.0, -1.0)
        commitment = jnp.square(inner - codes).mean()
        loss, terms = self.beta * commitment, {"commitment": commitment}
        if self.entropy_weight:
            # Beside its opposite a bit adds 2 z to a choice's logit, and not -2 z.
            odds = 4 * inner.reshape(-1, inner.shape[-1]) / self.temperature
            of_one, of_mean = binary_entropies(odds)
            terms["entropy"] = of_one - self.entropy_gamma * of_mean
            loss = loss + self.entropy_weight * terms["entropy"]
        passed = self.projection.outward(straight_through(inner, codes))
        terms["batch_perplexity"] = batch_perplexity(indices, self.num_codes)
        return Quantized(passed.astype(latents.dtype), indices, loss, terms)

    def lookup(self, indices: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        """Return the codes of indices, float32; NaN where there is no such index."""
        index = indices[..., None]
        codes = jnp.where(index & self._places(indices.ndim + 1), 1.0, -1.0)
        is_code = (index >= 0) & (index < self.num_codes)
        return self.projection.outward(jnp.where(is_code, codes, jnp.nan))

    def _places(self, ndim: int) -> Array:
        return jnp.asarray(self.places).reshape(*(1,) * (ndim - 1), -1)
