"""A codebook that moves as a whole: a linear layer over fixed vectors."""

from flax import linen as nn

from jaxlab.core.typing import Array, Float, Metrics, Scalar
from jaxlab.nn.quantizers.quantized import CODEBOOK
from jaxlab.nn.quantizers.table import BetaOn, TableQuantizer, learnt_penalty

__all__ = ["SimVQ"]


class SimVQ(TableQuantizer):
    """Codes are fixed random vectors through one linear layer, which alone is learnt.

    Each step moves the whole table, so that no code is left behind. The fixed vectors
    lie in the collection `CODEBOOK` (no optimiser may decay them) as `fixed`.

    Attributes:
        beta_on: Which term beta weighs.

    References:
        Zhu et al. 2024, https://arxiv.org/abs/2411.02038, equation 7.
    """

    beta_on: BetaOn = "commitment"

    def setup(self) -> None:
        super().setup()
        shape = (self.num_codes, self.dim)
        init = nn.initializers.normal(self.dim**-0.5)
        self.fixed = self.variable(
            CODEBOOK, "fixed", lambda: init(self.make_rng("params"), shape)
        )
        self.layer = nn.Dense(self.dim, precision="highest")

    def table(self) -> Float[Array, "k d"]:
        """Return the fixed vectors through the layer."""
        return self.layer(self.fixed.value)

    def penalty(
        self, vectors: Float[Array, "n d"], chosen: Float[Array, "n d"]
    ) -> tuple[Scalar, Metrics]:
        """Return both terms, beta on one of them."""
        return learnt_penalty(vectors, chosen, self.beta, self.beta_on)
