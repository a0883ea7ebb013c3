"""Buckets: nothing lost, little padding, the same batches whenever one begins."""

import collections
import itertools

import jax
import numpy as np
import pytest

from jaxlab.core.batch import Rows, materialize
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.data.batches import Source
from jaxlab.data.text.buckets import BucketOrder, bucket_batches, bucket_pairs
from jaxlab.data.text.sequences import pair_source


def made(count, longest, seed=0):
    """Pairs whose tokens name the pair, of lengths that go together."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest - 2, count)
    others = np.clip(lengths + rng.integers(-2, 3, count), 0, longest - 1)
    sources = [[4 + i] * int(n) for i, n in enumerate(lengths)]
    return sources, [[4 + i] * int(n) for i, n in enumerate(others)]


def area(buckets):
    pairs = [bucket.pairs for bucket in buckets.buckets]
    return sum(one.source.size + one.target.size for one in pairs)


def best_area(lengths, count):
    """Try all growing shapes for the buckets."""
    sides = [sorted(set(side)) for side in zip(*lengths, strict=True)]
    shapes = list(itertools.product(*sides))
    least = np.inf
    for chosen in itertools.combinations(shapes, count):
        chain = [*chosen, (sides[0][-1], sides[1][-1])]
        if any(a[0] > b[0] or a[1] > b[1] for a, b in itertools.pairwise(chain)):
            continue
        fits = [
            next(s + t + 1 for s, t in chain if a <= s and b <= t) for a, b in lengths
        ]
        least = min(least, sum(fits))
    return least


@pytest.mark.parametrize("num_buckets", [1, 2, 3, 6])
def test_every_pair_is_in_one_bucket_as_it_was(num_buckets):
    sources, targets = made(200, 20)
    buckets = bucket_pairs(
        sources, targets, max_len=20, batch_size=8, num_buckets=num_buckets
    )
    assert len(buckets) == 200
    assert len(buckets.buckets) == num_buckets
    assert buckets.num_dropped == 0
    index = np.concatenate([bucket.index for bucket in buckets.buckets])
    assert sorted(index) == list(range(200))
    for bucket in buckets.buckets:
        for row, number in enumerate(bucket.index):
            source = [*sources[number], 2]
            target = [1, *targets[number], 2]
            found = bucket.pairs.rows(np.array([row]))
            assert found["source"][0, : len(source)].tolist() == source
            assert found["target"][0, : len(target)].tolist() == target
            assert not found["source"][0, len(source) :].any()
            assert not found["target"][0, len(target) :].any()
        # No wider than its longest source and target.
        assert bucket.pairs.source[:, -1].any()
        assert bucket.pairs.target[:, -1].any()


@pytest.mark.parametrize("seed", range(4))
def test_no_other_shapes_leave_less_padding(seed):
    sources, targets = made(30, 8, seed)
    lengths = [
        (len(one) + 1, len(two) + 1) for one, two in zip(sources, targets, strict=True)
    ]
    for extra in (0, 1, 2):
        buckets = bucket_pairs(
            sources, targets, max_len=9, batch_size=4, num_buckets=extra + 1
        )
        assert area(buckets) == best_area(lengths, extra)


def test_padding_is_reported():
    sources, targets = [[5], [5, 5, 5]], [[6], [6, 6, 6]]
    one = bucket_pairs(sources, targets, max_len=9, batch_size=1, num_buckets=1)
    assert one.padding_rate == pytest.approx(1 - 14 / 18)
    two = bucket_pairs(sources, targets, max_len=9, batch_size=1, num_buckets=2)
    assert two.padding_rate == 0
    assert str(one) == (
        "2 pairs in batches of 1 x (4 + 5); 22.2% padding, 0 pairs too long"
    )


def test_more_lengths_than_candidates_lose_little():
    sources, targets = made(3000, 200)
    rates = [
        bucket_pairs(
            sources, targets, max_len=200, batch_size=8, num_buckets=count
        ).padding_rate
        for count in (1, 2, 4, 6)
    ]
    assert sorted(rates, reverse=True) == rates
    # Lengths spread evenly over 6 equal buckets lose half a bucket in half the width.
    assert rates[-1] < 0.2


def test_pairs_that_are_too_long_are_dropped_and_counted():
    sources = [[5] * 3, [5] * 4, [5], [5]]
    targets = [[6] * 3, [6], [6] * 4, [6]]
    buckets = bucket_pairs(sources, targets, max_len=4, batch_size=1, num_buckets=1)
    assert buckets.num_dropped == 2
    assert buckets.buckets[0].index.tolist() == [0, 3]
    assert "2 pairs too long" in str(buckets)
    # A source of max_len, and as many inputs of a decoder.
    assert buckets.buckets[0].pairs.source.shape[1] == 4
    assert buckets.buckets[0].pairs.target[:, :-1].shape[1] == 4


@pytest.mark.parametrize("multiple", [1, 4])
def test_batches_of_all_buckets_hold_about_as_many_tokens(multiple):
    sources, targets = made(2000, 30)
    buckets = bucket_pairs(
        sources, targets, max_len=30, tokens_per_batch=1200, multiple=multiple
    )
    for bucket in buckets.buckets:
        width = bucket.pairs.source.shape[1] + bucket.pairs.target.shape[1]
        assert bucket.batch_size % multiple == 0
        assert abs(bucket.batch_size * width - 1200) <= multiple * width / 2


def test_the_batch_size_is_the_average_of_an_epoch():
    sources, targets = made(5000, 30)
    buckets = bucket_pairs(sources, targets, max_len=30, batch_size=64)
    assert 5000 / buckets.steps_per_epoch == pytest.approx(64, rel=0.02)


def test_a_batch_holds_no_pair_twice_where_there_are_enough():
    sources, targets = made(10, 5)
    buckets = bucket_pairs(
        sources, targets, max_len=5, batch_size=64, num_buckets=1, multiple=4
    )
    assert buckets.buckets[0].batch_size == 8


ORDER = BucketOrder((50, 31, 7, 3), (8, 4, 2, 4), seed=5)


def test_the_order_is_the_same_wherever_one_begins():
    forward = [ORDER(step) for step in range(300)]
    again = BucketOrder(ORDER.sizes, ORDER.batch_sizes, 5)
    for step in (299, 17, 150, 0, 64):
        bucket, rows = again(step)
        assert bucket == forward[step][0]
        np.testing.assert_array_equal(rows, forward[step][1])
        assert rows.dtype == np.int32
    other = BucketOrder(ORDER.sizes, ORDER.batch_sizes, 6)
    assert [other(step)[0] for step in range(50)] != [b for b, _ in forward[:50]]


def test_every_row_of_a_bucket_comes_before_any_comes_again():
    rows = collections.defaultdict(list)
    for step in range(400):
        bucket, found = ORDER(step)
        assert len(found) == ORDER.batch_sizes[bucket]
        rows[bucket].extend(found.tolist())
    for bucket, size in enumerate(ORDER.sizes):
        epochs = [rows[bucket][i : i + size] for i in range(0, len(rows[bucket]), size)]
        assert len(epochs) > 3
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs[:-1])
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_an_epoch_takes_its_share_of_each_bucket():
    # Batches that have ended when epoch 40 does: the floor of epochs x size / batch.
    ends = [40 * 50 // 8, 40 * 31 // 4, 40 * 7 // 2, 40 * 3 // 4]
    counts = collections.Counter(ORDER(step)[0] for step in range(sum(ends)))
    assert [counts[bucket] for bucket in range(4)] == ends


def test_a_late_step_costs_no_more():
    bucket, rows = ORDER(10**12)
    assert len(rows) == ORDER.batch_sizes[bucket]


def test_the_buckets_of_an_epoch_are_shuffled():
    order = BucketOrder((400, 400), (4, 4))
    kinds = [order(step)[0] for step in range(200)]
    assert sum(kinds) == 100
    changes = sum(a != b for a, b in itertools.pairwise(kinds))
    assert 70 < changes < 130


@pytest.fixture(scope="module")
def buckets():
    sources, targets = made(60, 12)
    return bucket_pairs(
        sources, targets, max_len=12, batch_size=8, num_buckets=3, multiple=2
    )


def test_a_resumed_run_gets_the_batches_of_an_uninterrupted_one(buckets):
    batches = bucket_batches(buckets, 1, make_mesh("data=2"))
    whole = list(itertools.islice(batches(0), 20))
    for step, batch in zip(range(13, 20), batches(13), strict=False):
        assert isinstance(batch, Rows)
        np.testing.assert_array_equal(batch.index, whole[step].index)
        found, expected = materialize(batch), materialize(whole[step])
        assert found.keys() == {"source", "target"}
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_batches_hold_the_pairs_of_the_order(buckets):
    order = buckets.order(1)
    batches = bucket_batches(buckets, 1, make_mesh("data=2"))(0)
    for step, batch in enumerate(itertools.islice(batches, 12)):
        number, rows = order(step)
        expected = buckets.buckets[number].pairs.rows(rows)
        jax.tree.map(np.testing.assert_array_equal, materialize(batch), expected)


def test_a_step_compiles_once_a_bucket(buckets, compilations):
    @jax.jit
    def read(batch):
        return materialize(batch)["source"].sum()

    batches = bucket_batches(buckets, 0, make_mesh("data=2"))(0)
    with compilations() as names:
        for batch in itertools.islice(batches, 30):
            read(batch)
    assert names.count("jit(read)") == len(buckets.buckets) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "batch_size 0 and tokens_per_batch 0: exactly one"),
        ({"batch_size": 4, "tokens_per_batch": 9}, "exactly one"),
        ({"batch_size": -4}, "exactly one"),
        ({"batch_size": 4, "num_buckets": 0}, "num_buckets 0 and multiple 1"),
        ({"batch_size": 4, "multiple": 0}, "num_buckets 4 and multiple 0"),
        ({"batch_size": 4, "max_len": 1}, "none of the 2 pairs has at most 1 tokens"),
    ],
)
def test_wrong_sizes_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        bucket_pairs([[5], [5]], [[6], [6, 6]], **{"max_len": 5, **options})


def test_what_is_no_pairs_is_refused():
    with pytest.raises(InputError, match="2 sources and 1 targets"):
        bucket_pairs([[5], [5]], [[6]], max_len=5, batch_size=1)
    with pytest.raises(InputError, match="none of the 0 pairs"):
        bucket_pairs([], [], max_len=5, batch_size=1)


def test_a_mesh_must_split_each_batch(buckets):
    with pytest.raises(InputError, match="does not divide among 4 devices"):
        bucket_batches(buckets, 0, make_mesh("data=4"))


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(InputError, match="seed -1 must lie in"):
        BucketOrder((3,), (1,), seed=-1)


@pytest.mark.parametrize("num_buckets", [1, 4])
def test_pairs_are_read_in_the_order_in_which_they_were_given(num_buckets):
    sources, targets = made(60, 20)
    buckets = bucket_pairs(
        sources, targets, max_len=17, batch_size=8, num_buckets=num_buckets
    )
    kept = [i for i in range(60) if max(len(sources[i]), len(targets[i])) < 17]
    assert len(buckets) == len(kept) == 60 - buckets.num_dropped
    whole = pair_source([sources[i] for i in kept], [targets[i] for i in kept])
    assert isinstance(buckets, Source)
    for index in (np.arange(len(kept)), np.array([7, 0, 7])):
        expected, found = whole.rows(index), buckets.rows(index)
        for name in ("source", "target"):
            np.testing.assert_array_equal(found[name], expected[name])
    numbers = [bucket.index for bucket in buckets.buckets]
    np.testing.assert_array_equal(buckets.in_order(numbers), kept)


def test_pairs_that_are_too_long_may_be_cut():
    sources, targets = [[5] * 3, [5] * 9, [5]], [[6], [6] * 2, [6] * 7]
    buckets = bucket_pairs(
        sources, targets, max_len=4, batch_size=1, num_buckets=1, cut=True
    )
    assert (len(buckets), buckets.num_dropped, buckets.num_cut) == (3, 0, 2)
    rows = buckets.rows(np.arange(3))
    assert rows["source"].tolist() == [[5, 5, 5, 2], [5, 5, 5, 2], [5, 2, 0, 0]]
    assert rows["target"].tolist() == [
        [1, 6, 2, 0, 0],
        [1, 6, 6, 2, 0],
        [1, 6, 6, 6, 2],
    ]
