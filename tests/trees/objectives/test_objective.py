"""Derivatives against closed forms, sklearn's losses and XGBoost; starts likewise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.trees.objectives import losses
from jaxlab.trees.objectives.catalogue import NAMES, find_objective
from jaxlab.trees.objectives.diagonal import gradient_and_curvature
from jaxlab.trees.objectives.objective import (
    Domain,
    Leaf,
    check_target,
    from_loss,
    huber_delta,
    with_friedman_leaves,
)
from jaxlab.trees.objectives.ranking import make_groups
from jaxlab.trees.objectives.start import best_constant, resolve, weighted_quantile

pytestmark = pytest.mark.slow  # many small programs to compile

CLOSE = {"rtol": 2e-5, "atol": 1e-6}  # some roundings of float32 near 1
ROW_NAMES = [name for name in NAMES if not name.startswith("rank")]
CLASSES = 3
ROWS = 203


def draw(domain, rng, size=ROWS):
    """Draw targets that a loss is made for."""
    return {
        Domain.REAL: lambda: rng.normal(size=size),
        Domain.NON_NEGATIVE: lambda: rng.poisson(2.0, size),
        Domain.POSITIVE: lambda: rng.gamma(2.0, size=size),
        Domain.PROBABILITY: lambda: rng.random(size),
        Domain.BINARY: lambda: rng.integers(0, 2, size),
        Domain.LABEL: lambda: rng.integers(0, CLASSES, size),
    }[domain]().astype(np.float32)


def problem(name, rng, size=ROWS):
    objective = find_objective(name, num_classes=CLASSES)
    raw = rng.normal(size=(objective.num_outputs, size)).astype(np.float32)
    weight = rng.integers(0, 4, size).astype(np.float32)
    return objective, raw, draw(objective.domain, rng, size), weight


def aux_of(objective):
    return jnp.float32(0.7) if objective.leaf is Leaf.HUBER else None


CLOSED_FORMS = {
    "reg:squarederror": lambda f, y: (f - y, np.ones_like(f)),
    "reg:absoluteerror": lambda f, y: (np.sign(f - y), np.ones_like(f)),
    "reg:pseudohubererror": lambda f, y: (
        (f - y) / np.sqrt(1 + (f - y) ** 2),
        (1 + (f - y) ** 2) ** -1.5,
    ),
    "binary:logistic": lambda f, y: (
        1 / (1 + np.exp(-f)) - y,
        1 / (2 + np.exp(f) + np.exp(-f)),
    ),
    "exponential": lambda f, y: (
        (1 - 2 * y) * np.exp((1 - 2 * y) * f),
        np.exp((1 - 2 * y) * f),
    ),
    "count:poisson": lambda f, y: (np.exp(f) - y, np.exp(f + 0.7)),
    "reg:gamma": lambda f, y: (1 - y * np.exp(-f), y * np.exp(-f)),
    "reg:tweedie": lambda f, y: (
        np.exp(f / 2) - y * np.exp(-f / 2),
        np.exp(f / 2) / 2 + y * np.exp(-f / 2) / 2,
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_derivatives_are_the_closed_forms(name, rng):
    objective, raw, target, weight = problem(name, rng)
    gradient, hessian = jax.jit(objective.derivatives)(
        *map(jnp.asarray, (raw, target, weight))
    )
    want = CLOSED_FORMS[name](raw.astype(float), target.astype(float))
    np.testing.assert_allclose(gradient, want[0] * weight, **CLOSE)
    np.testing.assert_allclose(hessian, want[1] * weight, **CLOSE)


def test_softmax_gives_probabilities_and_twice_their_variance(rng):
    objective, raw, target, weight = problem("multi:softprob", rng)
    gradient, hessian = jax.jit(objective.derivatives)(
        *map(jnp.asarray, (raw, target, weight))
    )
    p = np.exp(raw) / np.exp(raw).sum(0)
    is_class = np.arange(CLASSES)[:, None] == target
    np.testing.assert_allclose(gradient, (p - is_class) * weight, **CLOSE)
    np.testing.assert_allclose(hessian, 2 * p * (1 - p) * weight, **CLOSE)


def test_the_focal_loss_has_the_slope_of_finite_differences(rng):
    _, raw, target, _ = problem("binary:focal", rng)
    f, y, step = raw.astype(float), target.astype(float), 1e-4

    def loss(f):
        p = 1 / (1 + np.exp(-f))
        right = np.where(y == 1, p, 1 - p)
        return -np.where(y == 1, 0.25, 0.75) * (1 - right) ** 2 * np.log(right)

    gradient, second = find_objective("binary:focal").by_row(
        jnp.asarray(raw), jnp.asarray(target)
    )
    slope = (loss(f + step) - loss(f - step)) / (2 * step)
    bend = (loss(f + step) - 2 * loss(f) + loss(f - step)) / step**2
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second, bend, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "peer", "settings", "factor"),
    [
        ("squared_error", "HalfSquaredError", {}, 1.0),
        ("absolute_error", "AbsoluteError", {}, 1.0),
        ("quantile", "PinballLoss", {"quantile": 0.9}, 1.0),
        ("huber", "HuberLoss", {"delta": 0.7}, 1.0),
        ("poisson", "HalfPoissonLoss", {}, float(np.exp(0.7))),
        ("gamma", "HalfGammaLoss", {}, 1.0),
        ("tweedie", "HalfTweedieLoss", {"power": 1.5}, 1.0),
        ("log_loss", "HalfMultinomialLoss", {"n_classes": CLASSES}, 2.0),
        ("exponential", "ExponentialLoss", {}, 2.0),
    ],
)
def test_losses_are_those_of_sklearn(name, peer, settings, factor, rng):
    import sklearn._loss.loss as peers

    objective, raw, target, _ = problem(name, rng)
    raw[0, :5] = target[:5]  # where raw meets the target
    oracle = getattr(peers, peer)(**settings)
    gradient, second = jax.jit(objective.derivatives)(
        *map(jnp.asarray, (raw, target, np.ones_like(target))), aux_of(objective)
    )
    scores = np.ascontiguousarray(raw[0] if len(raw) == 1 else raw.T)
    found = oracle.gradient_hessian(target, scores.astype(np.float32))
    slope, bend = (np.atleast_2d(part.T) for part in found)
    if name == "exponential":  # theirs is of y exp(-f) + (1 - y) exp(f): the same
        factor = 1.0
    np.testing.assert_allclose(gradient, slope, **CLOSE)
    if not objective.unit_hessian:
        np.testing.assert_allclose(second, bend * factor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ROW_NAMES)
def test_any_split_of_the_rows_gives_the_same_bits(name, rng):
    objective, raw, target, weight = problem(name, rng)
    aux = aux_of(objective)

    @jax.jit
    def whole(*arrays):
        return objective.derivatives(*arrays, aux)

    want = whole(raw, target, weight)
    for cut in (1, 64):
        parts = [
            whole(raw[:, rows], target[rows], weight[rows])
            for rows in (slice(None, cut), slice(cut, None))
        ]
        for one, both in zip(want, zip(*parts, strict=True), strict=True):
            np.testing.assert_array_equal(one, np.concatenate(both, axis=1))


@pytest.mark.parametrize("name", NAMES)
def test_float64_elsewhere_changes_nothing(name, rng):
    objective = find_objective(name, num_classes=CLASSES)
    raw = rng.normal(size=(objective.num_outputs, ROWS)).astype(np.float32)
    target = rng.integers(0, 2, ROWS).astype(np.float32)
    weight = np.ones(ROWS, np.float32)
    aux = aux_of(objective)
    if objective.needs_all_rows:
        aux = make_groups(target, sizes=np.array([ROWS - 7, 7]))
    want = jax.jit(objective.derivatives)(*map(jnp.asarray, (raw, target, weight)), aux)
    with jax.enable_x64(True):
        found = jax.jit(objective.derivatives)(
            *map(jnp.asarray, (raw, target, weight)), aux
        )
    for one, other in zip(found, want, strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, other)


def test_rows_may_be_split_over_devices(rng):
    objective, raw, target, weight = problem("multi:softprob", rng, 256)
    mesh = make_mesh("data=4")
    rows = (P(None, "data"), P("data"), P("data"))
    split = jax.jit(
        jax.shard_map(
            objective.derivatives,
            mesh=mesh,
            in_specs=rows,
            out_specs=(P(None, "data"),) * 2,
        )
    )
    want = jax.jit(objective.derivatives)(raw, target, weight)
    for one, other in zip(want, split(raw, target, weight), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ROW_NAMES)
def test_rows_without_weight_count_nothing_even_if_their_loss_is_nan(name, rng):
    objective, raw, target, weight = problem(name, rng)
    weight[:3] = 0
    raw[:, 0], target[1] = np.nan, np.nan
    raw[:, 2] = np.inf
    gradient, hessian = jax.jit(objective.derivatives)(
        *map(jnp.asarray, (raw, target, weight)), aux_of(objective)
    )
    np.testing.assert_array_equal(np.where(weight == 0, gradient, 0), 0)
    np.testing.assert_array_equal(np.where(weight == 0, hessian, 0), 0)
    assert np.isfinite(gradient).all()
    assert (np.asarray(hessian)[:, weight > 0] > 0).all()


def test_logistic_derivatives_are_right_far_from_zero():
    half = np.geomspace(1e-3, 1e4, 200)
    raw = np.concatenate([-half[::-1], [0], half]).astype(np.float32)
    for target in (0.0, 1.0):
        gradient, second = find_objective("binary:logistic").by_row(
            jnp.asarray(raw)[None], jnp.full(raw.shape, target)
        )
        with np.errstate(over="ignore"):
            p = 1 / (1 + np.exp(-raw.astype(float)))
            variance = p / (1 + np.exp(raw.astype(float)))
        assert np.isfinite(gradient).all()
        assert np.isfinite(second).all()
        # softplus(x) - x is rounded to float32's spacing at x, which is < 16 while p
        # is below 1.
        spacing = np.spacing(np.float32(16))
        np.testing.assert_allclose(gradient[0], p - target, atol=spacing)
        np.testing.assert_allclose(second[0], variance, atol=spacing)
        lower = (raw < 0) & (raw > -80)
        if target == 0:
            np.testing.assert_allclose(gradient[0, lower], p[lower], rtol=1e-5)
        np.testing.assert_allclose(second[0, lower], variance[lower], rtol=1e-5)


def coupled(raw, target):
    """A loss whose Hessian is neither diagonal nor diagonal plus few products."""
    return jnp.sum(jnp.square(jnp.cumsum(raw))) + jnp.prod(jnp.cos(raw)) * target


def normal(raw, target):
    return raw[1] + 0.5 * jnp.square((target - raw[0]) * jnp.exp(-raw[1]))


def indexed(raw, target):
    return -jax.nn.log_softmax(raw)[target.astype(jnp.int32)]


def brier(raw, target):
    error = jax.nn.softmax(raw) - jax.nn.one_hot(target.astype(jnp.int32), raw.shape[0])
    return jnp.sum(jnp.square(error))


@pytest.mark.parametrize("loss", [coupled, normal, indexed, brier, losses.softmax_loss])
@pytest.mark.parametrize("size", [2, 5])
def test_the_diagonal_is_that_of_the_dense_hessian(loss, size, rng):
    raw = jnp.asarray(rng.normal(size=size), jnp.float32)
    gradient, diagonal = jax.jit(
        lambda raw: gradient_and_curvature(lambda r: loss(r, jnp.float32(1)), raw)
    )(raw)
    dense = jax.jit(jax.hessian(lambda r: loss(r, jnp.float32(1))))(raw)
    np.testing.assert_allclose(diagonal, jnp.diagonal(dense), **CLOSE)
    want = jax.jit(jax.grad(lambda r: loss(r, jnp.float32(1))))(raw)
    np.testing.assert_allclose(gradient, want, **CLOSE)


def test_softmax_costs_no_square_of_its_classes():
    def square_shapes(loss, size):
        raw = jnp.zeros(size)
        program = jax.make_jaxpr(
            lambda raw: gradient_and_curvature(lambda r: loss(r, jnp.float32(1)), raw)
        )(raw)
        return f"{size},{size}" in str(program)

    assert not square_shapes(losses.softmax_loss, 7)
    assert not square_shapes(indexed, 7)
    assert square_shapes(coupled, 7)


def as_custom(name):
    """The built-in's formula as a user would write it, a new function."""
    formulas = {
        "reg:squarederror": lambda raw, y: 0.5 * (raw - y) ** 2,
        "binary:logistic": lambda raw, y: jax.nn.softplus(raw) - y * raw,
        "count:poisson": lambda raw, y: jnp.exp(raw) - y * raw,
        "reg:gamma": lambda raw, y: raw + y * jnp.exp(-raw),
        "reg:absoluteerror": lambda raw, y: jnp.abs(raw - y),
        "reg:quantileerror": lambda raw, y: jnp.where(
            raw >= y, (1 - 0.5) * (raw - y), -0.5 * (raw - y)
        ),
        "multi:softprob": lambda raw, y: (
            jax.nn.logsumexp(raw) - jnp.sum(jnp.where(jnp.arange(3) == y, raw, 0.0))
        ),
    }
    return formulas[name]


