"""One long text made ready for a language model."""

import dataclasses
import math

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.data.text.find import Text
from jaxlab.data.text.sequences import TokenWindows
from jaxlab.data.text.vocabulary import (
    UNK,
    Vocabulary,
    VocabularyKind,
    train_vocabulary,
)
from jaxlab.data.text.words import Normalization

__all__ = ["EncodedText", "encode_text"]


@dataclasses.dataclass(frozen=True)
class EncodedText:
    """A text as ids, in windows of one length.

    Attributes:
        text: The text itself.
        vocabulary: Tokens, learned from the training part alone.
        train: Every window of the training part.
        valid: Windows of the validation part in which every token is predicted once,
            with at least half a window before it.
        test: The same windows of the test part.
    """

    text: Text
    vocabulary: Vocabulary
    train: TokenWindows
    valid: TokenWindows
    test: TokenWindows

    def __str__(self) -> str:
        unknown = f", {self.unknown_rate:.2%} of the test unknown"
        return f"{self.text}; {self.vocabulary}{unknown if self.unknown_rate else ''}"

    @property
    def unknown_rate(self) -> float:
        """Share of the test tokens that are unknown."""
        return float((self.test.tokens == UNK).mean())

    def bits_per_character(self, nats: float) -> float:
        """Turn the mean loss of a test token to bits a character of the test text.

        Characters that the training part lacks are one unknown token, so their bits
        are those of "unknown"; `unknown_rate` says how many there are.
        """
        (read,) = self.vocabulary.prepare([self.text.test])
        return nats / math.log(2) * len(self.test.tokens) / len(read)

    @property
    def sizes(self) -> dict[str, int]:
        """Windows by set."""
        sets = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: len(windows) for name, windows in sets.items()}


def encode_text(
    text: Text,
    length: int,
    kind: VocabularyKind = "char",
    size: int = 0,
    normalization: Normalization = "NFC",
) -> EncodedText:
    """Learn a vocabulary and turn a text to windows of ids.

    Args:
        text: The text.
        length: Tokens that are predicted a window.
        kind: See `train_vocabulary`.
        size: Tokens at most.
        normalization: Write characters in one way first, see `normalize`.

    Raises:
        InputError: If the vocabulary is one of words, or a part of the text too short.
    """
    if kind == "word":
        raise InputError(
            "vocabulary 'word' loses spaces, so that no bits of characters can be "
            "counted; use byte, char or bpe"
        )
    vocabulary = train_vocabulary([text.train], kind, size, normalization=normalization)
    train, *held_out = (
        np.asarray(ids, np.int32)
        for ids in vocabulary.encode([text.train, text.valid, text.test])
    )
    stride = max(length // 2, 1)
    return EncodedText(
        text,
        vocabulary,
        TokenWindows(train, length, stride=1),
        *(TokenWindows(ids, length, stride, is_complete=True) for ids in held_out),
    )
