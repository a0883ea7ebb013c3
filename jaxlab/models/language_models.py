"""Language models by name, as wide as a number of parameters allows."""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import check_choice
from jaxlab.models.recurrent.language import RNNLM
from jaxlab.models.sizing import width_for
from jaxlab.models.transformer.decoder import TransformerLM
from jaxlab.nn.activation import Activation, GatedActivation
from jaxlab.nn.norm import Norm
from jaxlab.nn.tokens import Positions

__all__ = ["LanguageModelName", "make_language_model"]

LanguageModelName: TypeAlias = Literal["transformer", "lstm", "gru", "rnn"]


def make_language_model(
    name: LanguageModelName,
    vocab_size: int,
    *,
    num_parameters: int,
    depth: int,
    max_len: int,
    num_heads: int = 4,
    num_kv_heads: int = 0,
    positions: Positions = "rotary",
    norm: Norm = "layer",
    act: Activation | GatedActivation = "gelu",
    dropout_rate: float = 0.0,
    dtype: Any = jnp.float32,
) -> TransformerLM | RNNLM:
    """Make a language model of about so many parameters.

    Args:
        name: `transformer`, or the cell of a recurrent network.
        vocab_size: Number of tokens.
        num_parameters: Parameters wanted; the width follows from them.
        depth: Number of layers.
        max_len: Longest text, for learned positions (transformer).
        num_heads: Attention heads (transformer).
        num_kv_heads: Heads of keys and values; 0: as many (transformer).
        positions: Kind of positions (transformer).
        norm: Kind of normalisation (transformer).
        act: Activation of the MLPs (transformer).
        dropout_rate: Share of units dropped while training, in [0, 1).
        dtype: Type of the computation; parameters and logits are float32.

    Raises:
        InputError: If there is no such model, or none so small.
    """
    check_choice("language model", name, LanguageModelName)

    def build(width: int) -> TransformerLM | RNNLM:
        if name != "transformer":
            return RNNLM(
                vocab_size=vocab_size,
                width=width,
                depth=depth,
                cell=name,
                dropout_rate=dropout_rate,
                pad=None,
                dtype=dtype,
            )
        return TransformerLM(
            vocab_size=vocab_size,
            width=width,
            depth=depth,
            max_len=max_len,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            positions=positions,
            norm=norm,
            act=act,
            dropout_rate=dropout_rate,
            dtype=dtype,
        )

    multiple = 2 * max(num_heads, 1) if name == "transformer" else 8
    example = np.zeros((1, 2), np.int32)
    return build(width_for(build, num_parameters, example, multiple=multiple))
