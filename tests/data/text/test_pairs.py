"""Tests of `jaxlab.data.text.pairs`."""

import dataclasses

import numpy as np

from jaxlab.data.text.find import Pairs
from jaxlab.data.text.pairs import encode_pairs
from jaxlab.data.text.vocabulary import BOS, EOS, PAD, UNK

PAIRS = Pairs(
    "numbers",
    [("one two", "EINS zwei"), ("two", "zwei"), ("one " * 9, "eins")],
    [("two one", "zwei eins")],
    [("three", "drei"), ("one", "eins")],
)


def test_one_vocabulary_of_the_training_pairs_serves_all():
    data = encode_pairs(
        PAIRS, "word", lowercase=True, max_len=8, batch_size=1, num_buckets=2
    )
    assert len(data.vocabulary) == 4 + 4
    one, two, eins, zwei = (
        ids[0] for ids in data.vocabulary.encode(["one", "two", "eins", "zwei"])
    )
    valid, test = (part.rows(np.arange(len(part))) for part in (data.valid, data.test))
    np.testing.assert_array_equal(valid["source"], [[two, one, EOS]])
    np.testing.assert_array_equal(valid["target"], [[BOS, zwei, eins, EOS]])
    np.testing.assert_array_equal(test["source"], [[UNK, EOS], [one, EOS]])
    assert data.sizes == {"train": 2, "valid": 1, "test": 2}
    assert data.train.num_dropped == 1  # nine words and the end
    assert sum(len(bucket.pairs) for bucket in data.train.buckets) == 2
    assert "numbers" in str(data)
    assert "8 word tokens" in str(data)


def test_what_is_too_long_to_evaluate_is_left_out_or_cut_and_counted():
    long = ("one " * 15_000, "eins")
    texts = dataclasses.replace(
        PAIRS, valid=[long, *PAIRS.valid], test=[long, *PAIRS.test]
    )
    data = encode_pairs(texts, "word", lowercase=True, max_len=8, batch_size=1)
    assert (len(data.valid), data.valid.num_dropped) == (1, 1)
    assert (len(data.test), data.test.num_cut) == (3, 1)
    assert "over 8 tokens a side: 1 valid pairs left out, 1 test pairs cut" in str(data)
    # No more is padded to it than itself, and its beginning has an end.
    first = data.test.rows(np.array([0]))["source"][0]
    assert len(first) == 8
    assert (first[-1], PAD not in first) == (EOS, True)
    assert [len(one.pairs) for one in data.test.buckets] == [2, 1]
    whole = encode_pairs(PAIRS, "word", lowercase=True, max_len=8, batch_size=1)
    assert "a side" not in str(whole)


def test_both_ways_to_write_a_character_are_one():
    pairs = [("é", "u\u0308")]
    texts = Pairs("accents", pairs, [("e\u0301", "ü")], pairs)
    data = encode_pairs(texts, "char", max_len=8, batch_size=1)
    assert len(data.vocabulary) == 4 + 2
    apart = encode_pairs(texts, "char", normalization="none", max_len=8, batch_size=1)
    assert len(apart.vocabulary) == 4 + 3
    assert UNK in apart.valid.rows(np.array([0]))["source"]
