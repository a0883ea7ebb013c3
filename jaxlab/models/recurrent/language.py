"""Recurrent language model and classifier of texts: LSTM, GRU or Elman's network.

Hochreiter & Schmidhuber 1997, "Long Short-Term Memory"; Cho et al. 2014, "Learning
Phrase Representations using RNN Encoder-Decoder", https://arxiv.org/abs/1406.1078;
Mikolov et al. 2010, "Recurrent neural network based language model".
"""

import functools
from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.ranges import Count, Natural, Rate, check_fields
from jaxlab.core.typing import Array, Bool, Float, Int
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.recurrent import Cell, RecurrentStack, StackCarry
from jaxlab.nn.tokens import look_up, read_prompts

__all__ = ["RNNLM", "Pool", "RNNClassifier", "Words"]

Pool: TypeAlias = Literal["mean", "last"]


class Words(nn.Module):
    """Embedding of tokens, and the layer that scores all tokens.

    Attributes:
        vocab_size: Tokens.
        embed_width: Width of an embedding.
        tied: Score with the embeddings themselves (Press & Wolf 2017,
            https://arxiv.org/abs/1608.05859); a hidden state of another width is
            projected to theirs first.
        dtype: Of embeddings; logits are float32.
    """

    vocab_size: int
    embed_width: int
    tied: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.table = nn.Embed(self.vocab_size, self.embed_width, dtype=self.dtype)
        if self.tied:
            self.to_embedding = nn.Dense(
                self.embed_width, use_bias=False, dtype=self.dtype
            )
            self.bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,))
        else:
            self.out = nn.Dense(self.vocab_size)

    def __call__(self, tokens: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """Embed tokens; see `look_up` for those that there are not."""
        return look_up(self.table.embedding.astype(self.dtype), tokens)

    def logits(self, hidden: Float[Array, "b t h"]) -> Float[Array, "b t v"]:
        """Score every token, in float32."""
        if not self.tied:
            return self.out(hidden.astype(jnp.float32))
        if hidden.shape[-1] != self.embed_width:
            hidden = self.to_embedding(hidden)
        scores = hidden.astype(jnp.float32) @ self.table.embedding.T
        return scores + self.bias.reshape(1, 1, -1)


class RNNLM(nn.Module):
    """Language model: each token's logits are for the next token.

    Attributes:
        vocab_size: Tokens.
        width: Width of the states.
        depth: Layers.
        cell: See `Recurrent`.
        embed_width: Width of embeddings; 0: `width`.
        tied: See `Words`.
        dropout_rate: Of embeddings and of each layer's outputs.
        forget_bias: See `Recurrent`.
        pad: Token that changes nothing, in a call as in `prefill` and `step`. None:
            there is no padding.
        dtype: Of the computation; parameters and logits are float32.
    """

    vocab_size: Count
    width: Count = 256
    depth: Count = 1
    cell: Cell = "lstm"
    embed_width: Natural = 0
    tied: bool = False
    dropout_rate: Rate = 0.0
    forget_bias: float = 1.0
    pad: int | None = None
    dtype: Any = jnp.float32

    def setup(self) -> None:
        check_fields(self)
        self.words = Words(
            self.vocab_size, self.embed_width or self.width, self.tied, self.dtype
        )
        self.stack = RecurrentStack(
            self.width,
            self.depth,
            self.cell,
            dropout_rate=self.dropout_rate,
            forget_bias=self.forget_bias,
            dtype=self.dtype,
        )
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self, tokens: Int[Array, "b t"], *, train: bool = False
    ) -> Float[Array, "b t v"]:
        """Give the logits of the token after each token."""
        x = self.features(
            self.embed_tokens(tokens), self._is_token(tokens), train=train
        )
        return self.words.logits(self.dropout(x, deterministic=not train))

    def embed_tokens(self, tokens: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """Look up the vectors of tokens."""
        return self.words(tokens)

    def features(
        self,
        vectors: Float[Array, "b t d"],
        is_token: Bool[Array, "b t"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b t h"]:
        """Run vectors of tokens through the layers."""
        x = self.dropout(vectors, deterministic=not train)
        return self.stack(x, None, is_token, train=train)[0]

    def prefill(
        self, tokens: Int[Array, "b t"], lengths: Int[Array, " b"], max_len: int = 0
    ) -> tuple[Int[Array, " b"], StackCarry]:
        """Read prompts up to their last tokens, to go on with `step`.

        Args:
            tokens: Prompts, with anything behind them.
            lengths: Tokens of each prompt, at least 1.
            max_len: Not needed: a state does not grow.

        Returns:
            The last token of each prompt, and the state before it.
        """
        tokens, begin = read_prompts(tokens, lengths)
        is_read = jnp.arange(tokens.shape[1])[None] < lengths[:, None] - 1
        is_token = self._is_token(tokens)
        is_read = is_read if is_token is None else is_read & is_token
        _, state = self.stack(self.words(tokens), None, is_read, train=False)
        return begin, state

    def step(
        self, token: Int[Array, " b"], state: StackCarry, context: None = None
    ) -> tuple[Float[Array, "b v"], StackCarry]:
        """Read one token more and give the logits of the next, and the state."""
        is_token = self._is_token(token[:, None])
        x = self.words(token[:, None])
        x, state = self.stack(x, state, is_token, train=False)
        return self.words.logits(x)[:, 0], state

    @nn.nowrap
    def _is_token(self, tokens: Array) -> Array | None:
        return None if self.pad is None else tokens != self.pad


class RNNClassifier(nn.Module):
    """Classifier of token sequences by a bidirectional stack.

    Attributes:
        vocab_size: Tokens.
        num_classes: Outputs.
        width: Width of the states, each direction.
        depth: Layers.
        cell: See `Recurrent`.
        bidirectional: Whether to read backwards too.
        pool: `mean` of the outputs at all tokens, or the `last` state of each
            direction.
        embed_width: Width of embeddings; 0: `width`.
        dropout_rate: Of embeddings and of each layer's outputs.
        forget_bias: See `Recurrent`.
        pad: Token that changes nothing; None: there is no padding.
        dtype: Of the computation; parameters and logits are float32.
    """

    vocab_size: Count
    num_classes: Count
    width: Count = 256
    depth: Count = 1
    cell: Cell = "lstm"
    bidirectional: bool = True
    pool: Pool = "mean"
    embed_width: Natural = 0
    dropout_rate: Rate = 0.0
    forget_bias: float = 1.0
    pad: int | None = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "b t"], *, train: bool = False
    ) -> Float[Array, "b v"]:
        """Give the logits of the classes.

        Raises:
            InputError: If a size is out of range, or `pool` not known.
        """
        check_fields(self)
        dropout = functools.partial(Dropout(self.dropout_rate), deterministic=not train)
        width = self.embed_width or self.width
        table = nn.Embed(self.vocab_size, width, name="table").embedding
        x = look_up(table.astype(self.dtype), tokens)
        is_token = None if self.pad is None else tokens != self.pad
        x, carry = RecurrentStack(
            self.width,
            self.depth,
            self.cell,
            self.bidirectional,
            self.dropout_rate,
            self.forget_bias,
            self.dtype,
            name="stack",
        )(dropout(x), None, is_token, train=train)
        if self.pool == "mean":
            sums = x.astype(jnp.float32).sum(1)  # zeros at padding
            count = x.shape[1] if is_token is None else is_token.sum(1, keepdims=True)
            pooled = sums / jnp.maximum(count, 1)
        else:
            ends = carry[-2:] if self.bidirectional else carry[-1:]
            pooled = jnp.concatenate([hidden for hidden, *_ in ends], axis=-1)
        # Zeros: the first predictions are uniform.
        head = nn.Dense(
            self.num_classes, kernel_init=nn.initializers.zeros, name="head"
        )
        return head(dropout(pooled))
