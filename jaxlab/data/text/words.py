"""Texts before they are tokens: one way to write each character, and words."""

import unicodedata
from typing import Literal, TypeAlias

import regex

from jaxlab.core.errors import check_choice

__all__ = ["Normalization", "normalize", "split_words"]

Normalization: TypeAlias = Literal["NFC", "NFKC", "none"]

# A word is made of letters, digits, their marks and joiners, as Unicode tells them (UTS
# #18); any other character, with what combines with it, is a word too. The separators
# of ASCII, from FS to US, are spaces to Python alone.
_WORD = regex.compile(r"[\w\p{N}]+|(?![\s\x1c-\x1f])\X")


def normalize(text: str, form: Normalization) -> str:
    """Write characters in one of the ways that Unicode has for them.

    Args:
        text: Any.
        form: `NFC` composes, so that an e and an accent are one character; `NFKC` also
            replaces look-alikes, such as a ligature; `none` leaves all as it is.

    Raises:
        InputError: If there is no such form.

    References:
        Unicode Standard Annex 15, https://unicode.org/reports/tr15.
    """
    check_choice("normalization", form, Normalization)
    return text if form == "none" else unicodedata.normalize(form, text)


def split_words(text: str) -> list[str]:
    """Split a text at spaces and around punctuation, never between a letter and a mark.

    Scripts without spaces, such as Thai's or Chinese, are not cut within a phrase.

    References:
        Unicode Technical Standard 18, https://unicode.org/reports/tr18, annex C.
    """
    return _WORD.findall(text)
