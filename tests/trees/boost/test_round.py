"""Rounds on 1, 2 and 4 devices: the same trees, compared with `==`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.mesh import make_mesh
from jaxlab.trees.boost.boosting import Config, HeldOut, bin_rows, train
from jaxlab.trees.grow.histogram import choose
from jaxlab.trees.native import has_native
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.objectives.objective import with_friedman_leaves
from jaxlab.trees.objectives.ranking import make_groups
from jaxlab.trees.table.binning import fit_binner

ROWS, HELD_OUT, FEATURES, CLASSES = 390, 100, 5, 3  # 390: each device has padding


@functools.cache
def table():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 16, (ROWS, FEATURES)).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    signal = np.nan_to_num(X[:, 0]) + 3 * np.isin(X[:, 4], [1, 5, 9])
    return X, signal + 2 * rng.normal(size=ROWS)


@functools.cache
def binned(categorical):
    X = table()[0]
    binner = fit_binner(X, categorical=[4] if categorical else None)
    return bin_rows(binner, X), bin_rows(binner, X[:HELD_OUT])


def ranking(rows):
    return make_groups(
        table()[1][:rows].clip(0, 20) // 5, sizes=np.full(rows // 10, 10)
    )


# Name: target, objective, settings, and what else is given.
PROBLEMS = {
    "logistic": ("labels", "binary:logistic", {}, {}),
    "logistic, sampled rows and features, categories": (
        "labels",
        "binary:logistic",
        {"subsample": 0.6, "colsample_bynode": 0.5, "max_onehot": 2},
        {"categorical": True},
    ),
    "softmax, goss": ("classes", "multi:softprob", {"sampling": "goss"}, {}),
    "quantiles by leaf search, sampled": (
        "signal",
        "reg:quantileerror",
        {"subsample": 0.6, "colsample_bylevel": 0.6},
        {"quantile_alpha": (0.2, 0.8)},
    ),
    "huber as Friedman, weighted": (
        "signal",
        "huber",
        {"friedman": True},
        {"weighted": True},
    ),
    "exponential as Friedman, goss, best first": (
        "labels",
        "exponential",
        {"friedman": True, "sampling": "goss", "best_first": True, "max_leaves": 6},
        {},
    ),
    "ranking": ("relevance", "rank:ndcg", {}, {}),
    "monotone, leaf rows, sets of features": (
        "signal",
        "squared_error",
        {
            "monotone": (1, -1, 0, 0, 0),
            "min_leaf_rows": 9,
            "interactions": ((0, 1), (1, 2, 3, 4)),
        },
        {},
    ),
}
PARAMS = [
    pytest.param(name, marks=() if name == "logistic" else pytest.mark.slow)
    for name in PROBLEMS
]


def fit(name, devices, implementation="auto"):
    """Train on a mesh, or on the default device where `devices` is 0."""
    kind, objective_name, settings, more = PROBLEMS[name]
    signal = table()[1]
    target = {
        "signal": signal,
        "labels": (signal > 8).astype(float),
        "classes": np.digitize(signal, [5.0, 10.0]).astype(float),
        "relevance": signal.clip(0, 20) // 5,
    }[kind]
    alpha = {k: v for k, v in more.items() if k == "quantile_alpha"}
    objective = find_objective(objective_name, num_classes=CLASSES, **alpha)
    if settings.get("friedman"):
        objective = with_friedman_leaves(objective)
    rows, held_out = binned(more.get("categorical", False))
    is_ranking = kind == "relevance"
    weight = None
    if more.get("weighted"):
        weight = np.random.default_rng(1).integers(0, 4, ROWS).astype(float)
    groups = ranking(HELD_OUT) if is_ranking else None
    return train(
        rows,
        target,
        objective,
        Config(num_rounds=3, max_depth=3, implementation=implementation, **settings),
        jax.random.key(0),
        weight=weight,
        groups=ranking(ROWS) if is_ranking else None,
        evaluations={"held out": HeldOut(held_out, target[:HELD_OUT], None, groups)},
        mesh=make_mesh(f"data={devices}") if devices else None,
    )


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found.forest, expected.forest)
    assert found.scores == expected.scores


@pytest.mark.parametrize("name", PARAMS)
def test_any_number_of_devices_trains_the_same_forest(name):
    expected = fit(name, 0)
    left = expected.forest.nodes.left
    assert (left[:, 0] > 0).all(), "trees were grown"
    # Two devices as well where it costs little: most of the time goes into compiling.
    for devices in (2, 4) if name == "logistic" else (4,):
        assert_same(fit(name, devices), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "implementation"), [(1, "native"), (1, "flat"), (4, "xla")]
)
def test_any_implementation_trains_the_same_forest_on_a_mesh(devices, implementation):
    if implementation == "native" and not has_native():
        pytest.skip("no compiled kernels here")
    assert_same(fit("logistic", devices, implementation), fit("logistic", 0))


@pytest.mark.slow
def test_axes_of_other_names_share_the_rows_too():
    kind, name, settings, _ = PROBLEMS["logistic"]
    assert kind == "labels"
    trained = train(
        binned(False)[0],
        (table()[1] > 8).astype(float),
        find_objective(name),
        Config(num_rounds=3, max_depth=3, **settings),
        jax.random.key(0),
        mesh=make_mesh("data=2,fsdp=2"),
    )
    expected = fit("logistic", 0).forest
    jax.tree.map(np.testing.assert_array_equal, trained.forest, expected)


def test_the_default_device_uses_what_is_there():
    assert choose() == ("native" if has_native() else "xla")
    assert len(jax.devices()) == 4
    assert jnp.zeros(1).devices() == {jax.devices()[0]}