CUSTOM = [
    "reg:squarederror",
    "binary:logistic",
    "count:poisson",
    "reg:gamma",
    "reg:absoluteerror",
    "reg:quantileerror",
    "multi:softprob",
]


@pytest.mark.parametrize("name", CUSTOM)
def test_a_custom_loss_is_the_built_in_bit_for_bit(name, rng):
    custom = find_objective(
        as_custom(name), num_classes=CLASSES if "multi" in name else 2
    )
    for _ in range(5):
        objective, raw, target, weight = problem(name, rng)
        own = resolve(custom, target, weight)
        assert (own.leaf, own.alpha) == (objective.leaf, objective.alpha)
        own = dataclasses.replace(own, hessian_factor=objective.hessian_factor)
        for one, other in zip(
            jax.jit(objective.derivatives)(raw, target, weight),
            jax.jit(own.derivatives)(raw, target, weight),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(
            best_constant(objective, target, weight), best_constant(own, target, weight)
        )


STARTS = {
    "reg:squarederror": lambda mean: mean,
    "binary:logistic": lambda mean: np.log(mean / (1 - mean)),
    "exponential": lambda mean: np.log(mean / (1 - mean)) / 2,
    "count:poisson": np.log,
    "reg:gamma": np.log,
    "reg:tweedie": np.log,
}


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_starts_are_the_closed_forms(name, scale, rng):
    objective, _, target, weight = problem(name, rng)
    if objective.domain in (Domain.REAL, Domain.POSITIVE, Domain.NON_NEGATIVE):
        target = target * np.float32(scale)
    mean = np.average(target.astype(float), weights=weight)
    # Newton is exact to 1e-12, so only the rounding to float32 differs.
    np.testing.assert_allclose(
        best_constant(objective, target, weight),
        np.float32(STARTS[name](mean)),
        rtol=1.2e-7,
    )


def test_softmax_starts_from_the_log_shares(rng):
    objective, _, target, weight = problem("multi:softprob", rng)
    share = np.log(np.bincount(target.astype(int), weights=weight) / weight.sum())
    np.testing.assert_allclose(
        best_constant(objective, target, weight),
        share - share.mean(),
        rtol=1e-6,
        atol=1e-7,
    )


def test_rare_classes_and_large_sums_start_exactly():
    target, weight = np.zeros(100_000), np.ones(100_000)
    target[:3] = 1
    found = best_constant(find_objective("binary:logistic"), target, weight)
    np.testing.assert_allclose(found, np.log(3 / 99_997), rtol=1e-7)
    found = best_constant(find_objective("count:poisson"), 1e6 + target, weight)
    np.testing.assert_allclose(found, np.log(1e6 + 3e-5), rtol=1e-7)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("name", ["binary:logistic", "count:poisson", "exponential"])
def test_a_single_class_starts_large_but_finite(name, value):
    found = best_constant(find_objective(name), np.full(50, value), np.ones(50))
    assert np.isfinite(found).all()
    assert value or found[0] < -10


def test_line_searches_start_from_weighted_quantiles(rng):
    stats = pytest.importorskip("sklearn.utils.stats")
    objective, _, target, weight = problem("reg:quantileerror", rng)
    for alpha in (0.1, 0.5, 0.9):
        want = stats._weighted_percentile(
            target.astype(float), weight.astype(float), 100 * alpha
        )
        assert weighted_quantile(target, weight, alpha) == want
    objective = find_objective("quantile", alpha=[0.1, 0.9])
    low, high = best_constant(objective, target, weight)
    assert objective.num_outputs == 2
    assert low == weighted_quantile(target, weight, 0.1)
    assert high == weighted_quantile(target, weight, 0.9)
    assert best_constant(find_objective("huber"), target, weight)[
        0
    ] == weighted_quantile(target, weight, 0.5)


def test_the_huber_delta_is_the_quantile_of_the_errors(rng):
    objective, raw, target, weight = problem("huber", rng)
    found = huber_delta(objective, *map(jnp.asarray, (raw, target, weight)))
    assert found == weighted_quantile(np.abs(target - raw[0]), weight, 0.9)


def test_friedman_leaves_are_those_of_his_table(rng):
    """Leaves by systems.md's table: sums of pseudo-residuals r over one leaf."""
    leaves = {
        "binary:logistic": lambda r, y: r.sum() / ((y - r) * (1 - y + r)).sum(),
        "exponential": lambda r, y: r.sum() / np.abs(r).sum(),
        "multi:softprob": lambda r, y: (
            (CLASSES - 1) / CLASSES * r.sum() / (np.abs(r) * (1 - np.abs(r))).sum()
        ),
    }
    for name, leaf in leaves.items():
        objective, raw, target, _ = problem(name, rng)
        target = np.round(target)
        objective = with_friedman_leaves(objective)
        gradient, hessian = jax.jit(objective.derivatives)(
            *map(jnp.asarray, (raw, target, np.ones_like(target)))
        )
        value = -objective.leaf_factor * gradient.sum(1) / hessian.sum(1)
        residual = -np.asarray(gradient, float)
        want = [leaf(r, target.astype(float)) for r in residual]
        np.testing.assert_allclose(value, want, rtol=1e-4)


def test_a_piecewise_linear_custom_loss_counts_rows_and_searches_lines(rng):
    target, weight = rng.normal(size=ROWS), np.ones(ROWS)
    pinball = from_loss(lambda f, y: 3 * jnp.maximum(0.8 * (y - f), 0.2 * (f - y)))
    found = resolve(pinball, target, weight)
    assert (found.leaf, found.alpha) == (Leaf.QUANTILE, (0.8,))
    assert best_constant(found, target, weight) == np.float32(
        weighted_quantile(target, weight, 0.8)
    )
    hinge = from_loss(lambda f, y: jnp.maximum(0.0, 1.0 - y * f))
    found = resolve(hinge, np.sign(target), weight)
    assert (found.leaf, found.unit_hessian) == (Leaf.NEWTON, True)
    assert best_constant(found, np.sign(target), weight) == 0
    smooth = from_loss(lambda f, y: jnp.log(jnp.cosh(f - y)))
    assert resolve(smooth, target, weight) == smooth


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda f, y: jnp.stack([f, y]), r"gives \(2,\) for one row"),
        (lambda f, y: (f, y), "gives tuple for one row"),
        (lambda f, y: np.square(np.asarray(f) - y), "TracerArrayConversionError"),
        (lambda f, y: float(f) - y, "ConcretizationTypeError"),
        (lambda f, y: f - y if f > y else y - f, "TracerBoolConversionError"),
        (lambda f: f, "TypeError"),
        (lambda f, y: (f > y).astype(jnp.int32), "int32, which has no"),
        (lambda f, y: jnp.round(f - y), "does not change with raw"),
        (lambda f, y: jnp.log(f) * y, "not finite at raw"),
        (lambda f, y: jnp.sqrt(f - y), "not finite at raw"),
    ],
)
def test_losses_that_cannot_be_used_say_why(loss, message, rng):
    with pytest.raises(InputError, match=message):
        resolve(from_loss(loss), rng.normal(size=ROWS), np.ones(ROWS))


