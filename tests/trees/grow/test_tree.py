"""Forests as arrays: sets of bins as bits, rounds, joining."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.trees.grow.tree import Forest, Nodes, bins_below, concatenate, goes_left


def make_forest(rng, trees, width, outputs=1):
    """Random numbers in every place, so that a mix-up shows."""
    shape = (trees, width)
    nodes = Nodes(
        *(rng.integers(0, 9, shape).astype(np.int32) for _ in range(3)),
        rng.random(shape) < 0.5,
        rng.integers(0, 2**32, (*shape, 8), np.uint32),
        *(rng.normal(size=shape).astype(np.float32) for _ in range(4)),
        rng.integers(0, 9, shape).astype(np.int32),
    )
    return Forest(nodes, rng.normal(size=outputs).astype(np.float32), 17)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("num_bins", [17, 33, 65, 129, 256])
@pytest.mark.parametrize("missing_left", [False, True])
def test_bits_tell_which_bins_go_left(num_bins, missing_left):
    bins = jnp.arange(num_bins).astype(jnp.uint8)
    for split in {0, 1, 15, 16, 30, 31, 32, 63, 127, 254} & set(range(num_bins - 1)):
        words = bins_below(jnp.int32(split), jnp.bool_(missing_left), num_bins)
        found = goes_left(words[bins >> 5], bins)
        expected = [b <= split for b in range(num_bins - 1)] + [missing_left]
        assert found.tolist() == expected


def test_bits_of_many_splits_are_those_of_each():
    splits = jnp.asarray([[3, 200], [31, 0]], jnp.int32)
    missing = jnp.asarray([[True, False], [True, False]])
    found = bins_below(splits, missing, 256)
    for place in np.ndindex(2, 2):
        one = bins_below(splits[place], missing[place], 256)
        np.testing.assert_array_equal(found[place], one)


def test_rounds_cut_all_outputs_of_a_round(rng):
    forest = make_forest(rng, 12, 7, outputs=3)
    assert (forest.num_trees, forest.num_outputs, forest.num_rounds) == (12, 3, 4)
    part = forest.rounds(3, 1)
    assert part.num_rounds == 2
    np.testing.assert_array_equal(part.nodes.value, forest.nodes.value[3:9])
    assert_same(part.start, forest.start)
    assert_same(forest.rounds(4), forest)
    assert forest.rounds(0).num_trees == 0


def test_joined_forests_keep_order_and_the_first_start(rng):
    narrow, wide = make_forest(rng, 2, 3), make_forest(rng, 3, 7)
    joined = concatenate([narrow, wide])
    assert_same(joined.rounds(5, 2).nodes, wide.nodes)
    assert_same(joined.start, narrow.start)
    first = joined.rounds(2).nodes
    assert_same(jax.tree.map(lambda leaf: leaf[:, :3], first), narrow.nodes)
    # What is added looks like leaves of value 0.
    assert not any(np.any(leaf[:, 3:]) for leaf in jax.tree.leaves(first))


def test_cutting_and_joining_again_changes_nothing(rng):
    forest = make_forest(rng, 6, 7, outputs=2)
    assert_same(concatenate([forest.rounds(1), forest.rounds(3, 1)]), forest)


def test_a_forest_is_a_pytree_that_jit_takes(rng):
    forest = make_forest(rng, 4, 7, outputs=2)
    doubled = jax.jit(lambda forest: jax.tree.map(lambda leaf: leaf, forest))(forest)
    assert doubled.num_bins == 17
    assert_same(doubled, forest)
