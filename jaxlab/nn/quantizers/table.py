"""What all quantisers with a table of codes share: choice, terms, gradients."""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.ranges import Count, NotNegative, Positive, check_fields
from jaxlab.core.typing import Array, Float, Int, Metrics, Scalar
from jaxlab.nn.quantizers.entropy import entropies
from jaxlab.nn.quantizers.estimators import Estimator, pass_gradient
from jaxlab.nn.quantizers.nearest import closeness, nearest_code
from jaxlab.nn.quantizers.quantized import (
    CODEBOOK,
    Quantized,
    batch_perplexity,
    check_width,
    count_indices,
)

__all__ = ["BetaOn", "TableQuantizer", "learnt_penalty"]

# Which term beta weighs: the commitment of the latents, as in the paper, or the
# movement of the codes, as in VQGAN's code (`legacy`). The loss has the same value in
# both, and other gradients.
BetaOn: TypeAlias = Literal["commitment", "codebook"]


class TableQuantizer(nn.Module):
    """Gives each latent the nearest row of a table; the base of those that do.

    Computes in float32 whatever the latents. A step uses one table: its codes, indices
    and terms are those before the update that it makes. (In the first step of a start
    from data that is the table just drawn.)

    Attributes:
        num_codes: Rows of the table.
        dim: Channels of the latents.
        beta: Weight of the commitment term, the mean square of latents less codes that
            are constants.
        estimator: How gradients pass to the latents; see `estimators`.
        entropy_weight: Weight of the entropy term, which reads a whole matrix of
            distances; 0 makes none.
        temperature: Temperature of the choice in the entropy term, in squared
            distances.

    References:
        van den Oord et al. 2017, https://arxiv.org/abs/1711.00937.
    """

    num_codes: Count
    dim: Count
    beta: NotNegative = 0.25
    estimator: Estimator = "straight_through"
    entropy_weight: NotNegative = 0.0
    temperature: Positive = 0.01

    def setup(self) -> None:
        check_fields(self)

    def table(self) -> Float[Array, "k e"]:
        """Return the codes as they are searched; gradients reach what learns them."""
        raise NotImplementedError

    def inward(self, latents: Float[Array, "*b d"]) -> Float[Array, "*b e"]:
        """Return latents as they are compared with the codes."""
        return latents

    def outward(self, codes: Float[Array, "*b e"]) -> Float[Array, "*b d"]:
        """Return codes with the channels of latents."""
        return codes

    def __call__(
        self, latents: Float[Array, "*b d"], *, train: bool = False
    ) -> Quantized:
        """Quantise; while training, the codebook reads the latents.

        Raises:
            InputError: If the latents have other channels, or codes are to be drawn
                and there is no key.
        """
        check_width(latents, self.dim)
        inner = self.inward(latents.astype(jnp.float32))
        vectors = inner.reshape(-1, inner.shape[-1])
        is_read = train and not self.is_initializing()
        is_read = is_read and self.is_mutable_collection(CODEBOOK)
        if is_read:
            self.begin(jax.lax.stop_gradient(vectors))
        table = self.table()
        indices = nearest_code(vectors, table)
        chosen = table[indices]
        loss, terms = self.penalty(vectors, chosen)
        if self.entropy_weight:
            logits = 2 * closeness(vectors, table) / self.temperature
            of_one, of_mean = entropies(logits)
            terms["entropy"] = of_one - of_mean
            loss = loss + self.entropy_weight * terms["entropy"]
        if is_read:
            counts = count_indices(indices, self.num_codes)
            self.read(jax.lax.stop_gradient(vectors), indices, counts)
        terms["batch_perplexity"] = batch_perplexity(indices, self.num_codes)
        passed = pass_gradient(vectors, chosen, self.estimator).reshape(inner.shape)
        return Quantized(
            self.outward(passed).astype(latents.dtype),
            indices.reshape(inner.shape[:-1]),
            loss,
            terms,
        )

    def lookup(self, indices: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        """Return the codes of indices, float32; NaN where there is no such index."""
        rows = self.table().at[indices]
        return self.outward(
            rows.get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        )

    def begin(self, vectors: Float[Array, "n e"]) -> None:
        """Start the table from the first batch; here: nothing to start."""

    def read(
        self,
        vectors: Float[Array, "n e"],
        indices: Int[Array, " n"],
        counts: Float[Array, " k"],
    ) -> None:
        """Update what the codebook has read, after a step; here: nothing."""

    def penalty(
        self, vectors: Float[Array, "n e"], chosen: Float[Array, "n e"]
    ) -> tuple[Scalar, Metrics]:
        """Return the weighted sum of the terms, and the terms."""
        commitment = _mean_square(vectors - jax.lax.stop_gradient(chosen))
        return self.beta * commitment, {"commitment": commitment}


def learnt_penalty(
    vectors: Array, chosen: Array, beta: float, beta_on: BetaOn
) -> tuple[Scalar, Metrics]:
    """Return both terms of the paper's equation 3, where codes learn by gradient."""
    commitment = _mean_square(vectors - jax.lax.stop_gradient(chosen))
    codebook = _mean_square(jax.lax.stop_gradient(vectors) - chosen)
    if beta_on == "commitment":
        loss = codebook + beta * commitment
    else:
        loss = commitment + beta * codebook
    return loss, {"commitment": commitment, "codebook": codebook}


def _mean_square(x: Array) -> Scalar:
    return jnp.square(x).mean()
