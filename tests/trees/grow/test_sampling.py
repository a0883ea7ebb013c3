"""Draws of rows and features: what is kept for sure, what on average, and how many."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.trees.grow.sampling import draw_masks, goss, kept_features, uniform_rows

ROWS, PADDED = 900, 1024
FIVE_SIGMA = 5.0  # a false alarm in a million
FEATURES, NODES, LEVELS = 20, 31, 6


def gradients(rng):
    size = np.zeros(PADDED, np.float32)
    size[:ROWS] = rng.gamma(1.0, size=ROWS)
    return jnp.asarray(size), jnp.arange(PADDED) < ROWS


@pytest.mark.parametrize(
    ("top", "other"), [(0.2, 0.1), (0.1, 0.3), (0.05, 0.01), (0.5, 0.5)]
)
def test_goss_keeps_the_largest_gradients_and_weights_the_others(rng, key, top, other):
    size, is_row = gradients(rng)
    kept, factor = map(np.asarray, goss(key, size, is_row, top, other))
    order = np.argsort(-np.asarray(size)[:ROWS])
    first, rest = np.split(order, [math.ceil(round(top * ROWS, 6))])
    assert kept[first].all()
    assert (factor[first] == 1).all()
    np.testing.assert_allclose(factor[rest], (1 - top) / other, rtol=1e-6)
    chance = other / (1 - top)
    spread = math.sqrt(len(rest) * chance * (1 - chance))
    assert abs(kept[rest].sum() - chance * len(rest)) <= FIVE_SIGMA * spread
    assert not kept[ROWS:].any()


def test_goss_expects_the_sum_of_all_gradients(rng, key):
    size, is_row = gradients(rng)
    draw = jax.jit(jax.vmap(lambda key: goss(key, size, is_row, 0.2, 0.1)))
    kept, factor = map(np.asarray, draw(jax.random.split(key, 400)))
    sums = (kept * factor * np.asarray(size)).sum(1)
    deviation = sums.std() / math.sqrt(len(sums))
    assert abs(sums.mean() - float(size.sum())) <= FIVE_SIGMA * deviation
    assert deviation < 0.01 * float(size.sum()), "the test would see nothing"


def test_goss_keeps_all_rows_where_no_gradient_is_larger(key):
    is_row = jnp.arange(PADDED) < ROWS
    kept, factor = goss(key, jnp.zeros(PADDED, jnp.float32), is_row, 0.2, 0.1)
    np.testing.assert_array_equal(kept, is_row)
    assert (np.asarray(factor)[:ROWS] == 1).all()


def test_draws_do_not_depend_on_padding(rng):
    size, is_row = gradients(rng)
    short = goss(jax.random.key(0), size, is_row, 0.2, 0.1)
    wide = jnp.pad(size, (0, PADDED)), jnp.pad(is_row, (0, PADDED))
    long = goss(jax.random.key(0), *wide, 0.2, 0.1)
    for one, other in zip(short, long, strict=True):
        np.testing.assert_array_equal(one[:ROWS], other[:ROWS])
    few = uniform_rows(jax.random.key(0), ROWS, 0.5)
    many = uniform_rows(jax.random.key(0), PADDED, 0.5)
    np.testing.assert_array_equal(few, many[:ROWS])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_uniform_draws_each_row_with_the_same_chance(key, rate):
    rows = 20_000
    drawn = int(uniform_rows(key, rows, rate).sum())
    assert abs(drawn - rate * rows) <= FIVE_SIGMA * math.sqrt(rows * rate * (1 - rate))


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((1.0,), 20), ((0.5,), 10), ((0.5, 0.5, 0.5), 2), ((0.01,), 1)],
)
def test_shares_of_features_multiply_and_leave_one(rates, expected):
    assert kept_features(FEATURES, *rates) == expected


def test_features_are_all_there_by_default(key):
    masks = draw_masks(key, FEATURES, NODES, LEVELS, 1.0, 1.0, 1.0)
    assert masks.by_level.tolist() == [[1] * FEATURES]
    assert masks.priority.shape == (0, FEATURES)
    assert masks.kept.tolist() == [FEATURES]


def test_a_tree_keeps_its_features_on_every_level(key):
    masks = draw_masks(key, FEATURES, NODES, LEVELS, 0.5, 1.0, 1.0)
    assert masks.by_level.shape == (1, FEATURES)
    assert masks.by_level.sum() == 10


def test_levels_draw_among_the_features_of_the_tree():
    sizes = FEATURES, NODES, LEVELS, 0.5
    of_tree = draw_masks(jax.random.key(0), *sizes, 1.0, 1.0).by_level
    by_level = draw_masks(jax.random.key(0), *sizes, 0.4, 1.0).by_level
    assert by_level.sum(1).tolist() == [4] * LEVELS
    assert not (by_level & ~of_tree & 1).any()
    assert len(np.unique(by_level, axis=0)) > 1, "levels differ"


def test_nodes_rank_the_features_of_their_level(key):
    masks = draw_masks(key, FEATURES, NODES, LEVELS, 0.5, 0.8, 0.5)
    assert masks.priority.shape == (NODES, FEATURES)
    assert masks.kept.tolist() == [4] * LEVELS
    # As many as a node keeps are there to choose from, with different priorities.
    assert masks.by_level.sum(1).tolist() == [8] * LEVELS
    assert len(np.unique(masks.priority)) == masks.priority.size


def test_every_feature_has_its_turn(key):
    draw = jax.vmap(lambda k: draw_masks(k, FEATURES, 1, 1, 0.25, 1.0, 1.0).by_level[0])
    counts = np.asarray(draw(jax.random.split(key, 2000))).sum(0, dtype=int)
    spread = math.sqrt(2000 * 0.25 * 0.75)
    assert (abs(counts - 500) <= FIVE_SIGMA * spread).all()
