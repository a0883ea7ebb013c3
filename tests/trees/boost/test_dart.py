"""Dropout of trees, against plain boosting and a naive twin."""

import jax
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees import XGBoostClassifier, XGBoostRegressor
from jaxlab.trees.boost.boosting import Config, bin_rows, train
from jaxlab.trees.boost.dart import Dart
from jaxlab.trees.grow.predict import predict_raw
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.table.binning import fit_binner

TWIN = 1e-5  # sums of scaled float32 leaves in another order, over some rounds
ROUNDS = 12
SETTINGS = {"n_estimators": ROUNDS, "max_depth": 3, "random_state": 5}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    return X, X[:, 0] * X[:, 1] + np.sin(X[:, 2])


def naive(X, y, dart, seed, rate=0.3):
    """Boost with dropout by one-round forests and their weights."""
    binned = bin_rows(fit_binner(X), X)
    bins = binned.bins[: len(X)]
    config = Config(num_rounds=1, max_depth=3, learning_rate=rate)
    key = jax.random.key(seed)
    objective = find_objective("reg:squarederror")
    first = float(np.float32(y.mean()))
    trees, weights = [], np.zeros(0)
    for number in range(ROUNDS):
        dropped = dart.choose(key, number, weights)
        kept = sum(
            (w * t for w, t, d in zip(weights, trees, dropped, strict=True) if not d),
            start=np.zeros(len(X)),
        )
        forest = train(
            binned, y, objective, config, key, first=[first], offset=kept[None]
        ).forest
        trees.append(predict_raw(forest, bins)[0] - forest.start[0])
        count = dropped.sum()
        new, old = 1.0, 1.0
        if count and dart.as_forest:
            new = old = 1 / (1 + rate)
        elif count:
            new, old = 1 / (count + rate), count / (count + rate)
        weights = np.append(np.where(dropped, weights * old, weights), new)
    return first + weights @ np.array(trees)


@pytest.mark.parametrize("normalize_type", ["tree", "forest"])
@pytest.mark.parametrize("sample_type", ["uniform", "weighted"])
def test_dropout_is_that_of_a_naive_twin(data, sample_type, normalize_type):
    X, y = data
    given = {"rate_drop": 0.3, "one_drop": True, "skip_drop": 0.2}
    model = XGBoostRegressor(
        booster="dart",
        sample_type=sample_type,
        normalize_type=normalize_type,
        **given,
        **SETTINGS,
    ).fit(X, y)
    dart = Dart(
        by_weight=sample_type == "weighted",
        as_forest=normalize_type == "forest",
        **given,
    )
    expected = naive(X, y, dart, seed=5)
    assert np.abs(model.predict(X) - expected).max() < TWIN
    assert (model._tree_weights != 1).any()


def test_without_drops_it_is_plain_boosting_bit_for_bit(data):
    X, y = data
    plain = XGBoostRegressor(subsample=0.7, **SETTINGS).fit(X, y)
    dart = XGBoostRegressor(subsample=0.7, booster="dart", **SETTINGS).fit(X, y)
    for one, other in zip(
        jax.tree.leaves(plain.forest_), jax.tree.leaves(dart.forest_), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_metrics_are_of_the_scaled_forest(data):
    X, y = data
    given = {"booster": "dart", "rate_drop": 0.5, **SETTINGS}
    model = XGBoostRegressor(**given).fit(
        X[:200], y[:200], eval_set=[(X[200:], y[200:])]
    )
    error = np.sqrt(np.mean((model.predict(X[200:]) - y[200:]) ** 2))
    assert abs(model.evals_result()["validation_0"]["rmse"][-1] - error) < TWIN


def test_early_stopping_keeps_the_forest_as_it_was_at_the_best_round(data):
    X, _ = data
    noise = np.random.default_rng(1).normal(size=len(X))
    given = {**SETTINGS, "n_estimators": 60, "booster": "dart", "rate_drop": 0.5}
    model = XGBoostRegressor(early_stopping_rounds=5, **given)
    model.fit(X[:200], noise[:200], eval_set=[(X[200:], noise[200:])])
    assert model.forest_.num_rounds == model.best_iteration + 1 < 60
    error = np.sqrt(np.mean((model.predict(X[200:]) - noise[200:]) ** 2))
    assert abs(model.best_score - error) < TWIN


def test_going_on_is_as_if_it_had_not_stopped(data):
    X, y = data
    given = {"booster": "dart", "rate_drop": 0.4, "sample_type": "weighted"}
    settings = {**given, **SETTINGS}
    whole = XGBoostClassifier(**settings).fit(X, np.digitize(y, [-0.5, 0.5]))
    part = XGBoostClassifier(**{**settings, "n_estimators": 5}, warm_start=True)
    part.fit(X, np.digitize(y, [-0.5, 0.5])).set_params(n_estimators=ROUNDS)
    part.fit(X, np.digitize(y, [-0.5, 0.5]))
    np.testing.assert_array_equal(whole.predict_proba(X), part.predict_proba(X))


def test_a_bad_rate_is_named(data):
    with pytest.raises(InputError, match="rate_drop 2"):
        XGBoostRegressor(booster="dart", rate_drop=2.0).fit(*data)
    with pytest.raises(InputError, match="booster 'gblinear' is not one of"):
        XGBoostRegressor(booster="gblinear").fit(*data)
