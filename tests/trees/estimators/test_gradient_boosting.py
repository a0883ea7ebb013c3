"""Friedman's gradient boosting: scikit-learn's own, worked examples, the interface."""

import pickle

import numpy as np
import pytest
import sklearn.ensemble as theirs
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression

from jaxlab.core.errors import InputError
from jaxlab.trees import GradientBoostingClassifier, GradientBoostingRegressor

pytestmark = pytest.mark.slow  # many small programs to compile

# Scores are sums of float32 leaves here and of float64 there: some 1e-7 a round.
STAGED = 1e-5
EXACT = 1e-6  # of a worked example: rounding of a few float32 sums
NUM_ROWS = 240  # distinct values fit into the bins, so that trees are the exact ones
# Ties are broken by chance in scikit-learn: in small nodes many features split alike.
LARGE = {"max_depth": 2, "min_samples_leaf": 30}

REGRESSION = ("squared_error", "absolute_error", "huber", "quantile")
CLASSIFICATION = (("log_loss", 2), ("log_loss", 3), ("exponential", 2))


def make_data():
    rng = np.random.default_rng(1)  # splits without ties, see LARGE
    X = rng.normal(size=(NUM_ROWS, 5))
    y = X[:, 0] + X[:, 1] ** 2 + 0.7 * rng.normal(size=NUM_ROWS)
    return X, y, rng.uniform(0.2, 2.0, size=NUM_ROWS)


def labels(y, num_classes):
    return np.digitize(y, np.quantile(y, np.arange(1, num_classes) / num_classes))


def gap(ours, theirs):
    """Give the largest difference at any stage."""
    pairs = zip(ours, theirs, strict=True)
    return max(np.abs(one - np.squeeze(other)).max() for one, other in pairs)


@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss", REGRESSION)
def test_regression_is_scikit_learns_at_every_stage(loss, is_weighted):
    X, y, weight = make_data()
    given = {"loss": loss, "n_estimators": 25, "alpha": 0.7, **LARGE}
    weight = weight if is_weighted else None
    ours = GradientBoostingRegressor(**given).fit(X, y, weight)
    other = theirs.GradientBoostingRegressor(**given, random_state=0).fit(X, y, weight)
    assert gap(ours.staged_predict(X), other.staged_predict(X)) < STAGED
    importance = ours.feature_importances_ - other.feature_importances_
    assert np.abs(importance).max() < STAGED
    if loss != "huber":
        assert np.abs(ours.train_score_ - other.train_score_).max() < STAGED


@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("loss", "num_classes"), CLASSIFICATION)
def test_classification_is_scikit_learns_at_every_stage(loss, num_classes, is_weighted):
    X, y, weight = make_data()
    y, weight = labels(y, num_classes), weight if is_weighted else None
    given = {"loss": loss, "n_estimators": 25, "min_samples_leaf": 10}
    ours = GradientBoostingClassifier(**given).fit(X, y, weight)
    other = theirs.GradientBoostingClassifier(**given, random_state=0).fit(X, y, weight)
    decisions = ours.staged_decision_function(X), other.staged_decision_function(X)
    assert gap(*decisions) < STAGED
    assert gap(ours.staged_predict_proba(X), other.staged_predict_proba(X)) < STAGED
    assert np.abs(ours.train_score_ - other.train_score_).max() < STAGED
    np.testing.assert_array_equal(ours.predict(X), other.predict(X))


@pytest.mark.parametrize(
    "given",
    [
        {"max_leaf_nodes": 6, "max_depth": None},
        {"min_samples_leaf": 12, "min_samples_split": 40},
        {"min_samples_leaf": 0.05, "min_impurity_decrease": 0.02},
        {"min_weight_fraction_leaf": 0.1},
    ],
)
def test_limits_of_a_tree_are_scikit_learns(given):
    X, y, weight = make_data()
    ours = GradientBoostingRegressor(n_estimators=10, **given).fit(X, y, weight)
    other = theirs.GradientBoostingRegressor(n_estimators=10, random_state=0, **given)
    other.fit(X, y, weight)
    assert np.abs(ours.predict(X) - other.predict(X)).max() < STAGED


@pytest.mark.parametrize("init", ["zero", LinearRegression()])
def test_regression_starts_from_what_init_says(init):
    X, y, _ = make_data()
    ours = GradientBoostingRegressor(n_estimators=8, init=init).fit(X, y)
    other = theirs.GradientBoostingRegressor(n_estimators=8, init=init, random_state=0)
    other.fit(X, y)
    assert gap(ours.staged_predict(X), other.staged_predict(X)) < STAGED


@pytest.mark.parametrize(("loss", "num_classes"), CLASSIFICATION)
def test_classification_starts_from_what_init_says(loss, num_classes):
    X, y, _ = make_data()
    y = labels(y, num_classes)
    given = {"n_estimators": 8, "loss": loss, "init": LogisticRegression()}
    ours = GradientBoostingClassifier(**given).fit(X, y)
    other = theirs.GradientBoostingClassifier(**given, random_state=0).fit(X, y)
    assert np.abs(ours.predict_proba(X) - other.predict_proba(X)).max() < STAGED


