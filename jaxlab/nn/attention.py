"""Multi-head attention, with a memory of keys and values for decoding."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count, Natural, NotNegative, check_fields
from jaxlab.core.typing import Array, Bool, Float, Int
from jaxlab.nn.norm import Norm, make_norm
from jaxlab.nn.positions import rotate

__all__ = [
    "AttentionOptions",
    "KeyValues",
    "MultiHeadAttention",
    "dot_product_attention",
]


class KeyValues(NamedTuple):
    """Keys and values of the tokens of a memory, `(b, g, m, k)`, `g` heads of them."""

    # Not annotated as arrays: a tree of shapes or axes has this type too.
    keys: Any
    values: Any


def dot_product_attention(
    queries: Float[Array, "b h t k"],
    keys: Float[Array, "b g m k"],
    values: Float[Array, "b g m k"],
    visible: Bool[Array, "#b #h #t m"] | None = None,
    bias: Float[Array, "#b #h #t m"] | None = None,
    *,
    causal: bool = False,
) -> Float[Array, "b h t k"]:
    r"""Scaled dot-product attention, $\mathrm{softmax}(QK^T/\sqrt{k} + B)V$.

    The softmax is float32 whatever the input. Half precision goes through
    `jax.nn.dot_product_attention`, on a GPU by cuDNN's fused kernel where it can; for
    float32, where no fused kernel exists, heads come first in all products, which XLA
    runs faster on a CPU.

    Args:
        queries: What asks.
        keys: What is matched; each of `g` heads serves `h / g` heads of queries.
        values: What is averaged.
        visible: True where a query may see a key. A query that sees nothing gets zeros.
        bias: What is added to the scores, such as relative positions; None: nothing.
        causal: Query t sees keys 0 to t only, on top of `visible`.

    Raises:
        InputError: If `g` does not divide `h`.

    References:
        Vaswani et al. 2017, "Attention Is All You Need",
        https://arxiv.org/abs/1706.03762, equation 1; Ainslie et al. 2023, "GQA",
        https://arxiv.org/abs/2305.13245, for fewer heads of keys than of queries.
    """
    if queries.shape[1] % keys.shape[1]:
        raise InputError(
            f"{keys.shape[1]} heads of keys do not divide {queries.shape[1]} of queries"
        )
    if queries.dtype == jnp.float32:
        weights = _weights(queries, keys, visible, bias, causal)
        grouped = _group(weights, keys.shape[1])
        out = jnp.einsum("bgrtm,bgmk->bgrtk", grouped, values)
        return _hide_blind(out.reshape(queries.shape), visible, causal)
    has_kernel = bias is None and _has_kernel(queries, keys, visible)
    mask = visible
    if has_kernel and mask is not None:  # the kernel takes no mask of one row for all
        rows = (*mask.shape[:2], queries.shape[2], mask.shape[3])
        mask = jnp.broadcast_to(mask, rows)
    q, k, v = (jnp.swapaxes(array, 1, 2) for array in (queries, keys, values))
    out = jax.nn.dot_product_attention(
        q,
        k,
        v,
        bias=bias,
        mask=mask,
        is_causal=causal,
        implementation="cudnn" if has_kernel else None,
    )
    return _hide_blind(jnp.swapaxes(out, 1, 2), visible, causal)


def _weights(
    queries: Array,
    keys: Array,
    visible: Array | None,
    bias: Array | None,
    causal: bool,
) -> Float[Array, "b h t m"]:
    """Return the softmax of the scores, float32."""
    # Scaled here, where it touches (t, k) numbers a head and not (t, m).
    queries = queries * queries.shape[-1] ** -0.5
    logits = jnp.einsum("bgrtk,bgmk->bgrtm", _group(queries, keys.shape[1]), keys)
    logits = logits.reshape(*queries.shape[:3], -1).astype(jnp.float32)
    if bias is not None:
        logits += bias.astype(jnp.float32)
    if causal:
        triangle = _triangle(*logits.shape[2:])
        visible = triangle if visible is None else visible & triangle
    if visible is not None:
        logits = jnp.where(visible, logits, jnp.finfo(logits.dtype).min)
    return jax.nn.softmax(logits, axis=-1)


def _group(array: Float[Array, "b h t x"], groups: int) -> Float[Array, "b g r t x"]:
    b, h, *rest = array.shape
    return array.reshape(b, groups, h // groups, *rest)


def _triangle(t: int, m: int) -> Bool[Array, "1 1 t m"]:
    """Show each query the keys up to its own number."""
    return (jnp.arange(m)[None] <= jnp.arange(t)[:, None])[None, None]


def _hide_blind(
    out: Float[Array, "b h t x"], visible: Array | None, causal: bool
) -> Float[Array, "b h t x"]:
    """Zero what queries that see nothing got: the mean of all values."""
    if visible is None:
        return out
    if causal:
        visible = visible & _triangle(out.shape[2], visible.shape[3])
    return out * visible.any(axis=-1, keepdims=True).astype(out.dtype)


def _has_kernel(queries: Array, keys: Array, visible: Array | None) -> bool:
    """Tell whether cuDNN's fused attention takes this: half precision on a GPU."""
    width, lengths = queries.shape[-1], (queries.shape[2], keys.shape[2])
    has_even_mask = visible is None or not any(length % 2 for length in lengths)
    on_gpu, is_half = jax.default_backend() == "gpu", queries.dtype.itemsize == 2
    return on_gpu and is_half and width % 8 == 0 and width <= 128 and has_even_mask


