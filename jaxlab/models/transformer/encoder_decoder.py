"""Encoder-decoder Transformer.

Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762; the
defaults are the paper's base model.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.ranges import Count, Natural
from jaxlab.core.typing import Array, Float, Int
from jaxlab.models.transformer.sizes import DecoderState, TransformerSizes
from jaxlab.nn.blocks import TENSOR_RULES
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.tokens import padding_mask

__all__ = ["TENSOR_RULES", "Memory", "Transformer"]


class Memory(NamedTuple):
    """What the decoder reads: the source's keys and values by layer, and its mask."""

    layers: Any
    visible: Any


class Transformer(TransformerSizes, kw_only=True):
    """Encoder-decoder: the probabilities of a target sequence given a source.

    Padding is told by its number: no query sees padding of the source, and a source of
    nothing but padding adds zeros. Padding of the target comes last, where causality
    hides it.

    Attributes:
        vocab_size: Tokens, of both languages if `target_vocab_size` is 0.
        target_vocab_size: Tokens of the target's own vocabulary; 0: one table serves
            source, target and softmax, as in the paper.
        encoder_depth: Blocks of the encoder.
        decoder_depth: Blocks of the decoder.
        norm_first: Normalise before attention and MLP instead of after.
        final_norm: Normalise what a stack gives; None: where `norm_first`.
        tie_softmax: The target's table is the softmax's matrix too.
        has_logits_bias: Add one number a token to the logits.
        scale_embedding: See `TokenEmbed`.
        pad: Number of the padding token; None: there is no padding.
    """

    vocab_size: Count = 37_000
    target_vocab_size: Natural = 0
    encoder_depth: int = 6
    decoder_depth: int = 6
    norm_first: bool = False
    final_norm: bool | None = None
    tie_softmax: bool = True
    has_logits_bias: bool = False
    scale_embedding: bool = True
    pad: int | None = 0

    def setup(self) -> None:
        self.source_embed = self.embed(self.vocab_size, self.scale_embedding)
        self.target_embed = self.source_embed
        if self.target_vocab_size:
            size = self.target_vocab_size
            self.target_embed = self.embed(size, self.scale_embedding)
        self.encoder = self.stack(self.encoder_depth, norm_first=self.norm_first)
        self.decoder = self.stack(
            self.decoder_depth,
            norm_first=self.norm_first,
            is_causal=True,
            has_memory=True,
        )
        self.has_norm = self.norm_first if self.final_norm is None else self.final_norm
        if self.has_norm:
            self.encoder_norm, self.decoder_norm = self.make_norm(), self.make_norm()
        size = self.target_vocab_size or self.vocab_size
        if not self.tie_softmax:
            self.head = nn.Dense(size, use_bias=False)
        if self.has_logits_bias:
            self.logits_bias = self.param("logits_bias", nn.initializers.zeros, (size,))
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self,
        source: Int[Array, "b s"],
        targets: Int[Array, "b t"],
        *,
        train: bool = False,
    ) -> Float[Array, "b t v"]:
        """Give logits of the token after each target token, which saw no later ones."""
        memory = self.encode(source, train=train)
        visible = padding_mask(source, self.pad)
        x = self.target_embed(targets)
        x = self.dropout(x, deterministic=not train)
        x = self.decoder(x, None, memory, visible, train=train)
        return self._logits(x)

    def encode(
        self, source: Int[Array, "b s"], *, train: bool = False
    ) -> Float[Array, "b s d"]:
        """Give what the decoder reads of a source."""
        x = self.dropout(self.source_embed(source), deterministic=not train)
        x = self.encoder(x, padding_mask(source, self.pad), train=train)
        return self.encoder_norm(x) if self.has_norm else x

    def prepare(
        self, source: Int[Array, "b s"], max_len: int
    ) -> tuple[Memory, DecoderState]:
        """Encode a source, to decode at most `max_len` tokens with `step`.

        Returns:
            The context and the first state, for `jaxlab.models.decode.decoding`.
        """
        self.check_len(max_len)
        layers = self.decoder.read(self.encode(source))
        cache = self.decoder.make_cache(len(source), max_len)
        context = Memory(layers, padding_mask(source, self.pad))
        return context, DecoderState(cache, jnp.zeros(len(source), jnp.int32))

    def step(
        self, token: Int[Array, " b"], state: DecoderState, context: Memory
    ) -> tuple[Float[Array, "b v"], DecoderState]:
        """Feed one token a row; give the logits of the next and the new state."""
        x = self.target_embed(state.feed(token), state.length)
        x, cache = self.decoder.extend(x, *state, context.layers, context.visible)
        return self._logits(x)[:, 0], DecoderState(cache, state.length + 1)

    def _logits(self, x: Array) -> Array:
        x = self.decoder_norm(x) if self.has_norm else x
        logits = self.target_embed.attend(x) if self.tie_softmax else self.head(x)
        if self.has_logits_bias:
            logits += self.logits_bias[None, None]
        return logits.astype(jnp.float32)
