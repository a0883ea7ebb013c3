"""Which rows make batch t."""

import pickle
import time

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.order import Order


def rows(order, steps):
    """The row numbers of several batches, end to end."""
    return np.concatenate([order(step) for step in steps])


@pytest.mark.parametrize(("size", "batch_size"), [(12, 4), (10, 4), (7, 3), (3, 8)])
def test_every_row_comes_once_an_epoch_though_batches_straddle_epochs(size, batch_size):
    seen = rows(Order(size, batch_size), range(3 * size))
    for epoch in seen.reshape(-1, size):
        assert sorted(epoch) == list(range(size))


def test_the_epochs_are_permutations_laid_end_to_end():
    whole = Order(10, 10, seed=3)
    expected = np.concatenate([whole(epoch) for epoch in range(4)])
    np.testing.assert_array_equal(rows(Order(10, 8, seed=3), range(5)), expected)


def test_batches_have_one_size_and_integer_rows():
    order = Order(10, 4)
    for step in range(6):
        assert order(step).shape == (4,)
        assert order(step).dtype == np.int32


def test_access_at_random_gives_the_same_as_in_sequence():
    sequence = [Order(10, 4)(step) for step in range(20)]
    order = Order(10, 4)
    for step in np.random.default_rng(0).permutation(20):
        np.testing.assert_array_equal(order(int(step)), sequence[step])


def test_epochs_and_seeds_differ_and_equal_seeds_agree():
    first = Order(1000, 1000, seed=0)
    assert (first(0) != first(1)).any()
    assert (first(0) != Order(1000, 1000, seed=1)(0)).any()
    np.testing.assert_array_equal(first(0), Order(1000, 1000, seed=0)(0))


def test_the_next_seed_is_not_this_one_an_epoch_later():
    assert (Order(1000, 1000, seed=0)(1) != Order(1000, 1000, seed=1)(0)).any()


def test_without_shuffling_the_stored_order_repeats():
    order = Order(5, 3, shuffle=False)
    assert rows(order, range(4)).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_a_far_step_costs_no_more_than_the_first():
    order = Order(50_000, 128)
    start = time.perf_counter()
    far = order(10**9)
    # One shuffle of an epoch takes a millisecond; walking there would take hours.
    assert time.perf_counter() - start < 1.0
    assert far.min() >= 0
    assert far.max() < 50_000


def test_an_order_survives_pickling():
    order = Order(10, 4, seed=5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(order))(7), order(7))


@pytest.mark.parametrize(("size", "batch_size"), [(0, 4), (10, 0), (10, -1), (-3, 4)])
def test_nothing_to_batch_is_an_error_with_both_numbers(size, batch_size):
    with pytest.raises(InputError, match=f"batches of {batch_size} from {size} exam"):
        Order(size, batch_size)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_jax_would_cut_is_refused(seed):
    with pytest.raises(InputError, match=f"seed {seed}"):
        Order(10, 2, seed)
