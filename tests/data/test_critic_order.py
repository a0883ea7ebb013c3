"""Which rows each step of a critic gets: against the loop of the original code."""

import itertools
import pickle

import jax
import numpy as np
import pytest

from jaxlab.core.batch import materialize
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh, shard_batch
from jaxlab.data.batches import resident_batches, streamed_batches
from jaxlab.data.critic_order import CriticOrder, CriticSchedule
from jaxlab.data.images.image_set import ArraySource
from jaxlab.data.order import Order


def original(generator_steps):
    """The critic's steps as `main.py` of WGAN counts them."""
    return [100 if t < 25 or t % 500 == 0 else 5 for t in range(generator_steps)]


def test_the_original_schedule_and_its_closed_form_follow_the_code():
    schedule, expected = CriticSchedule.original(), original(1602)
    assert [schedule(t) for t in range(1602)] == expected
    counts = [0, *itertools.accumulate(expected)]
    assert [schedule.before(t) for t in range(1603)] == counts


@pytest.mark.parametrize("first", [0, 1, 3, 4, 6, 7])
@pytest.mark.parametrize("every", [0, 1, 3, 6])
def test_the_closed_form_counts_what_the_schedule_gives(first, every):
    schedule = CriticSchedule(2, 9, first, every)
    total = 0
    for t in range(20):
        assert schedule.before(t) == total
        total += schedule(t)


def test_a_fixed_number_is_fixed():
    schedule = CriticSchedule(3)
    assert {schedule(t) for t in range(600)} == {3}
    assert schedule.before(10**9) == 3 * 10**9


@pytest.mark.parametrize("options", [(0,), (5, 0), (5, 9, -1), (5, 9, 0, -1)])
def test_numbers_that_make_no_schedule_are_refused(options):
    with pytest.raises(InputError, match=r"must be 0|give 1 or more"):
        CriticSchedule(*options)


def test_the_critics_steps_get_the_batches_of_the_order_one_by_one():
    inner = Order(50, 4, seed=2)
    order = CriticOrder(inner, CriticSchedule(2, 7, first=2, every=5))
    order = pickle.loads(pickle.dumps(order))
    seen = []
    for t in range(8):
        rows = order(t).reshape(4, -1)
        assert rows.shape[1] == order.schedule(t)
        assert rows.dtype == np.int32
        seen += list(rows.T)
    np.testing.assert_array_equal(seen, [inner(step) for step in range(len(seen))])


def test_the_last_rows_are_those_of_the_critics_last_step():
    order = CriticOrder(Order(50, 4, seed=2), CriticSchedule(2, 7, first=2, every=5))
    for t in range(12):
        np.testing.assert_array_equal(order.last(t), order(t).reshape(4, -1)[:, -1])


def test_batches_of_two_lengths_come_by_both_paths_and_split_over_devices():
    labels = np.arange(50, dtype=np.int32)
    source = ArraySource(labels.astype(np.uint8).reshape(50, 1, 1, 1), labels)
    order = CriticOrder(Order(50, 4), CriticSchedule(1, 3, first=2))
    mesh = make_mesh("data=2")
    for make in (resident_batches, streamed_batches):
        found = itertools.islice(make(source, order, mesh)(1), 3)
        for t, batch in enumerate(found, 1):
            batch = jax.jit(materialize)(shard_batch(batch, mesh))
            np.testing.assert_array_equal(batch["label"], order(t))
