"""What the Transformers of tokens share: sizes, and the state of a decoder."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count, Natural, NotNegative, Positive, Rate, check_fields
from jaxlab.core.typing import Array, Int
from jaxlab.nn.activation import Activation, GatedActivation
from jaxlab.nn.norm import Norm, make_norm
from jaxlab.nn.stack import Stack
from jaxlab.nn.tokens import Positions, TokenEmbed, check_numbers

__all__ = ["DecoderState", "TransformerSizes"]


class DecoderState(NamedTuple):
    """What changes while decoding, rows first.

    Attributes:
        cache: Keys and values of the tokens so far, by layer.
        length: Tokens so far of each row.
    """

    cache: Any
    length: Any

    def feed(self, token: Int[Array, " b"]) -> Int[Array, "b 1"]:
        """Return the token to read next, if there is room for it.

        Inside `jax.jit` a row without room reads -1, whose vector is NaN: its logits
        are NaN too, and nothing that was overwritten goes on unseen.

        Raises:
            InputError: If a known length is out of range.
        """
        room = jax.tree.leaves(self.cache)[0].shape[-2]
        what = f"those of a state with room for {room} tokens (max_len)"
        check_numbers(self.length, 0, room - 1, "length", what)
        has_room = (self.length >= 0) & (self.length < room)
        return jnp.where(has_room, token, -1)[:, None]


class TransformerSizes(nn.Module, kw_only=True):
    """Fields that the three networks share.

    Attributes:
        width: Channels of the residual stream.
        num_heads: Attention heads.
        hidden_dim: Width inside the MLPs; 0: four times `width`.
        num_kv_heads: See `MultiHeadAttention`.
        act: Activation of the MLPs; `swiglu` and `geglu` are gated.
        norm: `layer`, or `rms`.
        norm_eps: Added to the variance.
        positions: See `TokenEmbed`; `rotary` turns queries and keys of each layer.
        max_len: Learned positions.
        rotary_base: Base of the rotary frequencies.
        use_bias: Whether projections and MLPs have biases.
        dropout_rate: After embeddings, attention and in the MLPs.
        scan: See `Stack`.
        remat: See `Stack`.
        dtype: Of the computation; parameters and logits are float32.
    """

    width: Count = 512
    num_heads: Count = 8
    hidden_dim: Natural = 0
    num_kv_heads: Natural = 0
    act: Activation | GatedActivation = "relu"
    norm: Norm = "layer"
    norm_eps: NotNegative = 1e-6
    positions: Positions = "interleaved"
    max_len: Count = 512
    rotary_base: Positive = 10_000.0
    use_bias: bool = True
    dropout_rate: Rate = 0.1
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.nowrap
    def stack(self, depth: int, **fields: Any) -> Stack:
        """Give `depth` blocks of these sizes; `fields` are others of `Block`."""
        if depth < 1:
            raise InputError(f"depth {depth} must be at least 1")
        check_fields(self)
        block = {
            "width": self.width,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim or 4 * self.width,
            "num_kv_heads": self.num_kv_heads,
            "norm": self.norm,
            "norm_eps": self.norm_eps,
            "act": self.act,
            "use_bias": self.use_bias,
            "dropout_rate": self.dropout_rate,
            "rotary": self.rotary_base if self.positions == "rotary" else 0.0,
            "dtype": self.dtype,
        }
        return Stack(depth, {**block, **fields}, scan=self.scan, remat=self.remat)

    @nn.nowrap
    def embed(self, vocab_size: int, scale: bool) -> TokenEmbed:
        """Give a table of tokens of these sizes."""
        return TokenEmbed(
            vocab_size, self.width, self.positions, self.max_len, scale, self.dtype
        )

    @nn.nowrap
    def make_norm(self) -> Any:
        """Give a normalisation of these sizes."""
        return make_norm(self.norm, self.norm_eps, self.dtype)

    @nn.nowrap
    def check_len(self, max_len: int) -> None:
        """Refuse to make room for more tokens than there are learned positions."""
        if max_len < 1 or (self.positions == "learned" and max_len > self.max_len):
            raise InputError(
                f"max_len {max_len} must be at least 1 and, with learned positions, at "
                f"most their number, {self.max_len}"
            )
