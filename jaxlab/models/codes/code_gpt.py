"""A GPT over rows of codes: one by one, given a class or the codes of a second run."""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count, Natural
from jaxlab.core.typing import Array, Float, Int
from jaxlab.losses.tokens import token_cross_entropy
from jaxlab.models.codes.code_tokens import number_tokens
from jaxlab.models.transformer.decoder import TransformerLM
from jaxlab.nn.activation import Activation, GatedActivation
from jaxlab.nn.blocks import TENSOR_RULES

__all__ = ["TENSOR_RULES", "CodeGPT", "code_losses"]


class CodeGPT(TransformerLM, kw_only=True):
    """Language model whose rows are a class, perhaps hints, and the codes of a picture.

    Hints are the codes of a second run, such as one that compresses sketches. The
    tokens are the codes, then the classes, then "no class", then the hints' codes. The
    logits are of the codes alone: nothing else can be drawn.

    With its defaults a network of Esser et al. 2021, "Taming Transformers for
    High-Resolution Image Synthesis", https://arxiv.org/abs/2012.09841.

    Attributes:
        num_codes: Codes of the codebook.
        length: Codes of a picture.
        num_classes: Classes; label `num_classes` stands for no class.
        num_hints: Codes of the second codebook.
        hint_length: Hints of a picture; 0: none.
        vocab_size: Tokens; follows from the other fields.
        max_len: Positions; follows too.
    """

    num_codes: Count
    length: Count
    num_classes: Natural = 0
    num_hints: Natural = 0
    hint_length: Natural = 0
    act: Activation | GatedActivation = "gelu"
    norm_eps: float = 1e-5
    tie_softmax: bool = False
    vocab_size: int = dataclasses.field(init=False)
    max_len: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.vocab_size = self.num_codes + self.num_classes + 1 + self.num_hints
        self.max_len = 1 + self.hint_length + self.length
        super().__post_init__()

    @nn.nowrap
    def join(
        self,
        codes: Int[Array, "b t"],
        labels: Int[Array, " b"],
        hints: Int[Array, "b m"] | None = None,
    ) -> Int[Array, "b n"]:
        """Return rows of tokens: class, hints, codes.

        Args:
            codes: The first codes of each picture: any number of them, or all but the
                last one to train on.
            labels: Classes, or `num_classes` for none.
            hints: Codes of a second run, `hint_length` of each picture.

        Raises:
            InputError: If there are too many codes, the hints are not as many as the
                network has room for, or a known number is out of range.
        """
        if codes.shape[1] > self.length:
            raise InputError(
                f"{codes.shape[1]} codes a row are more than the {self.length} of a "
                "picture of this network"
            )
        found = 0 if hints is None else hints.shape[1]
        if found != self.hint_length:
            raise InputError(
                f"{found} hints a row are not the hint_length {self.hint_length} of "
                "this network"
            )
        first = self.num_codes
        parts = [number_tokens(labels, self.num_classes + 1, first, "label")[:, None]]
        if hints is not None:
            first += self.num_classes + 1
            parts.append(number_tokens(hints, self.num_hints, first, "hint"))
        parts.append(number_tokens(codes, self.num_codes, 0, "code"))
        return jnp.concatenate(parts, axis=1)

    @nn.nowrap
    def without_class(self, tokens: Int[Array, "*b"]) -> Int[Array, "*b"]:
        """Return tokens with "no class" in the place of each class."""
        no_class = self.num_codes + self.num_classes
        is_class = (tokens >= self.num_codes) & (tokens < no_class)
        return jnp.where(is_class, no_class, tokens)

    def logits(self, x: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
        """Give float32 logits of the codes, from features."""
        return super().logits(x)[..., : self.num_codes]

    def next_logits(
        self, tokens: Int[Array, "b t"], place: Int[Array, ""]
    ) -> Float[Array, "b v"]:
        """Give the logits of the code after the token at one place of all rows."""
        x = self.features(self.token_embed(tokens))
        return self.logits(jnp.take(x, place[None], axis=1))[:, 0]


def code_losses(
    logits: Float[Array, "b n v"], codes: Int[Array, "b t"]
) -> Float[Array, "b t"]:
    """Return the cross-entropy of each code, in nats, and of nothing before the codes.

    Args:
        logits: Logits of a `CodeGPT` that read `join(codes[:, :-1], ...)`.
        codes: All codes of the pictures.
    """
    return token_cross_entropy(logits[:, -codes.shape[1] :], codes)
