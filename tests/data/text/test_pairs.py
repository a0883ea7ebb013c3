"""Tests of `jaxlab.data.text.pairs`."""

import numpy as np

from jaxlab.data.text.find import Pairs
from jaxlab.data.text.pairs import encode_pairs
from jaxlab.data.text.vocabulary import BOS, EOS, UNK

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
    np.testing.assert_array_equal(data.valid.source, [[two, one, EOS]])
    np.testing.assert_array_equal(data.valid.target, [[BOS, zwei, eins, EOS]])
    np.testing.assert_array_equal(data.test.source, [[UNK, EOS], [one, EOS]])
    assert data.train.num_dropped == 1  # nine words and the end
    assert sum(len(bucket.pairs) for bucket in data.train.buckets) == 2
    assert "numbers" in str(data)
    assert "8 word tokens" in str(data)
