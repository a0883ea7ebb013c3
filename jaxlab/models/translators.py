"""Networks from one sequence to another, by name."""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp

from jaxlab.core.errors import check_choice
from jaxlab.models.recurrent.seq2seq import Attention, Seq2SeqRNN
from jaxlab.models.transformer.encoder_decoder import Transformer

__all__ = ["TranslatorName", "make_translator"]

TranslatorName: TypeAlias = Literal["transformer", "lstm", "gru"]


def make_translator(
    name: TranslatorName,
    vocab_size: int,
    *,
    width: int,
    depth: int,
    num_heads: int = 4,
    hidden_dim: int = 0,
    norm_first: bool = True,
    attention: Attention = "luong",
    dropout_rate: float = 0.0,
    pad: int = 0,
    dtype: Any = jnp.float32,
) -> Transformer | Seq2SeqRNN:
    """Make an encoder-decoder with one vocabulary for source, target and softmax.

    Args:
        name: `transformer`, or the cell of a recurrent network.
        vocab_size: Number of tokens.
        width: Width of the tokens, or of the states.
        depth: Layers of the encoder, and of the decoder.
        num_heads: Attention heads (transformer).
        hidden_dim: Width inside the MLPs; 0: four times `width` (transformer).
        norm_first: Normalise before the parts of a block, not after (transformer).
        attention: How the decoder attends to the source (lstm, gru).
        dropout_rate: Share of units dropped while training, in [0, 1).
        pad: Number of the padding token.
        dtype: Type of the computation; parameters and logits are float32.

    Raises:
        InputError: If there is no such network.
    """
    check_choice("translator", name, TranslatorName)
    if name == "transformer":
        return Transformer(
            vocab_size=vocab_size,
            encoder_depth=depth,
            decoder_depth=depth,
            width=width,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            norm_first=norm_first,
            dropout_rate=dropout_rate,
            pad=pad,
            dtype=dtype,
        )
    return Seq2SeqRNN(
        vocab_size,
        cell=name,
        attention=attention,
        depth=depth,
        width=width,
        dropout_rate=dropout_rate,
        pad=pad,
        dtype=dtype,
    )
