"""Whole forests beside scikit-learn's and XGBoost's: the same splits in every tree.

Features are integers of at most 64 values, so that every library has one bin a value;
rows are many, so that no splits of small nodes tie but for roundings. Trees are
compared as sets of (feature, last integer that goes left).
"""

import collections
import functools
import json
import math

import jax
import numpy as np
import pytest

from jaxlab.trees.boost.boosting import Config, bin_rows, boost
from jaxlab.trees.grow.predict import predict_raw
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.table.binning import fit_binner, split_threshold

pytestmark = pytest.mark.peer

ROWS, FEATURES, VALUES, CLASSES, TREES = 20_000, 8, 64, 3, 8
# Float32 scores of 8 trees, whose gradients the peers sum in float64 or float32.
CLOSE = {"rtol": 0, "atol": 1e-5}
LEAST_HESSIAN = 1e-3  # scikit-learn's constant
ALL_RIGHT = math.inf  # a split of missing values from all others


@functools.cache
def table(missing):
    rng = np.random.default_rng(0)
    X = rng.integers(0, VALUES, (ROWS, FEATURES)).astype(float)
    signal = 0.05 * X[:, 0] + np.sin(X[:, 1] / 9) + (X[:, 2] > 30) * (X[:, 3] > 40)
    X[rng.random(X.shape) < missing] = np.nan
    signal = signal + 0.4 * np.isnan(X[:, 4]) + rng.normal(size=ROWS)
    return X, signal


@functools.cache
def binned(missing):
    X = table(missing)[0]
    return bin_rows(fit_binner(X), X)


def target_of(kind, missing):
    signal = table(missing)[1]
    return {
        "squared_error": signal,
        "binary:logistic": (signal > 2.5).astype(float),
        "multi:softprob": np.digitize(signal, [2.0, 3.0]).astype(float),
    }[kind]


def weight_of(is_weighted):
    rng = np.random.default_rng(1)
    return rng.integers(1, 5, ROWS).astype(float) / 2 if is_weighted else None


def ours(kind, missing, weight, first, **settings):
    rows = binned(missing)
    forest = boost(
        rows,
        target_of(kind, missing),
        find_objective(kind, num_classes=CLASSES),
        Config(**{"num_rounds": TREES, "learning_rate": 0.1, **settings}),
        jax.random.key(0),
        weight=weight,
        first=first,
    )
    nodes = forest.nodes
    trees = []
    for tree, left in enumerate(nodes.left):
        inner = np.flatnonzero(left)
        pairs = zip(
            nodes.feature[tree, inner].tolist(),
            nodes.bin[tree, inner].tolist(),
            strict=True,
        )
        thresholds = [(f, split_threshold(rows.binner, f, b)) for f, b in pairs]
        trees.append(splits_of(thresholds))
    return trees, predict_raw(forest, rows.bins[:ROWS])


def splits_of(thresholds):
    """Count splits, by the last integer that goes left; beyond all values is beyond."""
    floors = (
        (f, math.floor(t) if t < VALUES - 1 else ALL_RIGHT) for f, t in thresholds
    )
    return collections.Counter(floors)


def scikit_learn(kind, missing, weight, **settings):
    ensemble = pytest.importorskip("sklearn.ensemble")
    is_regression = kind == "squared_error"
    maker = (
        ensemble.HistGradientBoostingRegressor
        if is_regression
        else ensemble.HistGradientBoostingClassifier
    )
    given = {"max_leaf_nodes": None, "max_depth": None, "learning_rate": 0.1} | settings
    peer = maker(max_iter=TREES, early_stopping=False, max_bins=255, **given)
    X = table(missing)[0]
    # Threads that wait for each other on busy cores would take most of the time.
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        peer.fit(X, target_of(kind, missing), sample_weight=weight)
    trees = []
    for round_trees in peer._predictors:
        for tree in round_trees:
            inner = tree.nodes[tree.nodes["is_leaf"] == 0]
            pairs = zip(inner["feature_idx"], inner["num_threshold"], strict=True)
            trees.append(splits_of((int(f), float(t)) for f, t in pairs))
    return trees, peer._raw_predict(X).T, np.ravel(peer._baseline_prediction)


def xgboost(kind, missing, weight, first, **settings):
    library = pytest.importorskip("xgboost")
    data = library.DMatrix(table(missing)[0], target_of(kind, missing), weight=weight)
    names = {"squared_error": "reg:squarederror"}
    given = {
        "objective": names.get(kind, kind),
        "tree_method": "hist",
        "max_bin": 256,
        "eta": 0.1,
        "base_score": 0.0,
        "nthread": 1,
        **settings,
    }
    if kind == "multi:softprob":
        given["num_class"] = CLASSES
    data.set_base_margin(np.tile(np.float32(first), (ROWS, 1)).squeeze())
    if kind == "binary:logistic":
        given["base_score"] = 0.5
    peer = library.train(given, data, TREES)
    trees = []
    for dump in peer.get_dump(dump_format="json"):
        found, waiting = [], [json.loads(dump)]
        while waiting:
            node = waiting.pop()
            if "split" in node:
                # x < c goes left, of integers those up to the next one below c.
                last = math.ceil(node["split_condition"]) - 1
                found.append((int(node["split"].removeprefix("f")), last))
                waiting += node["children"]
        trees.append(splits_of(found))
    raw = peer.predict(data, output_margin=True)
    return trees, raw.reshape(ROWS, -1).T


