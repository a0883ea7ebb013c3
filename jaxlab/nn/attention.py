"""Multi-head attention."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Bool, Float

__all__ = ["MultiHeadAttention", "dot_product_attention"]


def dot_product_attention(
    queries: Float[Array, "b t h k"],
    keys: Float[Array, "b m h k"],
    values: Float[Array, "b m h k"],
    visible: Bool[Array, "#b #h t m"] | None = None,
) -> Float[Array, "b t h k"]:
    r"""Scaled dot-product attention, $\mathrm{softmax}(QK^T/\sqrt{k})V$.

    The softmax is float32 whatever the input. On a GPU, half precision goes to cuDNN's
    fused kernel where it can.

    Args:
        queries: What asks.
        keys: What is matched.
        values: What is averaged.
        visible: True where a query may see a key.

    References:
        Vaswani et al. 2017, "Attention Is All You Need",
        https://arxiv.org/abs/1706.03762, equation 1.
    """
    return jax.nn.dot_product_attention(queries, keys, values, mask=visible)


class MultiHeadAttention(nn.Module):
    """Attention of tokens to themselves, or to a memory, with projections.

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
        visible: Bool[Array, "#b #h t m"] | None = None,
    ) -> Float[Array, "b t d"]:
        width = x.shape[-1]
        if width % self.num_heads:
            raise InputError(
                f"num_heads {self.num_heads} does not divide the width {width}"
            )
        head_width = width // self.num_heads
        init = nn.initializers.xavier_uniform()

        def project(name: str, inputs: Array) -> Array:
            return nn.DenseGeneral(
                (self.num_heads, head_width),
                use_bias=self.use_bias,
                kernel_init=init,
                dtype=self.dtype,
                name=name,
            )(inputs)

        source = x if memory is None else memory
        q, k, v = project("query", x), project("key", source), project("value", source)
        heads = dot_product_attention(q, k, v, visible)
        return nn.DenseGeneral(
            width,
            axis=(-2, -1),
            use_bias=self.use_bias,
            kernel_init=init,
            dtype=self.dtype,
            name="out",
        )(heads)
