"""Texts before they are tokens: one way to write each character, and words."""

import unicodedata
from collections.abc import Iterable
from typing import Literal, TypeAlias

import regex

from jaxlab.core.errors import check_choice

__all__ = ["Normalization", "normalize", "split_words"]

Normalization: TypeAlias = Literal["NFC", "NFKC", "none"]

# A word is made of letters, digits, their marks and joiners, as Unicode tells them (UTS
# #18); any other character, with what combines with it, is a word too. The separators
# of ASCII, from FS to US, are spaces to Python alone.
_WORD = regex.compile(r"[\w\p{N}]+|(?![\s\x1c-\x1f])\X")


def normalize(
    texts: Iterable[str], form: Normalization, *, lowercase: bool = False
) -> list[str]:
    """Write characters in one of the ways that Unicode has for them.

    Args:
        texts: Any.
        form: `NFC` composes, so that an e and an accent are one character; `NFKC` also
            replaces look-alikes, such as a ligature; `none` leaves all as it is.
        lowercase: Whether to lower-case the texts before.

    Raises:
        InputError: If there is no such form.

    References:
        Unicode Standard Annex 15, https://unicode.org/reports/tr15.
    """
    check_choice("normalization", form, Normalization)
    texts = [text.lower() for text in texts] if lowercase else list(texts)
    if form == "none":
        return texts
    return [unicodedata.normalize(form, text) for text in texts]


def split_words(text: str) -> list[str]:
    """Split a text at spaces and around punctuation, never between a letter and a mark.

    Scripts without spaces, such as Thai's or Chinese, are not cut within a phrase.

    References:
        Unicode Technical Standard 18, https://unicode.org/reports/tr18, annex C.
    """
    return _WORD.findall(text)
