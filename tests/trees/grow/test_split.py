"""The split search against a naive twin, brute force, and scikit-learn's."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.trees.grow.split import (
    SplitFeatures,
    SplitNumbers,
    SplitSpec,
    find_splits,
    leaf_weight,
)

BINS = 17  # of a histogram; the last one is for missing values
VALUES = BINS - 1
FREE = np.array([[-np.inf, np.inf]])
# Gains are differences of scores; these are some roundings of the scores.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
PLAIN = {
    "l2": 1.0,
    "l1": 0.0,
    "min_hessian": 0.0,
    "min_gain": 0.0,
    "min_rows": 2.0,
    "max_delta_step": np.inf,
    "min_leaf_rows": 1.0,
}
UNITS = np.array([2.0**-20, 2.0**-22])
search = jax.jit(find_splits, static_argnames="limits")


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def objective(g, h, rules, low=-np.inf, high=np.inf):
    """The least of 2 g w + (h + l2) w^2 + 2 l1 |w|, and where it is.

    A convex function of one number: at the corner, at a stationary point of either
    side, or at an end.
    """
    low, high = max(low, -rules["max_delta_step"]), min(high, rules["max_delta_step"])

    def value(w):
        return 2 * g * w + (h + rules["l2"]) * w**2 + 2 * rules["l1"] * abs(w)

    places = [-(g + side * rules["l1"]) / (h + rules["l2"]) for side in (1, -1)]
    best = min(np.clip([0.0, *places], low, high), key=value)
    return value(best), best


class Twin:
    """Looks at split after split, feature by feature, for one node."""

    def __init__(self, histogram, total, units, rules, **more):
        self.histogram, self.total, self.units = histogram, total, units
        self.rules = rules
        features = len(histogram)
        self.mask = more.get("mask", np.ones(features, bool))
        self.categorical = more.get("categorical", np.zeros(features, bool))
        self.monotone = more.get("monotone", np.zeros(features, int))
        self.bounds = more.get("bounds", (-np.inf, np.inf))
        self.max_onehot = more.get("max_onehot", 4)
        self.num_values = more.get("num_values", np.full(features, VALUES))

    def gain(self, left, feature):
        """Give the gain of a split by the sums of its left child; None: not allowed."""
        scores, weights = [], []
        for part in (left, self.total - left):
            g, h = part[0] * self.units[0], part[1] * self.units[1]
            if h <= 0 or h < self.rules["min_hessian"]:
                return None
            if len(part) == 3 and part[2] < self.rules["min_leaf_rows"]:
                return None
            score, weight = objective(g, h, self.rules, *self.bounds)
            scores.append(score)
            weights.append(weight)
        if self.monotone[feature] * (weights[1] - weights[0]) < 0:
            return None
        g, h = self.total[0] * self.units[0], self.total[1] * self.units[1]
        return objective(g, h, self.rules, *self.bounds)[0] - sum(scores)

    def candidates(self, feature):
        """Give (bins that go left, place, missing left) in the order that counts."""
        values = list(range(VALUES))
        if self.categorical[feature]:
            sums = self.histogram[feature]
            if self.num_values[feature] <= self.max_onehot:
                sets = [[b] for b in values]
            else:
                filled = [b for b in values if sums[b, 1] > 0]
                filled.sort(
                    key=lambda b: objective(
                        sums[b, 0] * self.units[0],
                        sums[b, 1] * self.units[1],
                        self.rules,
                    )[1]
                )
                order = filled + [b for b in values if sums[b, 1] <= 0]
                sets = [order[: b + 1] for b in values]
        else:
            sets = [values[: b + 1] for b in values]
        yield from ((bins, place, False) for place, bins in enumerate(sets))
        if self.histogram[feature, -1].any():
            for place in reversed(values):
                yield sets[place], place, True

    def best(self):
        """Give the first of the best: gain, feature, place, missing left, left sums."""
        found = (-np.inf, 0, 0, False, None)
        for feature in np.flatnonzero(self.mask):
            for bins, place, missing_left in self.candidates(feature):
                taken = [*bins, VALUES] if missing_left else bins
                left = self.histogram[feature, taken].sum(0)
                gain = self.gain(left, feature)
                # Not by a rounding: two orders of the same sums are no two gains.
                if gain is not None and gain > found[0] + 1e-12 * (1 + abs(gain)):
                    found = (gain, feature, place, missing_left, left)
        return found


def draw(rng, features=5, rows=400, missing=0.1, channels=2, signal=1.0):
    """Histograms of random rows, one node, and their total."""
    bins = rng.integers(0, VALUES, (rows, features))
    bins[rng.random(bins.shape) < missing] = VALUES
    g = rng.normal(size=rows) + signal * (bins[:, 1] > 9) - (bins[:, 3] == VALUES)
    parts = [np.rint(g / UNITS[0]), np.rint(rng.uniform(0.1, 1, rows) / UNITS[1])]
    values = np.stack([*parts, np.ones(rows)][:channels], 1).astype(np.int64)
    return histogram_of(bins, values), values.sum(0)


def histogram_of(bins, values):
    found = np.zeros((bins.shape[1], BINS, values.shape[1]), np.int64)
    for feature, column in enumerate(bins.T):
        np.add.at(found[feature], column, values)
    return found


def find(histograms, totals, rules, *, limits=None, units=UNITS, **more):
    """Search several nodes at once."""
    histograms, totals = np.stack(histograms), np.stack(totals)
    nodes, features = histograms.shape[:2]
    known = SplitFeatures(
        jnp.asarray(more.get("num_values", np.full(features, VALUES)), jnp.int32),
        jnp.asarray(more.get("categorical", np.zeros(features, bool))),
        jnp.asarray(more.get("monotone", np.zeros(features)), jnp.int32),
    )
    splits = search(
        jnp.asarray(histograms),
        jnp.asarray(totals),
        jnp.asarray(np.tile(more.get("bounds", FREE), (nodes, 1)), jnp.float64),
        jnp.asarray(np.tile(more.get("mask", np.ones(features, bool)), (nodes, 1))),
        jnp.asarray(units),
        known,
        SplitNumbers(**{name: jnp.float64(value) for name, value in rules.items()}),
        limits=limits or SplitSpec(),
    )
    return jax.tree.map(np.asarray, splits)


def left_set(splits, node):
    """Read the bits of the bins that go left."""
    words = splits.left_bins[node]
    return {b for b in range(BINS) if words[b // 32] >> (b % 32) & 1}


def check(histograms, totals, rules, *, limits=None, **more):
    splits = find(histograms, totals, rules, limits=limits, **more)
    for node, (histogram, total) in enumerate(zip(histograms, totals, strict=True)):
        bounds = {"bounds": more["bounds"][0]} if "bounds" in more else {}
        twin = Twin(histogram, total, UNITS, rules, **{**more, **bounds})
        gain, feature, place, missing_left, left = twin.best()
        if left is None:
            assert splits.gain[node] == -np.inf
            continue
        np.testing.assert_allclose(splits.gain[node], gain, **CLOSE)
        assert splits.feature[node] == feature
        assert splits.bin[node] == place
        assert splits.missing_left[node] == missing_left
        np.testing.assert_array_equal(splits.left[node], left)
        taken = sorted(left_set(splits, node))
        np.testing.assert_array_equal(histogram[feature, taken].sum(0), left)
        assert (VALUES in taken) == missing_left
    return splits


RULES = {
    "plain": {},
    "no l2": {"l2": 0.0},
    "l1": {"l1": 5.0},
    "l1 that shrinks all to nothing": {"l1": 1e6},
    "min_hessian": {"min_hessian": 70.0},
    "min_hessian beyond reach": {"min_hessian": 150.0},
    "max_delta_step": {"max_delta_step": 0.2},
    "all at once": {"l1": 2.0, "l2": 3.0, "min_hessian": 20.0, "max_delta_step": 0.3},
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("missing", [0.0, 0.15, 0.9])
def test_the_search_finds_what_a_naive_search_finds(rng, name, missing):
    nodes = [draw(rng, missing=missing) for _ in range(4)]
    check(*zip(*nodes, strict=True), PLAIN | RULES[name])


def test_where_all_steps_are_cut_gains_are_those_of_the_split_found(rng):
    """Splits tie there up to rounding, so which one is found is free."""
    rules = PLAIN | {"max_delta_step": 0.01, "l1": 3.0, "l2": 4.0}
    histogram, total = draw(rng)
    found, twin = (
        find([histogram], [total], rules),
        Twin(histogram, total, UNITS, rules),
    )
    expected = twin.gain(found.left[0], found.feature[0])
    np.testing.assert_allclose(found.gain[0], expected, **CLOSE)
    np.testing.assert_allclose(found.gain[0], twin.best()[0], **CLOSE)


def test_children_of_too_few_rows_are_passed_over(rng):
    nodes = [draw(rng, channels=3) for _ in range(4)]
    for least in (1, 20, 150, 199, 201):
        check(*zip(*nodes, strict=True), PLAIN | {"min_leaf_rows": least})


def test_features_outside_the_mask_are_not_split_on(rng):
    nodes = [draw(rng) for _ in range(4)]
    for mask in itertools.product([False, True], repeat=5):
        check(*zip(*nodes, strict=True), PLAIN, mask=np.array(mask))


def test_the_worked_example_has_gain_24_075757():
    """20 rows with 1 positive, 20 with 18; logistic loss at raw score 0."""
    histogram = np.zeros((1, BINS, 2), np.int64)
    histogram[0, 3], histogram[0, 7] = (18, 20), (-16, 20)  # halves and quarters
    found = find([histogram], [histogram[0].sum(0)], PLAIN, units=np.array([0.5, 0.25]))
    assert found.gain[0] == pytest.approx(24.075757575757, abs=1e-11)
    assert found.bin[0] == 3
    rules = SplitNumbers(**{name: jnp.float64(value) for name, value in PLAIN.items()})
    leaves = leaf_weight(jnp.asarray([9.0, -8.0]), jnp.asarray([5.0, 5.0]), rules)
    np.testing.assert_allclose(0.3 * leaves, [-0.45, 0.40], rtol=1e-15)


@pytest.mark.peer
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("l2", [0.0, 1.0])
def test_scikit_learn_finds_the_same_split(rng, missing, l2):
    grower = pytest.importorskip(
        "sklearn.ensemble._hist_gradient_boosting.grower", reason="private there"
    )
    rules = PLAIN | {"l2": l2, "min_hessian": 1e-3}
    for _ in range(10):
        bins = rng.integers(0, VALUES, (300, 5)).astype(np.uint8)
        bins[rng.random(bins.shape) < missing] = VALUES
        g = rng.normal(size=300).astype(np.float32) + (bins[:, 1] > 9)
        h = rng.uniform(0.1, 1, 300).astype(np.float32)
        tree = grower.TreeGrower(
            np.asfortranarray(bins),
            g,
            h,
            max_leaf_nodes=2,
            min_samples_leaf=1,
            l2_regularization=l2,
            n_bins=BINS,
            has_missing_values=missing > 0,
        )
        tree.grow()
        peer = tree.root.split_info
        values = np.stack([np.rint(g / UNITS[0]), np.rint(h / UNITS[1])], 1)
        values = values.astype(np.int64)
        found = find([histogram_of(bins, values)], [values.sum(0)], rules)
        assert found.feature[0] == peer.feature_idx
        assert found.bin[0] == peer.bin_idx
        if missing:  # without, it sends missing values to the larger child
            assert found.missing_left[0] == peer.missing_go_to_left
        # Its root has value 0, so that its gain lacks the parent's score.
        parent = g.sum(dtype=float) ** 2 / (h.sum(dtype=float) + l2)
        np.testing.assert_allclose(found.gain[0], peer.gain - parent, rtol=1e-4)


def test_few_rows_and_empty_nodes_have_no_split_or_the_right_one(rng):
    nodes = [draw(rng, rows=rows) for rows in (0, 1, 2, 3)]
    splits = check(*zip(*nodes, strict=True), PLAIN)
    assert (splits.gain[:2] == -np.inf).all()


@pytest.mark.parametrize("missing_left", [False, True])
@pytest.mark.parametrize("split", [0, 7, VALUES - 2])
def test_a_planted_split_is_found(rng, split, missing_left):
    bins = rng.integers(0, BINS, (600, 5))
    bins[rng.random(600) < 0.3, 2] = VALUES
    is_left = np.where(bins[:, 2] == VALUES, missing_left, bins[:, 2] <= split)
    g = np.where(is_left, -1.0, 1.0) + 0.1 * rng.normal(size=600)
    values = np.stack([g / UNITS[0], np.full(600, 1 / UNITS[1])], 1).astype(np.int64)
    found = find([histogram_of(bins, values)], [values.sum(0)], PLAIN)
    assert (found.feature[0], found.bin[0]) == (2, split)
    assert found.missing_left[0] == missing_left


def test_missing_values_alone_may_part_the_rows(rng):
    bins = rng.integers(0, VALUES, (600, 5))
    bins[:200, 4] = VALUES
    g = np.where(bins[:, 4] == VALUES, -1.0, 1.0)
    values = np.stack([g / UNITS[0], np.full(600, 1 / UNITS[1])], 1).astype(np.int64)
    found = find([histogram_of(bins, values)], [values.sum(0)], PLAIN)
    assert found.feature[0] == 4
    assert left_set(found, 0) == set(range(VALUES)), "all values left, missing right"


def one_feature(sums, *, missing=(0, 0)):
    """Histograms of gradient sums at hessian 1 a bin, for a feature."""
    histogram = np.zeros((BINS, 2), np.int64)
    for place, g in sums.items():
        histogram[place] = [g, 1]
    histogram[-1] = missing
    return histogram


def test_of_equal_gains_the_lower_feature_counts():
    informative = one_feature({3: -1, 8: 1})
    dull = one_feature({3: 0, 8: 0})
    histogram = np.stack([dull, informative, informative, dull, informative])
    found = find([histogram], [histogram[0].sum(0)], PLAIN, units=np.ones(2))
    assert found.feature[0] == 1


def test_of_equal_gains_the_lower_bin_counts():
    # Both {2} | {5, 9} and {2, 5} | {9} part the gradients equally well.
    histogram = one_feature({2: -1, 5: 0, 9: 1})[None]
    found = find([histogram], [histogram[0].sum(0)], PLAIN, units=np.ones(2))
    assert found.bin[0] == 2
    # Bins without rows repeat a partition: the first one that has it counts.
    gap = one_feature({2: -1, 9: 1})[None]
    found = find([gap], [gap[0].sum(0)], PLAIN, units=np.ones(2))
    assert found.bin[0] == 2


def test_of_equal_gains_missing_values_go_right():
    # g = -1, 0 (missing), 1: the missing row may stand on either side.
    histogram = one_feature({2: -1, 9: 1}, missing=(0, 1))[None]
    found = find([histogram], [histogram[0].sum(0)], PLAIN, units=np.ones(2))
    assert not found.missing_left[0]
    assert found.bin[0] == 2


def test_with_missing_values_left_the_highest_of_equal_bins_counts():
    histogram = one_feature({2: -1, 9: 1}, missing=(-1, 1))[None]
    found = find([histogram], [histogram[0].sum(0)], PLAIN, units=np.ones(2))
    assert found.missing_left[0]
    assert found.bin[0] == 8


@pytest.mark.parametrize("max_onehot", [0, VALUES])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_categories_are_searched_like_the_twin_does(rng, max_onehot, missing):
    nodes = [draw(rng, missing=missing) for _ in range(4)]
    limits = SplitSpec(has_categories=True, max_onehot=max_onehot)
    categorical = np.array([False, True, True, True, False])
    check(
        *zip(*nodes, strict=True),
        PLAIN,
        limits=limits,
        categorical=categorical,
        max_onehot=max_onehot,
    )


def test_few_categories_are_split_off_one_by_one_many_are_sorted(rng):
    sums = {0: 1, 1: -2, 2: 1}
    histogram = np.stack([one_feature(sums), one_feature({0: 0, 1: 0, 2: 0})])
    for max_onehot, taken in ((3, {1}), (2, {0, 2})):
        found = find(
            [histogram],
            [histogram[0].sum(0)],
            PLAIN,
            units=np.ones(2),
            limits=SplitSpec(has_categories=True, max_onehot=max_onehot),
            categorical=[True, True],
            num_values=[3, 3],
        )
        assert left_set(found, 0) & set(sums) == taken
        assert found.bin[0] == 1


@pytest.mark.parametrize("categories", [2, 3, 5, 8])
def test_sorted_categories_are_the_best_of_all_partitions(rng, categories):
    """Fisher 1958: for the squared loss no partition beats the prefixes."""
    rules = PLAIN | {"l2": 0.0}
    counts = rng.integers(1, 9, categories)
    histogram = np.zeros((1, BINS, 2), np.int64)
    histogram[0, :categories, 0] = np.rint(rng.normal(size=categories) / UNITS[0])
    histogram[0, :categories, 1] = np.rint(counts / UNITS[1])
    total = histogram[0].sum(0)
    found = find(
        [histogram],
        [total],
        rules,
        limits=SplitSpec(has_categories=True, max_onehot=0),
        categorical=[True],
        num_values=[categories],
    )
    twin = Twin(histogram, total, UNITS, rules)
    sets = itertools.chain.from_iterable(
        itertools.combinations(range(categories), k) for k in range(1, categories)
    )
    best = max(twin.gain(histogram[0, list(taken)].sum(0), 0) for taken in sets)
    np.testing.assert_allclose(found.gain[0], best, **CLOSE)


@pytest.mark.parametrize("missing_left", [False, True])
def test_a_category_without_rows_goes_where_missing_values_go(missing_left):
    g = {0: -1, 1: -1, 4: 1, 6: 1}
    side = -1 if missing_left else 1
    histogram = one_feature(g, missing=(2 * side, 2))[None]
    for max_onehot in (0, VALUES):
        found = find(
            [histogram],
            [histogram[0].sum(0)],
            PLAIN,
            units=np.ones(2),
            limits=SplitSpec(has_categories=True, max_onehot=max_onehot),
            categorical=[True],
        )
        taken = left_set(found, 0)
        is_left = found.missing_left[0]
        empty = set(range(VALUES)) - set(g)
        assert empty <= taken if is_left else not empty & taken
        assert (VALUES in taken) == is_left


@pytest.mark.parametrize("signs", [[1] * 5, [-1] * 5, [0, 1, -1, 0, 1]])
def test_monotone_splits_are_those_of_the_twin(rng, signs):
    nodes = [draw(rng) for _ in range(4)]
    given = list(zip(*nodes, strict=True))
    limits = SplitSpec(has_monotone=True)
    for bounds in (FREE, np.array([[-0.1, 0.05]]), np.array([[0.02, np.inf]])):
        for name in ("plain", "l1", "max_delta_step"):
            if name == "l1" and bounds[0, 0] > 0:
                continue  # all leaves stand at the bound, and all splits gain alike
            rules = PLAIN | RULES[name]
            check(*given, rules, limits=limits, monotone=np.array(signs), bounds=bounds)


def test_without_signs_a_monotone_search_finds_the_same(rng):
    nodes = [draw(rng) for _ in range(4)]
    given = list(zip(*nodes, strict=True))
    for name in RULES:
        rules = PLAIN | RULES[name]
        plain, monotone = (
            find(*given, rules, limits=limits)
            for limits in (SplitSpec(), SplitSpec(has_monotone=True))
        )
        np.testing.assert_allclose(plain.gain, monotone.gain, **CLOSE)


@pytest.mark.parametrize("name", RULES)
def test_a_leaf_minimises_its_part_of_the_objective(rng, name):
    rules = PLAIN | RULES[name]
    g, h = rng.normal(0, 10, 50), rng.uniform(0.1, 9, 50)
    numbers = SplitNumbers(**{key: jnp.float64(value) for key, value in rules.items()})
    found = leaf_weight(jnp.asarray(g), jnp.asarray(h), numbers)
    expected = [objective(*pair, rules)[1] for pair in zip(g, h, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_a_leaf_without_rows_or_slope_is_zero():
    numbers = SplitNumbers(
        **{name: jnp.float64(v) for name, v in (PLAIN | {"l2": 0}).items()}
    )
    zero = jnp.zeros(1)
    assert leaf_weight(zero, zero, numbers).tolist() == [0.0]
    assert leaf_weight(zero, jnp.ones(1), numbers).tolist() == [0.0]
