"""Recurrent encoder and decoder, with attention or without.

Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks",
https://arxiv.org/abs/1409.3215; Bahdanau et al. 2015, "Neural Machine Translation by
Jointly Learning to Align and Translate", https://arxiv.org/abs/1409.0473; Luong et al.
2015, "Effective Approaches to Attention-based Neural Machine Translation",
https://arxiv.org/abs/1508.04025.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count, Natural, Rate, check_fields
from jaxlab.core.typing import Array, Bool, Float, Int
from jaxlab.models.recurrent.language import Words
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.recurrent import Carry, Cell, Recurrent, RecurrentStack, StackCarry
from jaxlab.nn.recurrent_kernels import step_cell
from jaxlab.nn.tokens import look_up

__all__ = ["Attention", "Memory", "Seq2SeqRNN"]

Attention: TypeAlias = Literal["luong", "bahdanau", "none"]


class Memory(NamedTuple):
    """What the decoder attends to: constant during decoding.

    Attributes:
        values: Outputs of the encoder, (b, m, d).
        keys: The same, projected to be compared with a state, (b, m, h).
        is_token: False at padding, (b, m).
    """

    values: Array
    keys: Array
    is_token: Array


def _softmax(scores: Float[Array, "b t m"], is_token: Bool[Array, "b m"]) -> Array:
    """Weigh the tokens; all weights are zero where there is no token."""
    visible = is_token[:, None]
    scores = scores.astype(jnp.float32)
    scores = jnp.where(visible, scores, jnp.finfo(jnp.float32).min)
    return jnp.where(visible, jax.nn.softmax(scores, axis=-1), 0)


class _AttentiveLayer(Recurrent):
    r"""A layer whose input at each step is a token and what its last state attends to.

    Bahdanau et al. 2015, appendix A.1.2 and A.2.2: weights are the softmax of
    $v^T \tanh(W s_{t-1} + U h_j)$.
    """

    @nn.compact
    def attend(
        self, x: Array, carry: Carry, memory: Memory
    ) -> tuple[Array, Array, Array, Carry]:
        """Run over time.

        Returns:
            Outputs (b, t, h), contexts (b, t, d), weights (b, t, m), and the carry.
        """
        split = x.shape[-1]
        weights = self._weights(split + memory.values.shape[-1])
        init, h = nn.initializers.xavier_uniform(), self.width
        query = self.param("query_kernel", init, (h, h)).astype(self.dtype)
        score = self.param("score_kernel", init, (h, 1)).astype(self.dtype)

        @jax.checkpoint  # else tanh of (b, m, h) is kept for every step
        def look(hidden: Array, memory: Memory) -> tuple[Array, Array]:
            asked = (hidden.astype(self.dtype) @ query)[:, None]
            scores = jnp.tanh(memory.keys + asked) @ score
            seen = _softmax(jnp.swapaxes(scores, 1, 2), memory.is_token)
            return seen[:, 0], (seen.astype(self.dtype) @ memory.values)[:, 0]

        def step(carry: Carry, projected: Array) -> tuple[Carry, Any]:
            seen, context = look(carry[0], memory)
            projected += context @ weights.input_kernel[split:]
            carry = step_cell(self.cell, weights, projected, carry)
            return carry, (carry[0], context, seen)

        projected = x @ weights.input_kernel[:split] + weights.bias.reshape(1, 1, -1)
        carry, outputs = jax.lax.scan(step, carry, jnp.swapaxes(projected, 0, 1))
        hidden, context, seen = (jnp.swapaxes(array, 0, 1) for array in outputs)
        return hidden.astype(self.dtype), context, seen, carry


class Seq2SeqRNN(nn.Module):
    r"""Recurrent encoder and decoder.

    The decoder starts from the encoder's last states. With attention, the softmax
    reads $\tanh(W [h_t; c_t])$, where $c_t$ averages the encoder's outputs:

    - `luong`: with the softmax of $h_t^T W h_j$, `general` without input feeding, so
      that all steps attend in one product of matrices;
    - `bahdanau`: with an MLP of the *previous* state of the first layer, which reads
      $c_t$ beside the token; one scan holds it, further layers run on its outputs.

    Attributes:
        vocab_size: Tokens of the source.
        target_vocab_size: Tokens of the target; 0: one vocabulary and one table of
            embeddings for both.
        width: Width of the decoder's states; a bidirectional encoder has half of it in
            each direction.
        depth: Layers of the encoder and of the decoder.
        cell: See `Recurrent`.
        attention: `luong`, `bahdanau` or `none`.
        bidirectional: Whether the encoder also reads backwards.
        embed_width: Width of embeddings; 0: `width`.
        tied: Score target tokens with their embeddings, see `Words`.
        dropout_rate: Of embeddings and of each layer's outputs.
        forget_bias: See `Recurrent`.
        pad: Token that the encoder leaves out.
        dtype: Of the computation; parameters and logits are float32.
    """

    vocab_size: Count
    target_vocab_size: Natural = 0
    width: Count = 256
    depth: Count = 1
    cell: Cell = "lstm"
    attention: Attention = "luong"
    bidirectional: bool = True
    embed_width: Natural = 0
    tied: bool = False
    dropout_rate: Rate = 0.0
    forget_bias: float = 1.0
    pad: int = 0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self._check()
        embed_width = self.embed_width or self.width
        self.target_words = Words(
            self.target_vocab_size or self.vocab_size,
            embed_width,
            self.tied,
            self.dtype,
        )
        if self.target_vocab_size:
            self.source_words = nn.Embed(self.vocab_size, embed_width)
        options: dict[str, Any] = {
            "cell": self.cell,
            "dropout_rate": self.dropout_rate,
            "forget_bias": self.forget_bias,
            "dtype": self.dtype,
        }
        directions = 2 if self.bidirectional else 1
        self.encoder = RecurrentStack(
            self.width // directions,
            self.depth,
            bidirectional=self.bidirectional,
            **options,
        )
        depth = self.depth
        if self.attention == "bahdanau":
            self.attentive = _AttentiveLayer(
                self.width,
                self.cell,
                forget_bias=self.forget_bias,
                dtype=self.dtype,
            )
            depth -= 1
        if depth:
            self.decoder = RecurrentStack(self.width, depth, **options)
        if self.attention != "none":
            dense: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}
            self.key = nn.Dense(self.width, **dense)
            self.readout = nn.Dense(self.width, **dense)
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self,
        source: Int[Array, "b s"],
        targets: Int[Array, "b t"],
        *,
        train: bool = False,
    ) -> Float[Array, "b t v"]:
        """Give the logits of the token after each target token.

        Args:
            source: Tokens, then padding.
            targets: Tokens from the first (BOS) on, then padding.
            train: Whether to drop units.
        """
        memory, carry = self._encode(source, train)
        x = self.target_words(targets)
        return self._decode(x, carry, memory, train)[0]

    def prepare(
        self, source: Int[Array, "b s"], max_len: int = 0
    ) -> tuple[Memory | None, StackCarry]:
        """Encode sources, to decode with `step`.

        Args:
            source: Tokens, then padding.
            max_len: Not needed: a state does not grow.

        Returns:
            The context (None without attention) and the state before the first token.
        """
        return self._encode(source, False)

    def step(
        self, token: Int[Array, " b"], state: StackCarry, context: Memory | None
    ) -> tuple[Float[Array, "b v"], StackCarry]:
        """Read one target token and give the logits of the next, and the state."""
        x = self.target_words(token[:, None])
        logits, state = self._decode(x, state, context, False)
        return logits[:, 0], state

    def _check(self) -> None:
        check_fields(self)
        if self.bidirectional and self.width % 2:
            raise InputError(
                f"width {self.width} cannot be halved between the directions of the "
                f"encoder; use an even one or bidirectional=False"
            )

    def _encode(self, source: Array, train: bool) -> tuple[Memory | None, StackCarry]:
        if self.target_vocab_size:
            x = look_up(self.source_words.embedding.astype(self.dtype), source)
        else:
            x = self.target_words(source)
        x = self.dropout(x, deterministic=not train)
        is_token = source != self.pad
        outputs, ends = self.encoder(x, None, is_token, train=train)
        if self.bidirectional:  # both halves of a layer start one of the decoder's
            ends = tuple(
                tuple(
                    jnp.concatenate(pair, axis=-1) for pair in zip(*both, strict=True)
                )
                for both in zip(ends[::2], ends[1::2], strict=True)
            )
        if self.attention == "none":
            return None, ends
        return Memory(outputs, self.key(outputs), is_token), ends

    def _decode(
        self, x: Array, carry: StackCarry, memory: Memory | None, train: bool
    ) -> tuple[Array, StackCarry]:
        def drop(x: Array) -> Array:
            return self.dropout(x, deterministic=not train)

        x = drop(x)
        if self.attention == "bahdanau" and memory is not None:
            x, context, seen, first = self.attentive.attend(x, carry[0], memory)
            rest: StackCarry = ()
            if self.depth > 1:
                x, rest = self.decoder(drop(x), carry[1:], train=train)
            carry = (first, *rest)
        else:
            x, carry = self.decoder(x, carry, train=train)
        if memory is None:
            return self.target_words.logits(drop(x)), carry
        if self.attention == "luong":
            seen = _softmax(x @ jnp.swapaxes(memory.keys, 1, 2), memory.is_token)
            context = seen.astype(self.dtype) @ memory.values
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "attention_weights", seen[:, None])
        x = jnp.tanh(self.readout(jnp.concatenate([x, context], axis=-1)))
        return self.target_words.logits(drop(x)), carry