def test_the_heights_of_four_people_are_predicted_as_by_hand():
    """The worked example of spec/systems.md 9: age and weight to height."""
    X = np.array([[5, 20], [7, 30], [21, 70], [30, 60]], float)
    y = np.array([1.1, 1.3, 1.7, 1.8])
    model = GradientBoostingRegressor(n_estimators=5).fit(X, y)
    stages = [float(one[0]) for one in model.staged_predict(np.array([[25.0, 65.0]]))]
    by_hand = [1.4975, 1.51775, 1.535975, 1.5523775, 1.56713975]
    np.testing.assert_allclose(stages[0], 1.475 + 0.1 * (1.7 - 1.475))
    np.testing.assert_allclose(stages, by_hand, atol=EXACT)


def test_two_stumps_fit_the_ages_exactly():
    """Ages 14, 16, 24, 26 by two yes-no features, shrinkage 1: leaves 5, then 1."""
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    y = np.array([14.0, 16, 24, 26])
    given = {"n_estimators": 2, "learning_rate": 1.0, "max_depth": 1}
    model = GradientBoostingRegressor(**given).fit(X, y)
    first, second = model.forest_.nodes.value
    np.testing.assert_allclose(sorted(first[1:]), [-5, 5], atol=EXACT)
    np.testing.assert_allclose(sorted(second[1:]), [-1, 1], atol=EXACT)
    np.testing.assert_allclose(model.predict(X), y, atol=EXACT)


def test_training_loss_falls_and_sampling_still_learns():
    X, y, _ = make_data()
    whole = GradientBoostingRegressor(n_estimators=30).fit(X, y)
    assert (np.diff(whole.train_score_) < 0).all()
    given = {"subsample": 0.5, "max_features": "sqrt", "random_state": 3}
    some = GradientBoostingRegressor(n_estimators=30, **given).fit(X, y)
    assert some.train_score_[-1] < 0.5 * some.train_score_[0]
    again = clone(some).fit(X, y)
    np.testing.assert_array_equal(some.predict(X), again.predict(X))
    other = clone(some).set_params(random_state=4).fit(X, y)
    assert (some.predict(X) != other.predict(X)).any()


def test_a_warm_start_goes_on_as_if_it_had_not_stopped():
    X, y, _ = make_data()
    given = {"subsample": 0.7, "random_state": 1}
    whole = GradientBoostingRegressor(n_estimators=20, **given).fit(X, y)
    model = GradientBoostingRegressor(n_estimators=8, warm_start=True, **given)
    model.fit(X, y).set_params(n_estimators=20).fit(X, y)
    np.testing.assert_array_equal(whole.predict(X), model.predict(X))
    np.testing.assert_array_equal(whole.train_score_, model.train_score_)
    with pytest.raises(InputError, match="n_estimators 5 is below the 20 rounds"):
        model.set_params(n_estimators=5).fit(X, y)


def test_early_stopping_keeps_the_rounds_up_to_the_best():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 3)), rng.normal(size=300)
    given = {"n_iter_no_change": 4, "validation_fraction": 0.3, "random_state": 0}
    model = GradientBoostingRegressor(n_estimators=200, **given).fit(X, y)
    assert model.n_estimators_ == len(model.train_score_) < 50
    flags = GradientBoostingClassifier(n_estimators=200, **given).fit(X, y > 0)
    assert flags.n_estimators_ < 100


@pytest.mark.parametrize("init", [None, "zero"])
def test_files_and_pickles_hold_the_whole_model(init, tmp_path):
    X, y, _ = make_data()
    names = np.array(["low", "mid", "high"])[labels(y, 3)]
    model = GradientBoostingClassifier(n_estimators=5, init=init).fit(X, names)
    model.save_model(tmp_path / "model")
    read = GradientBoostingClassifier().load_model(tmp_path / "model")
    for other in (read, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))
        np.testing.assert_array_equal(model.predict(X), other.predict(X))
        np.testing.assert_array_equal(model.train_score_, other.train_score_)
    assert model.apply(X).shape == (NUM_ROWS, 5, 3)


def test_a_model_on_another_estimator_is_for_pickle(tmp_path):
    X, y, _ = make_data()
    model = GradientBoostingRegressor(n_estimators=2, init=LinearRegression()).fit(X, y)
    with pytest.raises(InputError, match="use pickle"):
        model.save_model(tmp_path / "model")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"loss": "hinge"}, "loss 'hinge' is not one of squared_error"),
        ({"learning_rate": -1.0}, "learning_rate -1.0"),
        ({"n_estimators": 0}, "n_estimators 0"),
        ({"subsample": 1.5}, "subsample 1.5"),
        ({"min_samples_leaf": 0}, "min_samples_leaf 0"),
        ({"max_features": "most"}, "max_features 'most'"),
        ({"max_leaf_nodes": 1}, "max_leaf_nodes 1"),
        ({"init": "mean"}, "init 'mean'"),
        ({"loss": "quantile", "alpha": 1.0}, "alpha 1.0"),
    ],
)
def test_a_bad_setting_is_named(given, words):
    X, y, _ = make_data()
    with pytest.raises(InputError, match=words):
        GradientBoostingRegressor(**given).fit(X, y)


def test_the_exponential_loss_wants_two_classes():
    X, y, _ = make_data()
    with pytest.raises(InputError, match="two classes, not 3"):
        GradientBoostingClassifier(loss="exponential").fit(X, labels(y, 3))
