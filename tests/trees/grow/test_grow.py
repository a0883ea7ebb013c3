"""One tree: the compiled grower, the one in JAX and a naive one, to the last bit."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.trees.grow import expand, fixed_point
from jaxlab.trees.grow.grow import can_compile, grow_tree
from jaxlab.trees.grow.histogram import IMPLEMENTATIONS, is_by_rows
from jaxlab.trees.grow.problem import Masks, PlacedTable, TreeSpec
from jaxlab.trees.grow.split import SplitFeatures, SplitNumbers, SplitSpec
from jaxlab.trees.native import has_native

ROWS, FEATURES, BINS, LEVELS = 512, 6, 33, 4
MISSING, VALUES = BINS - 1, BINS - 1
POLICIES = {
    "stump": {"max_depth": 1, "max_leaves": 2},
    "depth 3": {"max_depth": 3, "max_leaves": 8},
    "depth 5": {"max_depth": 5, "max_leaves": 32},
    "depth 9": {"max_depth": 9, "max_leaves": 512},
    "budget": {"max_depth": 6, "max_leaves": 21},
    "any depth": {"max_depth": 0, "max_leaves": 40},
    "best first": {"max_depth": 0, "max_leaves": 31, "best_first": True},
    "best first, shallow": {"max_depth": 4, "max_leaves": 31, "best_first": True},
}
QUICK = {"stump", "depth 3"}  # to compile
NOT_PAIRED = {"depth 5", "best first, shallow"}
# The grower in JAX is the same for all implementations but for the histogram's call.
PAIRS = [
    # "depth 9" passes through the levels of "depth 5"; the last one meets categories.
    *((name, "xla") for name in POLICIES if name not in NOT_PAIRED),
    *((name, "native") for name in ("depth 3", "best first")),
    ("depth 3", "flat"),
]
PAIR_PARAMS = [
    pytest.param(*pair, marks=() if pair[0] in QUICK else pytest.mark.slow)
    for pair in PAIRS
]
needs_kernels = pytest.mark.skipif(not has_native(), reason="no compiled kernels here")


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


@dataclasses.dataclass
class Problem:
    """What one tree is grown on; the last rows are padding full of noise."""

    bins: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    used: np.ndarray
    num_rows: int = ROWS - 50
    by_level: np.ndarray = dataclasses.field(
        default_factory=lambda: np.ones((LEVELS, FEATURES), np.uint8)
    )
    kept: int = FEATURES
    num_values: np.ndarray = dataclasses.field(
        default_factory=lambda: np.full(FEATURES, VALUES, np.int32)
    )
    rules: dict = dataclasses.field(default_factory=dict)

    @property
    def numbers(self):
        plain = {
            "l2": 1.0,
            "l1": 0.0,
            "min_hessian": 0.0,
            "min_gain": 1e-6,
            "min_rows": 2.0,
            "max_delta_step": np.inf,
            "min_leaf_rows": 1.0,
        }
        return plain | self.rules

    @property
    def real(self):
        return self.used & (np.arange(ROWS) < self.num_rows)


def draw(seed=0):
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, VALUES, (ROWS, FEATURES)).astype(np.uint8)
    g = rng.normal(size=ROWS) + (bins[:, 0] > 10) - 0.5 * (bins[:, 3] < 5)
    h = rng.uniform(0.1, 1, ROWS)
    every = np.ones(ROWS, bool)
    return Problem(bins, g.astype(np.float32), h.astype(np.float32), every)


SCENARIOS = {}


def scenario(change):
    """Name a way to spoil the drawn problem."""
    SCENARIOS[change.__name__.replace("_", " ").strip()] = change
    return change


@scenario
def plain(p, rng):
    pass


@scenario
def missing_values(p, rng):
    p.bins[rng.random(p.bins.shape) < 0.1] = MISSING
    p.gradient[p.bins[:, 2] == MISSING] -= 1


@scenario
def mostly_missing(p, rng):
    p.bins[rng.random(p.bins.shape) < 0.9] = MISSING
    p.gradient[p.bins[:, 2] == MISSING] += 1


@scenario
def constant_and_empty_columns(p, rng):
    p.bins[:, 0], p.bins[:, 1], p.bins[:, 2] = 7, MISSING, 0
    p.num_values[:3] = 8, 0, 1


@scenario
def nothing_to_split_on(p, rng):
    p.bins[:] = MISSING
    p.num_values[:] = 0


@scenario
def one_row(p, rng):
    p.num_rows = 1


@scenario
def two_rows(p, rng):
    p.num_rows = 2


@scenario
def three_rows(p, rng):
    p.num_rows = 3


@scenario
def no_padding(p, rng):
    p.num_rows = ROWS


@scenario
def zero_gradients(p, rng):
    p.gradient[:] = 0


@scenario
def zero_gradients_and_hessians(p, rng):
    p.gradient[:] = 0
    p.hessian[:] = 0


@scenario
def half_of_the_rows_without_weight(p, rng):
    p.gradient[::2] = 0
    p.hessian[::2] = 0


@scenario
def masks_by_level(p, rng):
    p.by_level = (rng.random((LEVELS, FEATURES)) < 0.5).astype(np.uint8)
    p.by_level[:, 1] = 1


@scenario
def no_features_on_a_level(p, rng):
    p.by_level[1:] = 0


@scenario
def masks_by_node(p, rng):
    p.kept = 2


@scenario
def masks_by_level_and_node(p, rng):
    masks_by_level(p, rng)
    p.kept = 1


@scenario
def sampled_rows(p, rng):
    p.used = rng.random(ROWS) < 0.6


@scenario
def few_sampled_rows(p, rng):
    missing_values(p, rng)
    p.used = rng.random(ROWS) < 0.02


@scenario
def no_sampled_rows(p, rng):
    p.used = np.zeros(ROWS, bool)


@scenario
def largest_step(p, rng):
    p.rules = {"max_delta_step": 0.3}


@scenario
def l1_and_no_l2(p, rng):
    p.rules = {"l1": 3.0, "l2": 0.0}


@scenario
def l1_beyond_all_gradients(p, rng):
    p.rules = {"l1": 1e9}


@scenario
def limits_on_nodes(p, rng):
    p.rules = {"min_rows": 40.0, "min_hessian": 5.0, "min_gain": 2.0}


@scenario
def everything_at_once(p, rng):
    missing_values(p, rng)
    sampled_rows(p, rng)
    masks_by_level(p, rng)
    p.kept = 3
    p.rules = {"l1": 0.5, "l2": 2.0, "max_delta_step": 0.5, "min_hessian": 1.0}


@scenario
def ties(p, rng):
    p.bins[:] = rng.integers(0, 3, p.bins.shape) * 9
    p.bins[:, 4] = p.bins[:, 1]
    p.bins[:, 5] = 27 - p.bins[:, 1]
    p.bins[rng.random(ROWS) < 0.2, 2] = MISSING
    p.gradient[:] = rng.integers(-1, 2, ROWS)
    p.hessian[:] = 1


@scenario
def tiny_gradients(p, rng):
    p.gradient *= np.float32(1e-30)
    p.hessian *= np.float32(1e-20)
    p.rules = {"l2": 0.0, "min_gain": 0.0}


@scenario
def huge_gradients(p, rng):
    p.gradient *= np.float32(1e30)


@scenario
def one_gradient_above_all(p, rng):
    p.gradient[5] = 1e12


def make(name, seed=0):
    problem = draw(seed)
    SCENARIOS[name](problem, np.random.default_rng(seed + 1))
    return problem


grow_jitted = jax.jit(grow_tree, static_argnames="spec")


def table_of(
    problem,
    implementation,
    *,
    by_feature=True,
    groups=None,
    monotone=None,
    categorical=(),
):
    bins, columns = problem.bins, np.ascontiguousarray(problem.bins.T)
    if monotone is None:
        monotone = np.zeros(FEATURES)
    fields = {
        "bins": bins if is_by_rows(implementation) else columns,
        "columns": columns if by_feature else np.zeros((0, 0), np.uint8),
        "num_rows": np.int32(problem.num_rows),
        "features": SplitFeatures(
            problem.num_values,
            np.isin(np.arange(FEATURES), categorical),
            monotone.astype(np.int32),
        ),
        "groups": np.zeros((0, FEATURES), bool) if groups is None else groups,
    }
    return PlacedTable(**{name: fields[name] for name in PlacedTable._fields})


def priorities(shape):
    return np.random.default_rng(5).random((shape.num_nodes, FEATURES), np.float32)


def grow(problem, shape, *, sampled=True, **more):
    """Grow with whatever the shape says, and give NumPy arrays."""
    none = np.zeros((0, FEATURES), np.float32)
    masks = Masks(
        problem.by_level,
        priorities(shape) if sampled else none,
        np.full(LEVELS, problem.kept, np.int32),
    )
    rules = SplitNumbers(**{name: np.float64(v) for name, v in problem.numbers.items()})
    given = (
        table_of(problem, shape.implementation, **more),
        problem.gradient,
        problem.hessian,
        problem.used if sampled else None,
        masks,
        rules,
    )
    placed = jax.tree.map(jnp.asarray, given)
    return jax.tree.map(np.asarray, grow_jitted(*placed, spec=shape))


def shape_of(policy, implementation="native", *, whole=False, **more):
    return TreeSpec(
        num_bins=BINS,
        num_rows=ROWS,
        implementation=implementation,
        is_whole=whole,
        **POLICIES[policy],
        **more,
    )


def quick_shape(policy, **more):
    """Take the compiled grower where it is: its program compiles in no time."""
    if has_native():
        return shape_of(policy, whole=True, **more)
    return shape_of(policy, "xla", **more)


@functools.cache
def compiled(policy, name, sampled=True):
    return grow(make(name), shape_of(policy, whole=True), sampled=sampled)


def assert_same(found, expected):
    for field in dataclasses.fields(expected.nodes):
        one, other = (getattr(tree.nodes, field.name) for tree in (found, expected))
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, err_msg=field.name)
    np.testing.assert_array_equal(found.leaf, expected.leaf, err_msg="leaf")


@needs_kernels
@pytest.mark.parametrize(("policy", "implementation"), PAIR_PARAMS)
def test_the_compiled_grower_and_the_one_in_jax_agree_to_the_bit(
    policy, implementation, subtests
):
    for name in SCENARIOS:
        with subtests.test(name):
            found = grow(make(name), shape_of(policy, implementation))
            assert_same(found, compiled(policy, name))


@needs_kernels
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_they_agree_without_sampling_of_rows_or_features(implementation, subtests):
    for name in ("plain", "missing values", "one row", "ties"):
        with subtests.test(name):
            shape = shape_of("depth 3", implementation)
            found = grow(make(name), shape, sampled=False)
            assert_same(found, compiled("depth 3", name, sampled=False))
            assert_same(found, compiled("depth 3", name))


@needs_kernels
@pytest.mark.parametrize("policy", ["depth 9", "best first"])
def test_a_copy_of_the_bins_by_feature_changes_nothing(policy, subtests):
    for name in ("plain", "everything at once", "few sampled rows", "one row"):
        with subtests.test(name):
            shape = shape_of(policy, whole=True)
            assert_same(
                grow(make(name), shape, by_feature=False), compiled(policy, name)
            )


# What is known of the features, and the limits of the program that looks at it.
SETS = np.array([[1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0]], bool)
SIGNS = np.array([1, 0, 0, -1, 0, 1])
KNOWN = {
    "sorted categories, signs": (
        SplitSpec(has_categories=True, has_monotone=True, max_onehot=0),
        {"categorical": (1, 2), "monotone": SIGNS},
    ),
    "one-hot categories, sets": (
        SplitSpec(has_categories=True, max_onehot=VALUES),
        {"categorical": (0, 2, 3), "groups": SETS},
    ),
    "all": (
        SplitSpec(has_categories=True, has_monotone=True, max_onehot=4),
        {"categorical": (1, 2), "monotone": SIGNS, "groups": SETS},
    ),
}


@needs_kernels
@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "known"),
    [
        ("depth 3", "sorted categories, signs"),
        ("depth 3", "one-hot categories, sets"),
        ("best first, shallow", "all"),
    ],
)
def test_they_agree_on_categories_signs_and_sets_of_features(policy, known, subtests):
    limits, more = KNOWN[known]
    for name in SCENARIOS:
        with subtests.test(name):
            whole, plain = (
                grow(
                    make(name),
                    shape_of(policy, implementation, whole=whole, limits=limits),
                    **more,
                )
                for implementation, whole in (("native", True), ("xla", False))
            )
            assert_same(plain, whole)


@needs_kernels
def test_many_rows_shared_out_to_threads_give_the_same_bits():
    """Enough for parts of histograms, chunks of rows and every member of the team."""
    few, times = make("missing values"), 40
    rows = times * ROWS
    problem = dataclasses.replace(
        few,
        bins=np.tile(few.bins, (times, 1)),
        gradient=np.tile(few.gradient, times),
        hessian=np.tile(few.hessian, times),
        used=np.random.default_rng(3).random(rows) < 0.9,
        num_rows=rows - 100,
    )
    trees = [
        grow(
            problem,
            dataclasses.replace(shape_of("depth 5", name, whole=whole), num_rows=rows),
        )
        for name, whole in (("native", True), ("xla", False))
    ]
    assert_same(*trees)
    again = grow(
        problem, dataclasses.replace(shape_of("depth 5", whole=True), num_rows=rows)
    )
    assert_same(again, trees[0])


# ------------------------------------------------------------- a naive grower


def naive_score(g, h, rules):
    kept = np.maximum(np.abs(g) - rules["l1"], 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        w = np.where(h + rules["l2"] > 0, kept / (h + rules["l2"]), 0)
    w = np.minimum(w, rules["max_delta_step"])
    return 2 * kept * w - (h + rules["l2"]) * w**2


class Naive:
    """Grows a tree row by row from the definition, with sums of its own."""

    def __init__(self, problem, shape):
        self.p, self.shape, self.rules = problem, shape, problem.numbers
        bits = fixed_point.num_bits(ROWS)
        self.steps, self.units = [], []
        for values in (problem.gradient, problem.hessian):
            counted = np.where(problem.used, values, 0).astype(np.float64)
            largest = np.abs(counted).max()
            power = int(np.frexp(largest)[1]) if largest else 0
            self.units.append(2.0 ** (power - bits))
            self.steps.append(np.rint(counted / self.units[-1]).astype(np.int64))
        self.priority = priorities(shape)
        self.left = np.zeros(shape.num_nodes, int)
        self.split = {}
        self.rows = {0: np.flatnonzero(problem.real)}
        self.depth = {0: 0}

    def worth(self, rows):
        return [
            step[rows].sum() * unit
            for step, unit in zip(self.steps, self.units, strict=True)
        ]

    def mask(self, node):
        allowed = self.p.by_level[min(self.depth[node], LEVELS - 1)] > 0
        chosen = sorted(np.flatnonzero(allowed), key=lambda j: self.priority[node, j])
        return sorted(chosen[: self.p.kept])

    def search(self, node):
        """Give gain, feature, bin, missing left of the first of the best splits."""
        rows, best = self.rows[node], (-np.inf, 0, 0, False)
        if self.depth[node] >= self.shape.depth or len(rows) < self.rules["min_rows"]:
            return best
        g, h = self.worth(rows)
        for feature in self.mask(node):
            column = self.p.bins[rows, feature]
            for missing_left in (False, True):
                if missing_left and not (column == MISSING).any():
                    continue
                places = range(VALUES)
                for bin in reversed(places) if missing_left else places:
                    is_left = (column <= bin) & (column < MISSING)
                    is_left |= missing_left & (column == MISSING)
                    gl, hl = self.worth(rows[is_left])
                    gr, hr = self.worth(rows[~is_left])
                    if min(hl, hr) <= 0 or min(hl, hr) < self.rules["min_hessian"]:
                        continue
                    parts = [(gl, hl), (gr, hr), (g, h)]
                    a, b, c = (naive_score(*part, self.rules) for part in parts)
                    # Equal gains must not be told apart by roundings.
                    if a + b - c > best[0] + 1e-11 * (a + b):
                        best = (a + b - c, feature, bin, missing_left)
        return best

    def grow(self):
        waiting = {0: self.search(0)}
        while waiting:
            open_nodes = [
                n for n, s in waiting.items() if s[0] > self.rules["min_gain"]
            ]
            if self.shape.best_first:
                open_nodes = sorted(open_nodes, key=lambda n: (-waiting[n][0], n))[:1]
            budget = self.shape.max_leaves - (len(self.rows) + 1) // 2
            chosen = open_nodes[:budget]
            if not self.shape.best_first:
                level, waiting = waiting, {}
            else:
                level = {n: waiting.pop(n) for n in chosen}
            if not chosen:
                break
            for node in chosen:
                self.part(node, level[node])
            for node in chosen:
                for child in (self.left[node], self.left[node] + 1):
                    waiting[child] = self.search(child)
        return self

    def part(self, node, split):
        _, feature, bin, missing_left = split
        column = self.p.bins[self.rows[node], feature]
        is_left = np.where(column == MISSING, missing_left, column <= bin)
        left = len(self.rows)
        self.left[node], self.split[node] = left, split
        for child, taken in ((left, is_left), (left + 1, ~is_left)):
            self.rows[child] = self.rows[node][taken]
            self.depth[child] = self.depth[node] + 1


@pytest.mark.parametrize("policy", ["stump", "depth 3", "budget", "best first"])
@pytest.mark.parametrize(
    "name",
    ["missing values", "everything at once", "ties", "limits on nodes", "one row"],
)
def test_a_naive_grower_makes_the_same_tree(policy, name):
    problem = make(name)
    shape = quick_shape(policy)
    found = grow(problem, shape).nodes
    naive = Naive(problem, shape).grow()
    np.testing.assert_array_equal(found.left, naive.left)
    for node, rows in naive.rows.items():
        assert found.count[node] == len(rows)
        g, h = naive.worth(rows)
        assert found.gradient[node] == np.float32(g)
        assert found.hessian[node] == np.float32(h)
        if node in naive.split:
            gain, *split = naive.split[node]
            bin = int(found.bin[node])
            assert [
                int(found.feature[node]),
                bin,
                bool(found.missing_left[node]),
            ] == split
            np.testing.assert_allclose(found.gain[node], gain, rtol=1e-6)


@pytest.mark.parametrize("policy", ["stump", "depth 3"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_rows_end_where_the_splits_send_them(policy, name):
    problem = make(name)
    shape = quick_shape(policy)
    grown = grow(problem, shape)
    nodes = grown.nodes
    for row, bins in enumerate(problem.bins[: problem.num_rows]):
        at = 0
        while nodes.left[at]:
            bin = bins[nodes.feature[at]]
            is_left = nodes.left_bins[at, bin // 32] >> (bin % 32) & 1
            by_number = (
                nodes.missing_left[at] if bin == MISSING else bin <= nodes.bin[at]
            )
            assert is_left == by_number
            at = nodes.left[at] + 1 - int(is_left)
        assert grown.leaf[row] == at
    assert not grown.leaf[problem.num_rows :].any()
    assert (
        (nodes.value[nodes.left == 0] != 0).any()
        or "zero" in name
        or not (nodes.left.any())
    )


def test_depth_nine_is_reached_and_budgets_are_used_up():
    kinds = [("depth 9", 512), ("budget", 21), ("any depth", 40), ("best first", 31)]
    for policy, leaves in kinds:
        shape = quick_shape(policy)
        left = grow(make("plain"), shape).nodes.left
        depth = {0: 0}
        for node in np.flatnonzero(left):
            depth[left[node]] = depth[left[node] + 1] = depth[node] + 1
        if policy == "depth 9":
            assert max(depth.values()) == 9
        else:
            assert (left > 0).sum() + 1 == leaves


# ----------------------------------------------------- constraints and memory


def paths(nodes):
    """Give the set of features above each node."""
    above = {0: frozenset()}
    for node in np.flatnonzero(nodes.left):
        for child in (nodes.left[node], nodes.left[node] + 1):
            above[child] = above[node] | {int(nodes.feature[node])}
    return above


def test_features_meet_only_within_their_sets():
    sets = np.zeros((3, FEATURES), bool)
    sets[0, [0, 1]] = sets[1, [1, 2, 3]] = sets[2, 4] = True
    grown = grow(make("plain"), quick_shape("depth 3"), groups=sets)
    found = {path for path in paths(grown.nodes).values() if path}
    assert all(any(path <= set(np.flatnonzero(s)) for s in sets) for path in found)
    assert 5 not in set().union(*found), "a feature of no set is left out"
    free = paths(grow(make("plain"), quick_shape("depth 3")).nodes)
    assert set(free.values()) != set(paths(grown.nodes).values()), "sets do matter"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("policy", ["depth 3", "best first, shallow"])
def test_leaves_follow_the_sign_of_a_monotone_feature(policy, sign):
    monotone = np.zeros(FEATURES)
    monotone[[0, 3]] = sign, -sign
    shape = quick_shape(policy, limits=SplitSpec(has_monotone=True))
    problem = make("missing values")
    problem.bins[:, [0, 3]] %= VALUES  # no missing values in monotone features
    nodes = grow(problem, shape, monotone=monotone).nodes
    rows = problem.bins[:100].copy()
    for feature in (0, 3):
        last = np.full(100, -np.inf)
        for bin in range(VALUES):
            rows[:, feature] = bin
            at = np.zeros(100, int)
            for _ in range(shape.depth):
                bins = rows[np.arange(100), nodes.feature[at]]
                is_left = nodes.left_bins[at, bins // 32] >> (bins % 32) & 1
                at = np.where(nodes.left[at], nodes.left[at] + 1 - is_left, at)
            value = monotone[feature] * nodes.value[at]
            assert (value >= last).all()
            last = value
        rows = problem.bins[:100].copy()
    free = grow(problem, quick_shape(policy)).nodes
    assert not np.array_equal(free.left_bins, nodes.left_bins), "the signs do matter"


@pytest.mark.parametrize("least", [1, 7, 60])
def test_leaves_keep_the_rows_asked_for(least):
    problem = make("sampled rows")
    problem.rules = {"min_leaf_rows": float(least)}
    nodes = grow(problem, shape_of("depth 3", "xla", has_counts=True)).nodes
    leaves = nodes.count[(nodes.left == 0) & (nodes.count > 0)]
    assert leaves.min() >= least
    assert leaves.sum() == problem.real.sum()
    if least == 1:
        plain = grow(problem, shape_of("depth 3", "xla")).nodes
        np.testing.assert_array_equal(nodes.left_bins, plain.left_bins)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["depth 3", "best first, shallow"])
def test_without_memory_for_histograms_the_tree_is_the_same(policy, monkeypatch):
    expected = grow(make("missing values"), shape_of(policy, "xla"))
    monkeypatch.setattr(expand, "_MOST_BYTES", 0)
    anew = jax.jit(lambda *given, spec: grow_tree(*given, spec), static_argnames="spec")
    monkeypatch.setitem(globals(), "grow_jitted", anew)
    assert_same(grow(make("missing values"), shape_of(policy, "xla")), expected)


def test_only_what_the_compiled_grower_knows_is_given_to_it():
    one = {"has_counts": False, "num_devices": 1}
    assert can_compile("native", **one) == has_native()
    assert can_compile("auto", **one) == has_native()
    assert not can_compile("xla", **one)
    assert not can_compile("flat", **one)
    assert not can_compile("native", has_counts=True, num_devices=1)
    assert not can_compile("native", has_counts=False, num_devices=2)
