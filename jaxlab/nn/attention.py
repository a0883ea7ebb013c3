"""Multi-head attention."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Bool, Float

__all__ = ["MultiHeadAttention", "dot_product_attention"]


def dot_product_attention(
    queries: Float[Array, "b h t k"],
    keys: Float[Array, "b h m k"],
    values: Float[Array, "b h m k"],
    visible: Bool[Array, "#b #h #t m"] | None = None,
) -> Float[Array, "b h t k"]:
    r"""Scaled dot-product attention, $\mathrm{softmax}(QK^T/\sqrt{k})V$.

    The softmax is float32 whatever the input. Half precision goes through
    `jax.nn.dot_product_attention`; for float32, where no fused kernel exists, heads
    come first in all products, which XLA runs faster on a CPU.

    Args:
        queries: What asks.
        keys: What is matched.
        values: What is averaged.
        visible: True where a query may see a key. A query that sees nothing gets the
            mean of all values.

    References:
        Vaswani et al. 2017, "Attention Is All You Need",
        https://arxiv.org/abs/1706.03762, equation 1.
    """
    if queries.dtype != jnp.float32:
        q, k, v = (jnp.swapaxes(array, 1, 2) for array in (queries, keys, values))
        heads = jax.nn.dot_product_attention(q, k, v, mask=visible)
        return jnp.swapaxes(heads, 1, 2)
    # Scaled here, where it touches (t, k) numbers a head and not (t, m).
    queries = queries * queries.shape[-1] ** -0.5
    logits = jnp.einsum("bhtk,bhmk->bhtm", queries, keys)
    if visible is not None:
        logits = jnp.where(visible, logits, jnp.finfo(logits.dtype).min)
    return jnp.einsum("bhtm,bhmk->bhtk", jax.nn.softmax(logits, axis=-1), values)


class _Projection(nn.Module):
    """Kernel and bias of one projection to heads; the parent multiplies."""

    num_heads: int
    head_width: int
    use_bias: bool

    @nn.compact
    def __call__(self, width: int) -> tuple[Any, Any]:
        def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            flat = (shape[0], shape[1] * shape[2])  # all heads are one matrix
            return nn.initializers.xavier_uniform()(key, flat, dtype).reshape(shape)

        shape = (self.num_heads, self.head_width)
        kernel = self.param("kernel", init, (width, *shape), jnp.float32)
        if not self.use_bias:
            return kernel, None
        return kernel, self.param("bias", nn.initializers.zeros, shape)


class MultiHeadAttention(nn.Module):
    """Attention of tokens to themselves, or to a memory, with projections.

    Queries, keys and values have parameters of their own but come from one product of
    matrices, as large as can be.

    Attributes:
        num_heads: Heads; divides the width of the queries.
        use_bias: Whether the four projections have biases.
        dtype: Of the computation; parameters are float32.
    """

    num_heads: int
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t d"],
        memory: Float[Array, "b m e"] | None = None,
        visible: Bool[Array, "#b #h #t m"] | None = None,
    ) -> Float[Array, "b t d"]:
        width = x.shape[-1]
        if width % self.num_heads:
            raise InputError(
                f"num_heads {self.num_heads} does not divide the width {width}"
            )
        head_width = width // self.num_heads
        if memory is None:
            q, k, v = self._project(x, head_width, "query", "key", "value")
        else:
            (q,) = self._project(x, head_width, "query")
            k, v = self._project(memory, head_width, "key", "value")
        heads = dot_product_attention(q, k, v, visible)
        return nn.DenseGeneral(
            width,
            axis=(-2, -1),
            use_bias=self.use_bias,
            kernel_init=nn.initializers.xavier_uniform(),
            dtype=self.dtype,
            name="out",
        )(jnp.swapaxes(heads, 1, 2))

    def _project(
        self, x: Float[Array, "b t d"], head_width: int, *names: str
    ) -> Float[Array, "n b h t k"]:
        b, t, d = x.shape
        shape = (self.num_heads, head_width)
        parts = [_Projection(*shape, self.use_bias, name=name)(d) for name in names]
        # Stacked between input and heads, so that heads stay split on a tensor mesh.
        kernel = jnp.stack([kernel for kernel, _ in parts], axis=1).astype(self.dtype)
        # One matrix product of all tokens: XLA's batched one is slower on a CPU.
        out = x.astype(self.dtype).reshape(b * t, d) @ kernel.reshape(d, -1)
        if self.use_bias:
            bias = jnp.stack([bias for _, bias in parts]).astype(self.dtype)
            out += bias.reshape(1, -1)
        return out.reshape(b, t, len(names), *shape).transpose(2, 0, 3, 1, 4)
