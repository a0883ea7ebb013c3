"""The blocks that Transformers are stacked from."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import ShardingRules
from jaxlab.core.typing import Array, Bool, Float, Int
from jaxlab.nn.activation import GATES, Activation, GatedActivation, activation
from jaxlab.nn.attention import AttentionOptions, KeyValues, MultiHeadAttention
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.norm import Norm, make_norm

__all__ = ["TENSOR_RULES", "Block", "Mlp", "drop_path"]

# How to split these blocks over the `tensor` axis of a mesh: heads and hidden units,
# so that each block needs one sum over devices after attention and one after the MLP.
TENSOR_RULES: ShardingRules = (
    (r"(query|key|value)/kernel", P(None, "tensor", None)),
    (r"(query|key|value)/bias", P("tensor", None)),
    (r"attention/out/kernel", P("tensor", None, None)),
    (r"mlp/(up|gate)/kernel", P(None, "tensor")),
    (r"mlp/(up|gate)/bias", P("tensor")),
    (r"mlp/down/kernel", P("tensor", None)),
)


class Mlp(nn.Module):
    """Two dense layers with an activation between them.

    Attributes:
        hidden_dim: Width between the layers.
        act: Name of the activation; a gated one has a third layer, `gate`.
        dropout_rate: Share of units dropped after each layer, in [0, 1).
        use_bias: Whether the layers have biases.
        dtype: Of the computation.
    """

    hidden_dim: int
    act: Activation | GatedActivation = "gelu"
    dropout_rate: float = 0.0
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], *, train: bool) -> Array:
        options: dict[str, Any] = {
            "kernel_init": nn.initializers.xavier_uniform(),
            "bias_init": nn.initializers.normal(1e-6),
            "use_bias": self.use_bias,
            "dtype": self.dtype,
        }
        # Rows of one matrix: over two axes, the product of a kernel's gradient would
        # copy what it multiplies.
        shape, x = x.shape, x.reshape(-1, x.shape[-1])
        hidden = nn.Dense(self.hidden_dim, name="up", **options)(x)
        if self.act in GATES:
            gate = nn.Dense(self.hidden_dim, name="gate", **options)(x)
            hidden = activation(GATES[self.act])(gate) * hidden
        else:
            hidden = activation(self.act)(hidden)  # type: ignore[arg-type]
        hidden = Dropout(self.dropout_rate)(hidden, deterministic=not train)
        out = nn.Dense(x.shape[-1], name="down", **options)(hidden)
        out = Dropout(self.dropout_rate)(out, deterministic=not train)
        return out.reshape(shape)


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


class Block(nn.Module):
    """Attention to itself, perhaps to a memory, then an MLP, each added to its input.

    Normalised before each part, `x + part(norm(x))`, as in ViT and GPT-2; or after it,
    `norm(x + part(x))`, as in the first Transformer.

    Attributes:
        width: Of the tokens.
        num_heads: Attention heads.
        hidden_dim: Width inside the MLP.
        num_kv_heads: See `MultiHeadAttention`.
        norm_first: Normalise before the parts, not after.
        norm: `layer`, or `rms` without mean and bias.
        norm_eps: Added to the variance.
        act: Activation of the MLP.
        use_bias: Whether projections and MLP have biases.
        dropout_rate: After attention and in the MLP.
        has_drop_path: Whether the call's `drop_path_rate` can be above 0.
        is_causal: Tokens do not see later ones.
        has_memory: Attends to a memory too: the block of a decoder.
        rotary: See `MultiHeadAttention`; for the attention to itself.
        dtype: Of the computation.
        options: Variants of both attentions.

    References:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.1; Xiong et al.
        2020, https://arxiv.org/abs/2002.04745, on where to normalise.
    """

    width: int
    num_heads: int
    hidden_dim: int
    num_kv_heads: int = 0
    norm_first: bool = True
    norm: Norm = "layer"
    norm_eps: float = 1e-6
    act: Activation | GatedActivation = "gelu"
    use_bias: bool = True
    dropout_rate: float = 0.0
    has_drop_path: bool = False
    is_causal: bool = False
    has_memory: bool = False
    rotary: float = 0.0
    dtype: Any = jnp.float32
    options: AttentionOptions = AttentionOptions()

    def setup(self) -> None:
        def norm() -> Any:
            return make_norm(self.norm, self.norm_eps, self.dtype)

        shared = (self.width, self.num_heads, self.num_kv_heads, self.use_bias)
        self.attention_norm = norm()
        self.attention = MultiHeadAttention(
            *shared, self.is_causal, self.rotary, self.dtype, self.options
        )
        if self.has_memory:
            self.memory_norm = norm()
            self.memory_attention = MultiHeadAttention(
                *shared, dtype=self.dtype, options=self.options
            )
        self.mlp_norm = norm()
        self.mlp = Mlp(
            self.hidden_dim, self.act, self.dropout_rate, self.use_bias, self.dtype
        )
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self,
        x: Float[Array, "b t d"],
        drop_path_rate: Float[Array, ""] | float = 0.0,
        visible: Bool[Array, "#b #h #t t"] | None = None,
        memory: Float[Array, "b m e"] | None = None,
        memory_visible: Bool[Array, "#b #h #t m"] | None = None,
        bias: Float[Array, "#b #h #t t"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b t d"]:
        """Apply the block.

        Args:
            x: Tokens.
            drop_path_rate: Chance of an example to skip a part, see `drop_path`.
            visible: Which tokens see which.
            memory: What a decoder reads: the outputs of the encoder.
            memory_visible: Which tokens see which of the memory.
            bias: What is added to the scores of the attention to itself.
            train: Whether to drop.

        Raises:
            InputError: If there is a memory without `has_memory`, or none with it.
        """
        if self.has_memory != (memory is not None):
            raise InputError(
                "a block takes a memory if and only if it was made with has_memory"
            )

        def attend(y: Array) -> Array:
            return self._drop(self.attention(y, None, visible, bias), train)

        def read(y: Array) -> Array:
            y = self.memory_attention(y, memory, memory_visible)
            return self._drop(y, train)

        def skip(branch: Array) -> Array:
            if not (train and self.has_drop_path):
                return branch
            return drop_path(self.make_rng("dropout"), branch, drop_path_rate)

        x = self._add(x, self.attention_norm, lambda y: skip(attend(y)))
        if self.has_memory:
            x = self._add(x, self.memory_norm, lambda y: skip(read(y)))
        return self._add(x, self.mlp_norm, lambda y: skip(self.mlp(y, train=train)))

    @nn.nowrap
    def make_cache(self, rows: int, max_len: int) -> KeyValues:
        """Make room for `max_len` tokens of each row, for `extend`."""
        heads = self.num_kv_heads or self.num_heads
        shape = (rows, heads, max_len, self.width // self.num_heads)
        return KeyValues(*(jnp.zeros(shape, self.dtype) for _ in range(2)))

    def read(self, memory: Float[Array, "b m e"]) -> KeyValues:
        """Project a memory once for all steps of `extend`."""
        return self.memory_attention.read(memory)

    def extend(
        self,
        x: Float[Array, "b t d"],
        cache: KeyValues,
        start: Int[Array, " b"],
        memory: KeyValues | None = None,
        memory_visible: Bool[Array, "#b #h #t m"] | None = None,
    ) -> tuple[Float[Array, "b t d"], KeyValues]:
        """Pass new tokens on, given the cache of earlier ones; nothing is dropped.

        See `MultiHeadAttention.extend`; `memory` comes from `read`.
        """

        def attend(y: Array) -> Array:
            nonlocal cache
            y, cache = self.attention.extend(y, cache, start)
            return y

        def read(y: Array) -> Array:
            assert memory is not None
            return self.memory_attention.look(y, memory, memory_visible)

        x = self._add(x, self.attention_norm, attend)
        if self.has_memory:
            x = self._add(x, self.memory_norm, read)
        x = self._add(x, self.mlp_norm, lambda y: self.mlp(y, train=False))
        return x, cache

    def _add(self, x: Array, norm: nn.Module, part: Callable[[Array], Array]) -> Array:
        if self.norm_first:
            return x + part(norm(x))
        return norm(x + part(x))

    def _drop(self, x: Array, train: bool) -> Array:
        return self.dropout(x, deterministic=not train)
