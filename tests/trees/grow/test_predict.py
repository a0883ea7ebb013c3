"""Prediction, compiled and in JAX, against a naive walk, bit for bit."""

import jax
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees.grow import predict
from jaxlab.trees.grow.predict import (
    Predictor,
    depth_of,
    padded_size,
    predict_leaves,
    predict_raw,
)
from jaxlab.trees.grow.tree import Forest, Nodes
from jaxlab.trees.native import has_native

FEATURES, BINS, WIDTH = 5, 33, 31
MISSING = BINS - 1


@pytest.fixture(params=["compiled", "jax"])
def way(request, monkeypatch):
    """Take the compiled kernel, or do without."""
    if request.param == "jax":
        monkeypatch.setattr(predict, "has_native", lambda: False)
    elif not has_native():
        pytest.skip("no compiled kernels here")
    return request.param


def random_forest(rng, trees=12, outputs=1, *, categories=False):
    """Grow trees at random: some of one leaf, some as deep as they are wide."""
    shape = (trees, WIDTH)
    left, bin = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    words = np.zeros((*shape, 8), np.uint32)
    missing_left = np.zeros(shape, bool)
    feature = np.zeros(shape, np.int32)
    for tree in range(trees):
        used, open_nodes = 1, [0]
        for _ in range(rng.integers(0, WIDTH // 2 + 1) if tree else 0):
            # The last one open, for a chain; or any.
            pick = -1 if tree % 2 else rng.integers(len(open_nodes))
            node = open_nodes.pop(pick)
            left[tree, node] = used
            open_nodes += [used, used + 1]
            used += 2
            feature[tree, node] = rng.integers(FEATURES)
            bin[tree, node] = rng.integers(BINS - 1)
            missing_left[tree, node] = rng.random() < 0.5
            inside = np.arange(256) <= bin[tree, node]
            if categories:
                inside = rng.random(256) < 0.5
            inside[MISSING] = missing_left[tree, node]
            words[tree, node] = np.packbits(inside, bitorder="little").view(np.uint32)
    value = np.where(left == 0, rng.normal(size=shape), 0).astype(np.float32)
    zeros = np.zeros(shape, np.float32)
    nodes = Nodes(
        *(left, feature, bin, missing_left, words, value),
        *(zeros, zeros, zeros, np.zeros(shape, np.int32)),
    )
    return Forest(nodes, rng.normal(size=outputs).astype(np.float32), BINS)


def draw_bins(rng, rows):
    bins = rng.integers(0, BINS - 1, (rows, FEATURES)).astype(np.uint8)
    bins[rng.random(bins.shape) < 0.1] = MISSING
    return bins


def walk(forest, tree, row):
    nodes, at = forest.nodes, 0
    while nodes.left[tree, at]:
        bin = int(row[nodes.feature[tree, at]])
        is_left = int(nodes.left_bins[tree, at, bin // 32]) >> (bin % 32) & 1
        at = int(nodes.left[tree, at]) + 1 - is_left
    return at


def naive_leaves(forest, bins):
    walked = [[walk(forest, t, row) for t in range(forest.num_trees)] for row in bins]
    return np.array(walked, np.int32).reshape(len(bins), forest.num_trees)


def naive_raw(forest, bins, rounds=None, start=None):
    """Add float32 values one after the other, in the order of the trees."""
    raw = np.tile(forest.start[:, None], (1, len(bins))) if start is None else +start
    leaves = naive_leaves(forest, bins)
    rounds = forest.num_rounds if rounds is None else rounds
    for tree in range(rounds * forest.num_outputs):
        raw[tree % forest.num_outputs] += forest.nodes.value[tree, leaves[:, tree]]
    return raw


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("rows", [0, 1, 7, 16, 17, 1500])
def test_raw_scores_are_those_of_a_naive_walk(rng, way, outputs, rows):
    forest, bins = random_forest(rng, outputs=outputs), draw_bins(rng, rows)
    found = predict_raw(forest, bins)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, naive_raw(forest, bins))


@pytest.mark.parametrize("rows", [0, 1, 7, 500])
def test_leaves_are_those_of_a_naive_walk(rng, rows):
    forest, bins = random_forest(rng, outputs=3), draw_bins(rng, rows)
    found = predict_leaves(forest, bins)
    assert found.dtype == np.int32
    assert found.shape == (rows, 12)
    np.testing.assert_array_equal(found, naive_leaves(forest, bins))


def test_sets_of_categories_are_followed(rng):
    forest, bins = random_forest(rng, categories=True), draw_bins(rng, 300)
    found = Predictor(forest)  # nobody has to tell it that there are categories
    np.testing.assert_array_equal(found.raw(bins), naive_raw(forest, bins))
    np.testing.assert_array_equal(found.leaves(bins), naive_leaves(forest, bins))


@pytest.mark.parametrize("rounds", [0, 1, 3, 4])
def test_the_first_rounds_are_those_of_a_shorter_forest(rng, way, rounds):
    forest, bins = random_forest(rng, outputs=3), draw_bins(rng, 50)
    found = predict_raw(forest, bins, rounds=rounds)
    np.testing.assert_array_equal(found, predict_raw(forest.rounds(rounds), bins))
    np.testing.assert_array_equal(found, naive_raw(forest, bins, rounds))


def test_given_scores_take_the_place_of_the_start(rng, way):
    forest, bins = random_forest(rng, outputs=3), draw_bins(rng, 50)
    start = rng.normal(size=(3, 50)).astype(np.float32)
    kept = start.copy()
    found = predict_raw(forest, bins, start=start)
    np.testing.assert_array_equal(found, naive_raw(forest, bins, start=start))
    np.testing.assert_array_equal(start, kept)


def test_staged_scores_go_on_where_the_last_stage_ended(rng, way):
    forest, bins = random_forest(rng, outputs=3), draw_bins(rng, 50)
    staged = predict_raw(forest, bins, rounds=0)
    for stage in range(forest.num_rounds):
        one = forest.rounds(stage + 1, stage)
        staged = predict_raw(one, bins, start=staged)
        whole = predict_raw(forest, bins, rounds=stage + 1)
        np.testing.assert_array_equal(staged, whole)


def test_a_forest_without_trees_gives_the_start(rng, way):
    forest = random_forest(rng).rounds(0)
    found = predict_raw(forest, draw_bins(rng, 7))
    np.testing.assert_array_equal(found, np.tile(forest.start[:, None], (1, 7)))
    assert predict_leaves(forest, draw_bins(rng, 7)).shape == (7, 0)


def test_blocks_of_rows_do_not_matter(rng, monkeypatch):
    monkeypatch.setattr(predict, "_ROWS", 64)
    monkeypatch.setattr(predict, "has_native", lambda: False)
    forest, bins = random_forest(rng, outputs=3), draw_bins(rng, 150)
    np.testing.assert_array_equal(predict_raw(forest, bins), naive_raw(forest, bins))
    start = rng.normal(size=(3, 150)).astype(np.float32)
    found = predict_raw(forest, bins, start=start)
    np.testing.assert_array_equal(found, naive_raw(forest, bins, start=start))
    np.testing.assert_array_equal(
        predict_leaves(forest, bins), naive_leaves(forest, bins)
    )


def test_every_row_is_predicted_alike_alone_and_among_others(rng, way):
    forest, bins = random_forest(rng), draw_bins(rng, 37)
    whole = predict_raw(forest, bins)
    alone = [predict_raw(forest, bins[i : i + 1]) for i in range(37)]
    np.testing.assert_array_equal(np.concatenate(alone, axis=1), whole)


def test_other_numbers_of_rows_and_trees_share_a_program(rng, way, compilations):
    forest = random_forest(rng, trees=32)
    predictor = Predictor(forest)
    predictor.raw(draw_bins(rng, 1001))
    predictor.leaves(draw_bins(rng, 1001))
    with compilations() as names:
        for rows in (961, 1000, 1024):
            predictor.raw(draw_bins(rng, rows))
            predictor.raw(draw_bins(rng, rows), rounds=5)
            predictor.leaves(draw_bins(rng, rows))
        other = Predictor(random_forest(rng, trees=31))
        other.raw(draw_bins(rng, 1010))
    assert not names


def test_single_rows_compile_once(rng, way, compilations):
    predictor = Predictor(random_forest(rng))
    predictor.raw(draw_bins(rng, 1))
    with compilations() as names:
        for rows in (1, 2, 5, 8):
            predictor.raw(draw_bins(rng, rows))
    assert not names


def test_depths_are_steps_to_the_deepest_leaf(rng):
    forest = random_forest(rng)

    def depth(tree, node=0):
        left = forest.nodes.left[tree, node]
        return 1 + max(depth(tree, left), depth(tree, left + 1)) if left else 0

    expected = [depth(tree) for tree in range(forest.num_trees)]
    assert depth_of(forest.nodes).tolist() == expected
    assert max(expected) > 5, "the test would see little"


def test_sizes_are_few_and_close():
    sizes = np.arange(1, 5000)
    padded = np.array([padded_size(int(size)) for size in sizes])
    assert (padded >= sizes).all()
    assert (padded[sizes > 8] <= 1.125 * sizes[sizes > 8] + 1).all()
    assert len(np.unique(padded)) < 90
    assert (np.diff(padded) >= 0).all()
    np.testing.assert_array_equal([padded_size(int(p)) for p in padded], padded)


@pytest.mark.parametrize("rounds", [-1, 5])
def test_rounds_that_are_not_there_are_refused(rng, way, rounds):
    forest = random_forest(rng, outputs=3)
    with pytest.raises(ValueError, match="rounds"):
        predict_raw(forest, draw_bins(rng, 7), rounds=rounds)


def test_a_predictor_lays_the_forest_out_once(rng):
    predictor = Predictor(random_forest(rng))
    assert predictor.nodes is predictor.nodes
    assert isinstance(predictor.nodes.left, jax.Array)


def test_rows_without_the_features_of_the_forest_are_refused(rng):
    forest, bins = random_forest(rng), draw_bins(rng, 5)
    least = int(np.asarray(forest.nodes.feature).max())
    with pytest.raises(InputError, match=f"splits on feature {least}"):
        predict_raw(forest, bins[:, :least])
    with pytest.raises(InputError, match="its own binner"):
        predict_leaves(forest, bins[:, :least])