def check(found, expected):
    trees, raw = found
    peer_trees, peer_raw = expected[:2]
    assert len(trees) == len(peer_trees)
    same = [one == other for one, other in zip(trees, peer_trees, strict=True)]
    assert all(same), f"other splits in trees {np.flatnonzero(~np.array(same))}"
    assert sum(map(len, trees)) > TREES, "trees were grown"
    np.testing.assert_allclose(raw, peer_raw, **CLOSE)


# Leaf-wise or depth-wise, to both libraries.
GROWTH = {
    "15 leaves": {"best_first": True, "max_depth": 0, "max_leaves": 15},
    "31 leaves": {"best_first": True, "max_depth": 0, "max_leaves": 31},
    "255 leaves": {"best_first": True, "max_depth": 0, "max_leaves": 255},
    "depth 6": {"max_depth": 6},
}


def sklearn_growth(growth):
    if growth.get("best_first"):
        return {"max_leaf_nodes": growth["max_leaves"]}
    return {"max_depth": growth["max_depth"]}


def xgboost_growth(growth):
    if growth.get("best_first"):
        leaves = growth["max_leaves"]
        return {"grow_policy": "lossguide", "max_leaves": leaves, "max_depth": 0}
    return {"grow_policy": "depthwise", "max_depth": growth["max_depth"]}


CASES = [  # kind, growth, lambda, share of missing values, weighted
    ("squared_error", "31 leaves", 1.0, 0.0, False),
    ("squared_error", "31 leaves", 0.0, 0.1, False),
    ("squared_error", "255 leaves", 1.0, 0.0, False),
    ("squared_error", "31 leaves", 1.0, 0.1, True),
    ("squared_error", "depth 6", 1.0, 0.0, False),
    ("squared_error", "depth 6", 0.0, 0.1, True),
    ("binary:logistic", "15 leaves", 0.0, 0.0, False),
    ("binary:logistic", "31 leaves", 1.0, 0.1, False),
    ("binary:logistic", "31 leaves", 1.0, 0.0, True),
    ("binary:logistic", "depth 6", 1.0, 0.1, False),
    ("multi:softprob", "31 leaves", 1.0, 0.1, False),
    ("multi:softprob", "15 leaves", 0.0, 0.0, True),
    ("multi:softprob", "depth 6", 1.0, 0.0, False),
]
# Here one node parts all missing values from all others. Either way round gains the
# same, and a rounding of scikit-learn's takes the second.
MIRRORED = ("binary:logistic", "depth 6", 1.0, 0.1, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "growth", "l2", "missing", "is_weighted"),
    [case for case in CASES if case != MIRRORED],
)
def test_every_tree_has_the_splits_of_scikit_learn(
    kind, growth, l2, missing, is_weighted
):
    weight, growth = weight_of(is_weighted), GROWTH[growth]
    counts_rows = kind == "squared_error" and not is_weighted
    least = 20 if counts_rows else 1
    peer = scikit_learn(
        kind,
        missing,
        weight,
        l2_regularization=l2,
        min_samples_leaf=least,
        **sklearn_growth(growth),
    )
    # Our softmax has XGBoost's hessian 2 p (1 - p): twice lambda, limit and rate.
    twice = 2 if kind == "multi:softprob" else 1
    settings = {
        "l2": twice * l2,
        "min_hessian": float(least) if counts_rows else twice * LEAST_HESSIAN,
        "learning_rate": 0.1 * twice,
    }
    trees, raw = ours(kind, missing, weight, peer[2], **growth, **settings)
    check((trees, raw), peer)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "growth", "l2", "missing", "is_weighted"), CASES)
def test_every_tree_has_the_splits_of_xgboost(kind, growth, l2, missing, is_weighted):
    weight, growth = weight_of(is_weighted), GROWTH[growth]
    least = 20.0 if kind == "squared_error" and not is_weighted else LEAST_HESSIAN
    first = np.linspace(0.1, 0.3, CLASSES if kind == "multi:softprob" else 1)
    peer = xgboost(
        kind,
        missing,
        weight,
        first,
        reg_lambda=l2,
        min_child_weight=least,
        **xgboost_growth(growth),
    )
    settings = {"l2": l2, "min_hessian": least}
    check(ours(kind, missing, weight, first, **growth, **settings), peer)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours_by", "peers_by"),
    [
        ({"l1": 5.0}, {"reg_alpha": 5.0}),
        ({"max_delta_step": 0.3}, {"max_delta_step": 0.3}),
        ({"min_gain": 3.0}, {"gamma": 3.0}),
        ({"max_leaves": 20}, {"max_leaves": 20}),
    ],
)
def test_limits_are_those_of_xgboost(ours_by, peers_by):
    kind, first = "binary:logistic", np.array([0.2])
    peer = xgboost(kind, 0.1, None, first, max_depth=6, **peers_by)
    check(ours(kind, 0.1, None, first, **ours_by), peer)
