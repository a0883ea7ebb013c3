"""Tests of `jaxlab.data.text_windows`."""

import math

import numpy as np
import pytest

from jaxlab.data.text import Text
from jaxlab.data.text_windows import encode_text

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
