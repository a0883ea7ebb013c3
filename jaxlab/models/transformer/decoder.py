"""Decoder-only Transformer: a language model."""

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count
from jaxlab.core.typing import Array, Float, Int
from jaxlab.models.transformer.sizes import DecoderState, TransformerSizes
from jaxlab.nn.activation import Activation, GatedActivation
from jaxlab.nn.blocks import TENSOR_RULES
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.tokens import Positions, read_prompts

__all__ = ["TENSOR_RULES", "TransformerLM"]

_NEVER = -(2**30)  # a length that no state grows out of


class TransformerLM(TransformerSizes, kw_only=True):
    """Decoder alone: the probabilities of each token given those before it.

    With its defaults a GPT-2 (Radford et al. 2019); with `norm="rms"`, `act="swiglu"`,
    `positions="rotary"` and `use_bias=False` a Llama (Touvron et al. 2023,
    https://arxiv.org/abs/2302.13971).

    Attributes:
        vocab_size: Tokens.
        depth: Blocks.
        tie_softmax: The table of tokens is the softmax's matrix too.
    """

    vocab_size: Count = 50_257
    depth: int = 12
    tie_softmax: bool = True
    act: Activation | GatedActivation = "gelu_tanh"
    positions: Positions = "learned"

    def setup(self) -> None:
        self.token_embed = self.embed(self.vocab_size, False)
        self.decoder = self.stack(self.depth, is_causal=True)
        self.final_norm = self.make_norm()
        if not self.tie_softmax:
            self.head = nn.Dense(self.vocab_size, use_bias=False)
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self, tokens: Int[Array, "b t"], *, train: bool = False
    ) -> Float[Array, "b t v"]:
        """Give logits of the token after each token, which saw no later ones."""
        return self.logits(self.features(self.token_embed(tokens), train=train))

    def embed_tokens(self, tokens: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """Look up the vectors of tokens, positions added."""
        return self.token_embed(tokens)

    def features(
        self, vectors: Float[Array, "b t d"], *, train: bool = False
    ) -> Float[Array, "b t d"]:
        """Pass vectors of tokens through the blocks and the last normalisation."""
        x = self.dropout(vectors, deterministic=not train)
        return self.final_norm(self.decoder(x, train=train))

    def logits(self, x: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
        """Give float32 logits of features."""
        out = self.token_embed.attend(x) if self.tie_softmax else self.head(x)
        return out.astype(jnp.float32)

    def prefill(
        self, tokens: Int[Array, "b t"], lengths: Int[Array, " b"], max_len: int
    ) -> tuple[Int[Array, " b"], DecoderState]:
        """Read prompts, all tokens at once, up to the last one of each row.

        Args:
            tokens: Prompts, padded at their ends with anything.
            lengths: Tokens of each prompt, at least 1.
            max_len: Tokens that there is to be room for, prompt included.

        Returns:
            The last token of each prompt, with which to begin, and the state after
            those before it; see `jaxlab.models.decode.decoding`.

        Raises:
            InputError: If a known length is out of range, or there is too little room.
        """
        rows, size = tokens.shape
        self.check_len(max_len)
        if size > max_len:
            raise InputError(
                f"max_len {max_len} has no room for prompts of {size} tokens"
            )
        # Room for the rest comes afterwards: prompts need not look at empty places.
        tokens, begin = read_prompts(tokens, lengths)
        cache = self.decoder.make_cache(rows, size - 1)
        if size > 1:
            x = self.token_embed(tokens[:, :-1])
            _, cache = self.decoder.extend(x, cache, jnp.zeros_like(lengths))
        cache = self.decoder.grow_cache(cache, max_len)
        # What began with no token never has room for another.
        return begin, DecoderState(cache, jnp.where(begin < 0, _NEVER, lengths - 1))

    def step(
        self, token: Int[Array, " b"], state: DecoderState, context: None = None
    ) -> tuple[Float[Array, "b v"], DecoderState]:
        """Feed one token a row; give the logits of the next and the new state."""
        x = self.token_embed(state.feed(token), state.length)
        x, cache = self.decoder.extend(x, *state)
        logits = self.logits(self.final_norm(x))
        return logits[:, 0], DecoderState(cache, state.length + 1)