@dataclasses.dataclass(frozen=True)
class AttentionOptions:
    """Variants of attention that published networks differ in.

    Attributes:
        qkv_bias: Whether queries, keys and values have biases; None: as the output.
        qk_norm: Normalisation of the queries and keys of each head, with parameters of
            its own, before rotary positions (Dehghani et al. 2023,
            https://arxiv.org/abs/2302.05442); None: none.
        norm_eps: Added to the variance of that normalisation.
    """

    qkv_bias: bool | None = None
    qk_norm: Norm | None = None
    norm_eps: float = 1e-6


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
        width: Of the tokens, in and out.
        num_heads: Heads; divides the width.
        num_kv_heads: Heads of keys and values, which divides `num_heads`: fewer of them
            make decoding lighter (grouped-query attention). 0: as many as heads.
        use_bias: Whether the four projections have biases.
        causal: Tokens see themselves and what comes before them only.
        rotary: Base of rotary positions, usually 10,000; 0: none.
        dtype: Of the computation; parameters are float32.
        options: Biases of queries, keys and values; their normalisation.
    """

    width: Count
    num_heads: Count
    num_kv_heads: Natural = 0
    use_bias: bool = True
    causal: bool = False
    rotary: NotNegative = 0.0
    dtype: Any = jnp.float32
    options: AttentionOptions = AttentionOptions()

    def setup(self) -> None:
        check_fields(self)
        if self.width % self.num_heads:
            raise InputError(
                f"num_heads {self.num_heads} does not divide the width {self.width}"
            )
        if self.num_heads % (self.num_kv_heads or 1):
            raise InputError(
                f"num_kv_heads {self.num_kv_heads} does not divide num_heads "
                f"{self.num_heads}"
            )
        options = self.options
        self.has_qkv_bias = (
            self.use_bias if options.qkv_bias is None else options.qkv_bias
        )

        def projection(num_heads: int) -> _Projection:
            head_width = self.width // self.num_heads
            return _Projection(num_heads, head_width, self.has_qkv_bias)

        if options.qk_norm is not None:
            self.query_norm, self.key_norm = (
                make_norm(options.qk_norm, options.norm_eps, self.dtype)
                for _ in range(2)
            )
        self.query = projection(self.num_heads)
        self.key = projection(self.num_kv_heads or self.num_heads)
        self.value = projection(self.num_kv_heads or self.num_heads)
        self.out = nn.DenseGeneral(
            self.width,
            axis=(-2, -1),
            use_bias=self.use_bias,
            kernel_init=nn.initializers.xavier_uniform(),
            dtype=self.dtype,
        )

    def __call__(
        self,
        x: Float[Array, "b t d"],
        memory: Float[Array, "b m e"] | None = None,
        visible: Bool[Array, "#b #h #t m"] | None = None,
        bias: Float[Array, "#b #h #t m"] | None = None,
    ) -> Float[Array, "b t d"]:
        """Attend to `memory`, or to the tokens themselves.

        Args:
            x: Tokens that ask.
            memory: Tokens that are read; None: `x`.
            visible: True where a token may see another; None: everywhere.
            bias: What is added to the scores, see `dot_product_attention`; `look` and
                `extend`, which decode step by step, take none.
        """
        if memory is not None:
            queries = self._project_queries(x)
            return self._attend(queries, self.read(memory), visible, bias)
        queries, keys, values = self._project_all(x)
        if self.rotary:
            positions = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
            queries, keys = self._rotate(positions, queries, keys)
        memory_of_x = KeyValues(keys, values)
        return self._attend(queries, memory_of_x, visible, bias, self.causal)

    def read(self, memory: Float[Array, "b m e"]) -> KeyValues:
        """Project a memory that does not change, once for all steps of decoding."""
        keys, values = self._project(memory, self.key, self.value)
        return KeyValues(self._normed(keys, "key_norm"), values)

    def look(
        self,
        x: Float[Array, "b t d"],
        memory: KeyValues,
        visible: Bool[Array, "#b #h #t m"] | None = None,
    ) -> Float[Array, "b t d"]:
        """Attend to a memory that `read` has projected."""
        return self._attend(self._project_queries(x), memory, visible)

    def extend(
        self, x: Float[Array, "b t d"], cache: KeyValues, start: Int[Array, " b"]
    ) -> tuple[Float[Array, "b t d"], KeyValues]:
        """Attend to earlier tokens and the new ones, and remember these.

        Args:
            x: New tokens.
            cache: Keys and values of earlier tokens, with room for the new ones: what
                comes after its end is written over its last places.
            start: Earlier tokens of each row, whose places are filled.

        Returns:
            The outputs for the new tokens, and the cache with them in it.
        """
        queries, *new = self._project_all(x)
        positions = start[:, None] + jnp.arange(x.shape[1])[None]
        if self.rotary:
            queries, new[0] = self._rotate(positions, queries, new[0])
        write = jax.vmap(lambda a, u, i: jax.lax.dynamic_update_slice(a, u, (0, i, 0)))
        keys, values = (
            write(old, added.astype(old.dtype), start)
            for old, added in zip(cache, new, strict=True)
        )
        places = jnp.arange(keys.shape[2])[None, None, None]
        visible = places <= positions[:, None, :, None]
        cache = KeyValues(keys, values)
        return self._attend(queries, cache, visible), cache

    def _attend(
        self,
        queries: Array,
        memory: KeyValues,
        visible: Array | None,
        bias: Array | None = None,
        causal: bool = False,
    ) -> Array:
        if self.is_mutable_collection("intermediates"):
            weights = _weights(queries, memory.keys, visible, bias, causal)
            weights = _hide_blind(weights, visible, causal)
            self.sow("intermediates", "attention_weights", weights)
        heads = dot_product_attention(queries, *memory, visible, bias, causal=causal)
        b, h, t, k = heads.shape
        rows = jnp.swapaxes(heads, 1, 2).reshape(b * t, h, k)  # see `_project`
        return self.out(rows).reshape(b, t, -1)

    def _rotate(self, positions: Array, *arrays: Array) -> list[Array]:
        return [rotate(a, positions, temperature=self.rotary) for a in arrays]

    def _project_all(self, x: Array) -> list[Array]:
        """Return queries, keys and values, from one product where heads are equal."""
        if self.num_kv_heads in (0, self.num_heads):
            queries, keys, values = self._project(x, self.query, self.key, self.value)
        else:
            (queries,) = self._project(x, self.query)
            keys, values = self._project(x, self.key, self.value)
        queries = self._normed(queries, "query_norm")
        return [queries, self._normed(keys, "key_norm"), values]

    def _project_queries(self, x: Array) -> Array:
        (queries,) = self._project(x, self.query)
        return self._normed(queries, "query_norm")

    def _normed(self, heads: Array, name: str) -> Array:
        """Normalise each head, where `qk_norm` asks for it."""
        return heads if self.options.qk_norm is None else getattr(self, name)(heads)

    def _project(
        self, x: Float[Array, "b t d"], *projections: _Projection
    ) -> Float[Array, "n b h t k"]:
        b, t, d = x.shape
        parts = [projection(d) for projection in projections]
        # Stacked between input and heads, so that heads stay split on a tensor mesh.
        kernel = jnp.stack([kernel for kernel, _ in parts], axis=1).astype(self.dtype)
        # One matrix product of all tokens: XLA's batched one is slower on a CPU.
        out = x.astype(self.dtype).reshape(b * t, d) @ kernel.reshape(d, -1)
        if self.has_qkv_bias:
            bias = jnp.stack([bias for _, bias in parts]).astype(self.dtype)
            out += bias.reshape(1, -1)
        return out.reshape(b, t, *kernel.shape[1:]).transpose(2, 0, 3, 1, 4)
