"""Tests of `jaxlab.data.text.windows`."""

import math

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.text.find import Text
from jaxlab.data.text.windows import encode_text

TEXT = Text("abc", "abcabcabc" * 4, "abcab", "cabca")


def test_every_held_out_token_is_predicted_once():
    data = encode_text(TEXT, 4)
    rows = data.test.rows(np.arange(len(data.test)))
    assert rows["weights"].sum() == len(TEXT.test) - 1
    text = data.vocabulary.decode(data.train.rows(np.array([1]))["tokens"])
    assert text == ["bcabc"]
    assert "abc: 36 + 5 + 5 characters" in str(data)


def test_bits_count_characters_not_tokens():
    chars = encode_text(TEXT, 4)
    assert chars.bits_per_character(math.log(2)) == pytest.approx(1.0)
    pairs = encode_text(TEXT, 2, "bpe", 264)
    share = len(pairs.test.tokens) / len(TEXT.test)
    assert share < 1
    assert pairs.bits_per_character(math.log(2)) == pytest.approx(share)


def test_words_have_no_bits_of_characters():
    with pytest.raises(InputError, match="'word' loses spaces"):
        encode_text(TEXT, 4, "word")


def test_unknown_characters_are_counted():
    text = Text("abc", "abcabcabc" * 4, "abcab", "abcx")
    data = encode_text(text, 2)
    assert data.unknown_rate == 0.25
    assert "25.00% of the test unknown" in str(data)


def test_bits_are_those_of_the_text_as_it_is_read():
    text = Text("accents", "e\u0301" * 40, "e\u0301" * 10, "e\u0301" * 10)
    data = encode_text(text, 4)
    assert (len(data.vocabulary), len(data.test.tokens)) == (4 + 1, 10)
    assert data.bits_per_character(math.log(2)) == 1
    assert data.sizes == {"train": 36, "valid": 4, "test": 4}
    apart = encode_text(text, 4, normalization="none")
    assert (len(apart.vocabulary), len(apart.test.tokens)) == (4 + 2, 20)
