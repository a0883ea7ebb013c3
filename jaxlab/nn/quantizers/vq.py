"""A codebook that learns by gradient."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.ranges import Rate
from jaxlab.core.typing import Array, Float, Int, Metrics, Scalar
from jaxlab.nn.quantizers.quantized import CODEBOOK
from jaxlab.nn.quantizers.revival import (
    Start,
    codebook_key,
    draw_rows,
    move_counts,
    uniform_codes,
)
from jaxlab.nn.quantizers.table import BetaOn, TableQuantizer, learnt_penalty

__all__ = ["VectorQuantizer"]


class VectorQuantizer(TableQuantizer):
    """The quantiser of VQ-VAE: latents commit to codes, and codes move to latents.

    The parameter is `codebook`. A step gives no gradient to codes that it does not use.
    With a start from data or revival, a drawn vector cannot replace a parameter, which
    belongs to the optimiser: a code is then the parameter plus an `offset` in the
    collection `CODEBOOK`, moved when the code is drawn.

    Attributes:
        beta_on: Which term beta weighs.
        start: Where the first codes come from.
        revive_below: Share of the mean use below which a code is replaced by a latent
            of the batch, such as .05; 0 leaves dead codes.
        decay: Share of the average use that a batch leaves.
        codebook_init: Initializer of the parameter.

    References:
        van den Oord et al. 2017, https://arxiv.org/abs/1711.00937, equation 3.
    """

    beta_on: BetaOn = "commitment"
    start: Start = "random"
    revive_below: Rate = 0.0
    decay: Rate = 0.99
    codebook_init: nn.initializers.Initializer = uniform_codes

    def setup(self) -> None:
        super().setup()
        shape = (self.num_codes, self.dim)
        self.codebook = self.param("codebook", self.codebook_init, shape)
        self.is_drawn = self.start == "data" or self.revive_below > 0
        if self.is_drawn:
            self.offset = self.variable(CODEBOOK, "offset", jnp.zeros, shape)
            self.counts = self.variable(CODEBOOK, "counts", jnp.zeros, self.num_codes)
            self.started = self.variable(
                CODEBOOK, "started", lambda: jnp.array(self.start == "random")
            )

    def table(self) -> Float[Array, "k d"]:
        """Return the parameter, moved where codes were drawn."""
        return self.codebook + self.offset.value if self.is_drawn else self.codebook

    def begin(self, vectors: Float[Array, "n d"]) -> None:
        """Draw the codes from the first batch."""
        if self.start == "data":
            key = codebook_key(self)
            self._draw(key, vectors, jnp.full(self.num_codes, ~self.started.value))
            self.started.value = jnp.array(True)

    def read(
        self,
        vectors: Float[Array, "n d"],
        indices: Int[Array, " n"],
        counts: Float[Array, " k"],
    ) -> None:
        """Count the use of codes, and revive dead ones."""
        if self.is_drawn:
            usage = move_counts(
                self.counts.value, counts, self.decay, self.revive_below
            )
            self.counts.value = usage.counts
            if self.revive_below:
                self._draw(codebook_key(self), vectors, usage.is_dead)

    def _draw(self, key: Array, vectors: Array, is_wanted: Array) -> None:
        def drawn() -> Array:
            rows = draw_rows(key, vectors, self.num_codes)
            moved = rows - jax.lax.stop_gradient(self.codebook)
            return jnp.where(is_wanted.reshape(-1, 1), moved, self.offset.value)

        self.offset.value = jax.lax.cond(
            is_wanted.any(), drawn, lambda: self.offset.value
        )

    def penalty(
        self, vectors: Float[Array, "n d"], chosen: Float[Array, "n d"]
    ) -> tuple[Scalar, Metrics]:
        """Return both terms, beta on one of them."""
        return learnt_penalty(vectors, chosen, self.beta, self.beta_on)
