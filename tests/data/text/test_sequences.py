"""Padded pairs and windows of a text."""

import itertools
import pickle

import numpy as np
import pytest

from jaxlab.core.batch import materialize
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.data.batches import Source, evaluation_batches, training_batches
from jaxlab.data.order import Order
from jaxlab.data.text.sequences import PairSource, TokenWindows, pair_source
from jaxlab.data.text.vocabulary import PAD

SOURCES = [[5, 6, 7], [], [8], [9, 9, 9, 9]]
TARGETS = [[4], [5, 5], [], [6, 7]]


def test_pairs_get_begin_and_end_and_are_padded_to_the_longest():
    pairs = pair_source(SOURCES, TARGETS)
    assert pairs.source.tolist() == [
        [5, 6, 7, 2, 0],
        [2, 0, 0, 0, 0],
        [8, 2, 0, 0, 0],
        [9, 9, 9, 9, 2],
    ]
    assert pairs.target.tolist() == [
        [1, 4, 2, 0],
        [1, 5, 5, 2],
        [1, 2, 0, 0],
        [1, 6, 7, 2],
    ]
    assert pairs.source.dtype == pairs.target.dtype == np.int32


def test_padding_is_counted():
    pairs = pair_source(SOURCES, TARGETS)
    assert pairs.num_tokens == 12 + 13
    assert pairs.padding_rate == pytest.approx(1 - 25 / 36)


@pytest.mark.parametrize(
    ("sources", "targets"), [([], []), ([[4]], []), ([[4]], [[4], [5]])]
)
def test_what_is_no_pairs_is_refused(sources, targets):
    with pytest.raises(InputError, match=f"{len(sources)} sources and {len(targets)}"):
        pair_source(sources, targets)


def test_both_are_sources_that_survive_pickling():
    windows = TokenWindows(np.arange(4, 30), 5, 2)
    for source in (pair_source(SOURCES, TARGETS), windows):
        assert isinstance(source, Source)
        copy = pickle.loads(pickle.dumps(source))
        index = np.array([2, 0, 2])
        for name, rows in source.rows(index).items():
            np.testing.assert_array_equal(rows, copy.rows(index)[name])
            assert len(rows) == 3


def test_an_evaluation_keeps_all_pairs_in_order():
    pairs = pair_source(SOURCES, TARGETS)
    batches = evaluation_batches(pairs, 2, make_mesh("data=2"))()
    found = [np.asarray(materialize(batch)["source"])[:size] for batch, size in batches]
    np.testing.assert_array_equal(np.concatenate(found), pairs.source)


def test_windows_begin_a_stride_apart():
    tokens = np.arange(10, 21, dtype=np.uint16)
    windows = TokenWindows(tokens, 4, 3)
    rows = windows.rows(np.arange(len(windows)))
    assert rows.keys() == {"tokens"}
    assert rows["tokens"].dtype == np.int32
    assert rows["tokens"].tolist() == [
        [10, 11, 12, 13, 14],
        [13, 14, 15, 16, 17],
        [16, 17, 18, 19, 20],
    ]
    assert len(TokenWindows(tokens, 10, 1)) == 1
    assert len(TokenWindows(tokens, 4, 1)) == 7


def test_the_last_window_of_an_evaluation_is_padded():
    windows = TokenWindows(np.arange(10, 17), 4, 4, is_complete=True)
    rows = windows.rows(np.arange(len(windows)))
    assert rows["tokens"].tolist() == [[10, 11, 12, 13, 14], [14, 15, 16, PAD, PAD]]
    assert rows["weights"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert rows["weights"].dtype == np.float32


@pytest.mark.parametrize("count", [2, 4, 5, 6, 11, 12, 13, 40])
@pytest.mark.parametrize(("length", "stride"), [(5, 5), (5, 2), (5, 1), (1, 1), (9, 4)])
def test_an_evaluation_predicts_every_token_but_the_first_once(count, length, stride):
    tokens = np.arange(100, 100 + count)
    windows = TokenWindows(tokens, length, stride, is_complete=True)
    rows = windows.rows(np.arange(len(windows)))
    labels = rows["tokens"][:, 1:]
    assert sorted(labels[rows["weights"] == 1]) == tokens[1:].tolist()
    # Beyond the first window each prediction sees what its window is meant to show.
    context = np.arange(length)[None] * np.ones((len(windows), 1))
    seen = context[1:][rows["weights"][1:] == 1]
    assert (seen >= length - stride).all()


def test_windows_are_trained_on_in_any_order():
    windows = TokenWindows(np.arange(4, 40), 6, 1)
    order, mesh = Order(len(windows), 4, seed=3), make_mesh("data=2")
    for workers in (None, 0):  # on the device, and streamed
        batches = training_batches(windows, order, mesh, workers)(5)
        for step, batch in enumerate(itertools.islice(batches, 3), 5):
            expected = windows.rows(order(step))["tokens"]
            found = np.asarray(materialize(batch)["tokens"])
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("count", "length", "stride", "is_complete", "said"),
    [
        (10, 0, 1, False, "length 0 and stride 1: both must be at least 1"),
        (10, 3, 0, False, "length 3 and stride 0"),
        (10, 3, 4, True, "stride 4 leaves out tokens"),
        (5, 5, 5, False, "a text of 5 tokens is too short .* take 6"),
        (1, 5, 5, True, "a text of 1 tokens is too short .* take 2"),
    ],
)
def test_windows_that_cannot_be_are_refused(count, length, stride, is_complete, said):
    with pytest.raises(InputError, match=said):
        TokenWindows(np.arange(count), length, stride, is_complete)


def test_the_arrays_are_those_that_were_given():
    pairs = PairSource(np.ones((3, 2), np.int32), np.ones((3, 4), np.int32))
    assert len(pairs) == 3
    assert pairs.padding_rate == 0
