"""A codebook of moving averages, of latents or of their directions."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.ranges import Count, NotNegative, Rate
from jaxlab.core.typing import Array, Float, Int
from jaxlab.nn.quantizers.nearest import nearest_code
from jaxlab.nn.quantizers.projection import Projection
from jaxlab.nn.quantizers.quantized import CODEBOOK, count_indices
from jaxlab.nn.quantizers.revival import (
    Start,
    codebook_key,
    draw_rows,
    move_counts,
    uniform_codes,
)
from jaxlab.nn.quantizers.table import TableQuantizer

__all__ = ["CosineQuantizer", "EMAQuantizer", "unit"]


class EMAQuantizer(TableQuantizer):
    r"""Each code is a moving average of the latents that chose it; no gradient.

    Of a code's counts $n$ and sums $\sum z$ of latents in a batch, averages $N$ and $m$
    are kept, and the code is $m / \hat N$ with Laplace's $\hat N = (N + \epsilon) \sum
    N / (\sum N + K \epsilon)$. A random start begins with averages of nothing, and
    takes out of them what is not there yet (they are zero-debiased). A code that a
    batch does not use stays, to the bit, whatever its averages.

    Attributes:
        decay: Share of the averages that a batch leaves.
        eps: Laplace's, in counts.
        start: Where the first codes come from.
        revive_below: Share of the mean use below which a code is replaced by a latent
            of the batch, its count and sum with it; 0 leaves dead codes.
        codebook_init: Initializer of the codes of a random start.

    References:
        van den Oord et al. 2017, https://arxiv.org/abs/1711.00937, appendix A.1, and
        Sonnet's `VectorQuantizerEMA`, which moves unused codes of a random start to 0.
    """

    decay: Rate = 0.99
    eps: NotNegative = 1e-5
    start: Start = "data"
    revive_below: Rate = 0.05
    codebook_init: nn.initializers.Initializer = uniform_codes

    def setup(self) -> None:
        super().setup()
        shape = (self.num_codes, self.width())

        def start() -> Array:
            return self.as_codes(self.codebook_init(self.make_rng("params"), shape))

        self.codes = self.variable(CODEBOOK, "codes", start)
        self.counts = self.variable(CODEBOOK, "counts", jnp.zeros, self.num_codes)
        self.sums = self.variable(CODEBOOK, "sums", jnp.zeros, shape)
        # 1 - decay^t, the share of the averages that is of data.
        self.weight = self.variable(CODEBOOK, "weight", jnp.zeros, ())
        self.started = self.variable(
            CODEBOOK, "started", lambda: jnp.array(self.start == "random")
        )

    def width(self) -> int:
        """Return the channels of codes."""
        return self.dim

    def as_codes(self, rows: Float[Array, "k e"]) -> Float[Array, "k e"]:
        """Return vectors as they may be codes."""
        return rows

    def table(self) -> Float[Array, "k e"]:
        """Return the codes."""
        return self.codes.value

    def begin(self, vectors: Float[Array, "n e"]) -> None:
        """Draw the codes from the first batch, and count who is nearest to each."""
        if self.start == "random":
            return
        key = codebook_key(self)
        before = (self.codes, self.counts, self.sums, self.weight)

        def keep() -> tuple[Array, ...]:
            return tuple(variable.value for variable in before)

        def draw() -> tuple[Array, ...]:
            codes = self.as_codes(draw_rows(key, vectors, self.num_codes))
            counts = count_indices(nearest_code(vectors, codes), self.num_codes)
            return codes, counts, counts.reshape(-1, 1) * codes, jnp.ones(())

        after = jax.lax.cond(self.started.value, keep, draw)
        for variable, value in zip(before, after, strict=True):
            variable.value = value
        self.started.value = jnp.array(True)

    def read(
        self,
        vectors: Float[Array, "n e"],
        indices: Int[Array, " n"],
        counts: Float[Array, " k"],
    ) -> None:
        """Move the averages on by a batch, then revive dead codes."""
        decay, column = self.decay, (-1, 1)
        batch_sums = jnp.zeros_like(self.sums.value).at[indices].add(vectors)
        sums = decay * self.sums.value + (1 - decay) * batch_sums
        weight = decay * self.weight.value + (1 - decay)
        plain = decay * self.counts.value + (1 - decay) * counts
        smooth = _smooth(plain / weight, self.eps)
        averages = self.as_codes(sums / weight / smooth.reshape(column))
        codes = jnp.where(counts.reshape(column) > 0, averages, self.codes.value)
        if self.revive_below:
            key = codebook_key(self)
            usage = move_counts(self.counts.value, counts, decay, self.revive_below)
            is_dead = usage.is_dead.reshape(column)

            def revive() -> tuple[Array, Array]:
                rows = self.as_codes(draw_rows(key, vectors, self.num_codes))
                given = usage.counts.reshape(column) * rows
                return jnp.where(is_dead, rows, codes), jnp.where(is_dead, given, sums)

            codes, sums = jax.lax.cond(is_dead.any(), revive, lambda: (codes, sums))
            plain = usage.counts
        self.codes.value, self.sums.value = codes, sums
        self.counts.value, self.weight.value = plain, weight


def _smooth(counts: Array, eps: float) -> Array:
    """Return counts with Laplace's smoothing: none is 0, and their sum stays."""
    total = counts.sum()
    return (counts + eps) / (total + len(counts) * eps) * total


class CosineQuantizer(EMAQuantizer):
    """Codes are directions of few channels: the nearest has the largest cosine.

    Latents are projected to few channels and divided by their norm, and codes projected
    back; averages are of directions. A latent of norm 0 has no direction: it gets a
    valid code and no gradient.

    Attributes:
        code_dim: Channels of codes; as many as of latents are not projected.

    References:
        Yu et al. 2021 (ViT-VQGAN), https://arxiv.org/abs/2110.04627, section 3.2.
    """

    code_dim: Count = 8
    codebook_init: nn.initializers.Initializer = nn.initializers.normal(1.0)

    def setup(self) -> None:
        super().setup()
        self.projection = Projection(self.dim, self.code_dim)

    def width(self) -> int:
        """Return the channels of codes."""
        return self.code_dim

    def as_codes(self, rows: Float[Array, "k e"]) -> Float[Array, "k e"]:
        """Return unit vectors; of 0 the first axis, else it would be near to all."""
        first = jnp.zeros((1, rows.shape[1])).at[0, 0].set(1.0)
        return unit(jnp.where((rows == 0).all(1, keepdims=True), first, rows))

    def inward(self, latents: Float[Array, "*b d"]) -> Float[Array, "*b e"]:
        """Return the directions of projected latents."""
        return unit(self.projection.inward(latents))

    def outward(self, codes: Float[Array, "*b e"]) -> Float[Array, "*b d"]:
        """Return codes projected back."""
        return self.projection.outward(codes)


def unit(x: Float[Array, "*b d"], eps: float = 1e-6) -> Float[Array, "*b d"]:
    """Divide by the norm; below `eps` it counts as `eps`, also in the gradient."""
    squares = jnp.square(x).sum(-1, keepdims=True)
    is_short = squares < eps**2
    # Before the root too: its slope at 0 is infinite, and 0 times that is NaN.
    norm = jnp.sqrt(jnp.where(is_short, 1.0, squares))
    return x / jnp.where(is_short, eps, norm)
