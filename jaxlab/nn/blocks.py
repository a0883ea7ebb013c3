"""The blocks that Transformers are stacked from."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from jaxlab.core.mesh import ShardingRules
from jaxlab.core.typing import Array, Bool, Float
from jaxlab.nn.activation import Activation, activation
from jaxlab.nn.attention import MultiHeadAttention
from jaxlab.nn.norm import LayerNorm

__all__ = ["TENSOR_RULES", "EncoderBlock", "Mlp", "drop_path"]

# How to split these blocks over the `tensor` axis of a mesh: heads and hidden units,
# so that each block needs one sum over devices after attention and one after the MLP.
TENSOR_RULES: ShardingRules = (
    (r"(query|key|value)/kernel", P(None, "tensor", None)),
    (r"(query|key|value)/bias", P("tensor", None)),
    (r"attention/out/kernel", P("tensor", None, None)),
    (r"mlp/up/kernel", P(None, "tensor")),
    (r"mlp/up/bias", P("tensor")),
    (r"mlp/down/kernel", P("tensor", None)),
)


class Mlp(nn.Module):
    """Two dense layers with an activation between them.

    Attributes:
        hidden_dim: Width between the layers.
        act: Name of the activation.
        dropout_rate: Share of units dropped after each layer, in [0, 1).
        dtype: Of the computation.
    """

    hidden_dim: int
    act: Activation = "gelu"
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], *, train: bool) -> Array:
        options: dict[str, Any] = {
            "kernel_init": nn.initializers.xavier_uniform(),
            "bias_init": nn.initializers.normal(1e-6),
            "dtype": self.dtype,
        }
        hidden = activation(self.act)(
            nn.Dense(self.hidden_dim, name="up", **options)(x)
        )
        hidden = nn.Dropout(self.dropout_rate)(hidden, deterministic=not train)
        out = nn.Dense(x.shape[-1], name="down", **options)(hidden)
        return nn.Dropout(self.dropout_rate)(out, deterministic=not train)


def drop_path(key: Array, branch: Float[Array, "b t d"], rate: Array | float) -> Array:
    """Drop a residual branch for whole examples, scaling the others up.

    Args:
        key: Randomness.
        branch: What would be added to the residual stream.
        rate: Share of examples to drop, in [0, 1).

    References:
        Huang et al. 2016, "Deep Networks with Stochastic Depth",
        https://arxiv.org/abs/1603.09382.
    """
    keep = 1.0 - rate
    kept = jax.random.bernoulli(key, keep, (len(branch), 1, 1))
    return branch * (kept / keep).astype(branch.dtype)


class EncoderBlock(nn.Module):
    """Pre-norm block: `x + attention(norm(x))`, then `x + mlp(norm(x))`.

    Attributes:
        num_heads: Attention heads.
        hidden_dim: Width inside the MLP.
        act: Activation of the MLP.
        dropout_rate: After attention and in the MLP.
        has_drop_path: Whether the call's `drop_path_rate` can be above 0.
        norm_eps: Added to the variance of layer normalisation.
        dtype: Of the computation.
    """

    num_heads: int
    hidden_dim: int
    act: Activation = "gelu"
    dropout_rate: float = 0.0
    has_drop_path: bool = False
    norm_eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t d"],
        drop_path_rate: Float[Array, ""] | float = 0.0,
        visible: Bool[Array, "#b #h t t"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b t d"]:
        def add(x: Array, branch: Array) -> Array:
            if train and self.has_drop_path:
                branch = drop_path(self.make_rng("dropout"), branch, drop_path_rate)
            return x + branch

        y = LayerNorm(self.norm_eps, self.dtype, name="attention_norm")(x)
        y = MultiHeadAttention(self.num_heads, dtype=self.dtype, name="attention")(
            y, visible=visible
        )
        y = nn.Dropout(self.dropout_rate)(y, deterministic=not train)
        x = add(x, y)
        y = LayerNorm(self.norm_eps, self.dtype, name="mlp_norm")(x)
        y = Mlp(self.hidden_dim, self.act, self.dropout_rate, self.dtype, name="mlp")(
            y, train=train
        )
        return add(x, y)