def test_a_loss_without_least_value_is_refused(rng):
    with pytest.raises(InputError, match="no constant score is best"):
        best_constant(from_loss(lambda f, y: y - f - f**3), np.arange(9.0), np.ones(9))


def test_a_custom_loss_that_computes_in_float32_still_starts(rng):
    target = rng.normal(size=ROWS)

    def loss(raw, y):
        error = raw.astype(jnp.float32) - y.astype(jnp.float32)
        return jnp.logaddexp(error, -error)

    found = best_constant(from_loss(loss), target, np.ones(ROWS))
    same = best_constant(
        from_loss(lambda f, y: jnp.logaddexp(f - y, y - f)), target, np.ones(ROWS)
    )
    np.testing.assert_allclose(found, same, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("squared_error", np.nan),
        ("squared_error", 1e39),
        ("poisson", -1.0),
        ("gamma", 0.0),
        ("tweedie", -0.1),
        ("binary:logistic", 1.5),
        ("exponential", 0.5),
        ("log_loss", 3.0),
        ("log_loss", 0.5),
        ("rank:ndcg", 32.0),
        ("rank:pairwise", -1.0),
    ],
)
def test_targets_outside_the_domain_are_refused(name, bad):
    objective = find_objective(name, num_classes=CLASSES)
    check_target(objective, np.array([1.0, 1.0]))
    with pytest.raises(InputError, match="in row 1 cannot be used"):
        check_target(objective, np.array([1.0, bad]))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("reg:squares", {}, "is unknown; use one of reg:squarederror"),
        ("reg:tweedie", {"tweedie_variance_power": 2}, "not between 1 and 2"),
        ("reg:quantileerror", {"quantile_alpha": [0.5, 1]}, "not between 0 and 1"),
        ("reg:quantileerror", {"quantile_alpha": []}, "is empty"),
        ("reg:gamma", {"huber_slope": 1}, "no setting of objective reg:gamma.*: none"),
        ("poisson", {"huber_slope": 1}, "it takes: max_delta_step"),
        ("multi:softprob", {}, "num_classes None"),
        ("rank:ndcg", {"lambdarank_num_pair_per_sample": 0}, "not at least 1"),
        (lambda f, y: f, {"link": "log"}, "link 'log' is unknown"),
    ],
)
def test_settings_that_cannot_be_used_say_why(name, settings, message):
    with pytest.raises(InputError, match=message):
        find_objective(name, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_equal_settings_share_compiled_programs(name):
    first = find_objective(name, num_classes=CLASSES)
    second = find_objective(name, num_classes=CLASSES)
    assert (first, hash(first)) == (second, hash(second))
    assert find_objective(first) is first


@pytest.mark.peer
@pytest.mark.parametrize(
    "name",
    [
        "reg:squarederror",
        "reg:pseudohubererror",
        "binary:logistic",
        "multi:softprob",
        "count:poisson",
        "reg:gamma",
        "reg:tweedie",
    ],
)
def test_sums_in_leaves_are_those_of_xgboost(name, rng):
    xgboost = pytest.importorskip("xgboost")
    objective, raw, target, weight = problem(name, rng)
    weight += 1
    features = rng.normal(size=(ROWS, 1))
    margin = raw[0] if len(raw) == 1 else np.ascontiguousarray(raw.T)
    data = xgboost.DMatrix(features, target, weight=weight, base_margin=margin)
    settings = {"objective": name, "eta": 1, "lambda": 0, "max_depth": 2}
    settings |= {"min_child_weight": 0, "max_delta_step": 0, "base_score": 0.5}
    if len(raw) > 1:
        settings["num_class"] = len(raw)
    if name == "count:poisson":
        settings["max_delta_step"] = 0.7
    model = xgboost.train(settings, data, 1)
    leaf = model.predict(data, pred_leaf=True).reshape(ROWS, -1)
    nodes = model.trees_to_dataframe()
    gradient, hessian = jax.jit(objective.derivatives)(
        *map(jnp.asarray, (raw, target, weight))
    )
    for k in range(len(raw)):
        tree = nodes[nodes.Tree == k].set_index("Node")
        for node in np.unique(leaf[:, k]):
            rows = leaf[:, k] == node
            cover, value = tree.Cover[node], tree.Gain[node]
            g, h = (np.sum(d[k, rows], dtype=float) for d in (gradient, hessian))
            np.testing.assert_allclose(h, cover, rtol=1e-5)
            value_here = np.clip(
                -g / h, *((-0.7, 0.7) if "poisson" in name else (-np.inf, np.inf))
            )
            np.testing.assert_allclose(value_here, value, rtol=1e-4, atol=1e-6)
