"""XGBoost-style estimators: XGBoost itself, losses of one's own, the interface."""

import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.metrics import mean_absolute_error, ndcg_score, roc_auc_score
from sklearn.model_selection import GridSearchCV

from jaxlab.core.errors import InputError
from jaxlab.trees import XGBoostClassifier, XGBoostRanker, XGBoostRegressor
from jaxlab.trees.estimators.importance import importances

pytestmark = pytest.mark.slow  # many small programs to compile

PEER = 1e-5  # raw scores are sums of float32 leaves in both; measured up to 2e-6
METRIC = 1e-5  # a float32 mean here, float64 there
TIES = 1e-3  # of NDCG: equal scores stand in the order of rows here, averaged there
NUM_ROWS = 800

# Not of the data's maker: two functions of one text are compiled twice.


def logistic(raw, target):
    return jax.nn.softplus(raw) - target * raw


def focal(raw, target):
    """Focal loss (Lin et al. 2017), gamma 2."""
    z = (2 * target - 1) * raw
    return jnp.exp(-2 * jax.nn.softplus(z)) * jax.nn.softplus(-z)


def normal(raw, target):
    """Mean and log deviation of a normal distribution."""
    mean, log_deviation = raw
    return 0.5 * ((target - mean) * jnp.exp(-log_deviation)) ** 2 + log_deviation


def make_data():
    """Make whole numbers with few values: every library cuts them alike."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 50, size=(NUM_ROWS, 5)).astype(float)
    y = np.sin(X[:, 0] / 8) + 0.5 * (X[:, 1] > 25) + X[:, 2] * X[:, 3] / 2000
    return X, y + 0.3 * rng.normal(size=NUM_ROWS)


X, Y = make_data()
FLAG = (np.median(Y) + 0.1 < Y).astype(int)
CLASS = np.digitize(Y, [0.5, 1.2])
WEIGHT = np.random.default_rng(1).integers(1, 4, size=NUM_ROWS).astype(float)
TREES = {"n_estimators": 12, "max_depth": 4}
COUNTS = np.random.default_rng(2).poisson(np.exp(Y))


def bits(model, other):
    """Tell whether two forests are the same, bit for bit."""
    leaves = jax.tree.leaves(model.forest_), jax.tree.leaves(other.forest_)
    return all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


REGRESSION = {
    "reg:squarederror": (Y, {}),
    "reg:absoluteerror": (Y, {"base_score": 0.5}),
    "reg:pseudohubererror": (Y, {"base_score": 0.5, "huber_slope": 1.5}),
    "count:poisson": (COUNTS, {}),
    "reg:gamma": (np.exp(Y), {}),
    "reg:tweedie": (np.maximum(np.exp(Y) - 1, 0), {"tweedie_variance_power": 1.3}),
}


@pytest.mark.peer
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("objective", REGRESSION)
def test_regression_is_xgboosts(objective, weight):
    peer = pytest.importorskip("xgboost")
    target, given = REGRESSION[objective]
    given = {"objective": objective, **TREES, **given}
    ours = XGBoostRegressor(**given).fit(X, target, sample_weight=weight)
    other = peer.XGBRegressor(tree_method="hist", **given)
    other.fit(X, target, sample_weight=weight)
    margins = (model.predict(X, output_margin=True) for model in (ours, other))
    assert np.abs(np.subtract(*margins)).max() < PEER
    np.testing.assert_allclose(ours.predict(X), other.predict(X), rtol=PEER, atol=PEER)


@pytest.mark.peer
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("target", [FLAG, CLASS], ids=["logistic", "softprob"])
def test_classification_is_xgboosts(target, weight):
    peer = pytest.importorskip("xgboost")
    ours = XGBoostClassifier(**TREES).fit(X, target, sample_weight=weight)
    other = peer.XGBClassifier(tree_method="hist", **TREES)
    other.fit(X, target, sample_weight=weight)
    assert np.abs(ours.predict_proba(X) - other.predict_proba(X)).max() < PEER
    np.testing.assert_array_equal(ours.predict(X), other.predict(X))


@pytest.mark.peer
@pytest.mark.parametrize(
    "given",
    [
        {"reg_lambda": 2, "reg_alpha": 0.5, "gamma": 0.3, "min_child_weight": 5},
        {"grow_policy": "lossguide", "max_depth": 0, "max_leaves": 12},
        {"monotone_constraints": (1, 0, -1, 0, 0)},
        {"interaction_constraints": [[0, 1], [2, 3, 4]]},
        {"max_delta_step": 0.1},
    ],
    ids=lambda given: next(iter(given)),
)
def test_settings_mean_what_they_do_in_xgboost(given):
    peer = pytest.importorskip("xgboost")
    given = {**TREES, **given}
    ours = XGBoostRegressor(**given).fit(X, Y)
    if "interaction_constraints" in given:
        given["interaction_constraints"] = "[[0, 1], [2, 3, 4]]"
    other = peer.XGBRegressor(tree_method="hist", **given).fit(X, Y)
    assert np.abs(ours.predict(X) - other.predict(X)).max() < PEER


@pytest.mark.peer
def test_class_weights_missing_values_and_importances_are_xgboosts():
    peer = pytest.importorskip("xgboost")
    holes = np.where(np.random.default_rng(3).random(X.shape) < 0.1, np.nan, X)
    given = {"scale_pos_weight": 3.0, "base_score": 0.4, **TREES}
    ours = XGBoostClassifier(**given).fit(holes, FLAG)
    other = peer.XGBClassifier(tree_method="hist", **given).fit(holes, FLAG)
    assert np.abs(ours.predict_proba(X) - other.predict_proba(X)).max() < PEER
    for kind in ("gain", "weight", "cover", "total_gain", "total_cover"):
        ours.set_params(importance_type=kind)
        other.set_params(importance_type=kind)
        gap = ours.feature_importances_ - other.feature_importances_
        assert np.abs(gap).max() < PEER


@pytest.mark.peer
@pytest.mark.parametrize("objective", ["rank:ndcg", "rank:pairwise"])
def test_ranking_is_xgboosts(objective):
    peer = pytest.importorskip("xgboost")
    relevance = np.digitize(Y, [0, 0.7, 1.4])
    sizes = [10, 30] * (NUM_ROWS // 40)
    given = {"objective": objective, **TREES}
    ours = XGBoostRanker(**given).fit(X, relevance, group=sizes)
    other = peer.XGBRanker(
        tree_method="hist", lambdarank_pair_method="topk", **given
    ).fit(X, relevance, group=sizes)
    assert np.abs(ours.predict(X) - other.predict(X)).max() < PEER


def test_queries_may_be_mixed_weighted_watched_and_held_out():
    relevance = np.digitize(Y, [0, 0.7, 1.4])
    qid = np.repeat(np.arange(NUM_ROWS // 20), 20)
    model = XGBoostRanker(**TREES).fit(X, relevance, qid=qid)
    mixed = np.arange(NUM_ROWS).reshape(-1, 20).T.ravel()  # in order within a query
    other = XGBoostRanker(**TREES).fit(X[mixed], relevance[mixed], qid=qid[mixed])
    np.testing.assert_allclose(model.predict(X), other.predict(X), atol=PEER)
    ones = XGBoostRanker(**TREES).fit(
        X, relevance, qid=qid, query_weight=np.ones(NUM_ROWS // 20)
    )
    assert bits(model, ones)
    watched = XGBoostRanker(early_stopping_rounds=3, random_state=0, **TREES)
    watched.fit(X, relevance, qid=qid, eval_set=[(X, relevance)], eval_qid=[qid])
    assert watched.best_score > 0.9
    shape = (-1, 20)
    scores = watched.predict(X).reshape(shape)
    gain = 2.0 ** relevance.reshape(shape) - 1
    assert abs(watched.best_score - ndcg_score(gain, scores)) < TIES
    held = clone(watched).set_params(validation_fraction=0.3)
    held.fit(X, relevance, qid=qid)
    assert 0.5 < held.best_score <= 1


def test_a_custom_logistic_loss_is_the_built_in_one_bit_for_bit():
    built_in = XGBoostClassifier(**TREES).fit(X, FLAG)
    custom = XGBoostClassifier(objective=logistic, **TREES).fit(X, FLAG)
    assert bits(built_in, custom)
    np.testing.assert_array_equal(built_in.predict_proba(X), custom.predict_proba(X))


def test_a_custom_focal_loss_trains_and_beats_chance():
    model = XGBoostClassifier(objective=focal, **TREES).fit(X[:600], FLAG[:600])
    assert roc_auc_score(FLAG[600:], model.predict_proba(X[600:])[:, 1]) > 0.8


def test_a_loss_may_have_several_outputs():
    given = {"objective": normal, "num_outputs": 2, "learning_rate": 0.1}
    model = XGBoostRegressor(n_estimators=30, max_depth=3, **given).fit(X, Y)
    mean, log_deviation = model.predict(X).T
    constant = np.log(Y.std())
    likelihood = 0.5 * ((Y - mean) / np.exp(log_deviation)) ** 2 + log_deviation
    assert likelihood.mean() < 0.5 + constant - 0.2


def test_several_quantiles_are_predicted_at_once():
    given = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}
    model = XGBoostRegressor(n_estimators=40, max_depth=3, **given).fit(X, Y)
    below = (Y[:, None] <= model.predict(X)).mean(0)
    np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.06)


@pytest.mark.parametrize(
    "names",
    [np.array(["no", "yes"]), np.array(["no", "yes"], object), np.array([7, -3])],
    ids=["text", "object", "number"],
)
def test_labels_may_be_of_any_type(names, tmp_path):
    model = XGBoostClassifier(**TREES)
    model.fit(X, names[FLAG], eval_set=[(X, names[FLAG])])
    assert set(model.predict(X)) == set(names)
    assert model.score(X, names[FLAG]) > 0.9
    assert model.classes_.tolist() == sorted(names.tolist())
    with pytest.raises(InputError, match="not among the classes"):
        model.fit(X, names[FLAG], eval_set=[(X[:1], np.array([99]))])


def test_early_stopping_watches_a_set_or_holds_rows_out():
    rng = np.random.default_rng(0)
    noise = Y + rng.normal(size=NUM_ROWS)
    given = {"n_estimators": 200, "early_stopping_rounds": 5, "max_depth": 4}
    model = XGBoostRegressor(**given)
    model.fit(X[:500], noise[:500], eval_set=[(X[500:], noise[500:])])
    scores = model.evals_result()["validation_0"]["rmse"]
    assert model.best_iteration == int(np.argmin(scores)) < 190
    assert model.best_score == min(scores)
    assert model.forest_.num_rounds == model.best_iteration + 1
    error = np.sqrt(np.mean((model.predict(X[500:]) - noise[500:]) ** 2))
    assert abs(error - model.best_score) < METRIC
    held = XGBoostRegressor(validation_fraction=0.2, random_state=0, **given)
    assert held.fit(X, noise).best_iteration < 190
    with pytest.raises(AttributeError, match="early stopping"):
        _ = XGBoostRegressor(**TREES).fit(X, Y).best_iteration


def test_held_out_rows_keep_the_share_of_each_class():
    rare = (np.arange(NUM_ROWS) % 100 == 0).astype(int)
    seen = []

    def share(target, prediction):
        seen.append(target.mean())
        return 0.0

    model = XGBoostClassifier(validation_fraction=0.25, eval_metric=share, **TREES)
    model.fit(X, rare)
    assert set(seen) == {np.float32(2 / 200)}


def test_metrics_are_named_or_functions():
    model = XGBoostRegressor(
        eval_metric=["mae", mean_absolute_error, "rmse"], **TREES
    ).fit(
        X, Y, eval_set=[(X, Y), (X[:99], Y[:99])], sample_weight_eval_set=[WEIGHT, None]
    )
    scores = model.evals_result()
    assert list(scores) == ["validation_0", "validation_1"]
    assert list(scores["validation_1"]) == ["mae", "mean_absolute_error", "rmse"]
    stages = list(model.staged_predict(X))
    expected = [mean_absolute_error(Y[:99], one[:99]) for one in stages]
    for name in ("mae", "mean_absolute_error"):
        np.testing.assert_allclose(scores["validation_1"][name], expected, atol=METRIC)
    weighted = mean_absolute_error(Y, stages[-1], sample_weight=WEIGHT)
    assert abs(scores["validation_0"]["mae"][-1] - weighted) < METRIC


@pytest.mark.parametrize("target", [FLAG, CLASS], ids=["two", "three"])
def test_stages_ranges_and_margins_add_up(target):
    model = XGBoostClassifier(**TREES).fit(X, target)
    stages = list(model.staged_predict_proba(X))
    np.testing.assert_array_equal(stages[-1], model.predict_proba(X))
    np.testing.assert_array_equal(
        stages[4], model.predict_proba(X, iteration_range=(0, 5))
    )
    *_, last = model.staged_decision_function(X)
    np.testing.assert_array_equal(last, model.decision_function(X))
    half = model.predict(X, output_margin=True, iteration_range=(0, 6))
    rest = model.predict(
        X, output_margin=True, iteration_range=(6, 12), base_margin=half
    )
    np.testing.assert_array_equal(rest, model.decision_function(X))
    outputs = 1 if target is FLAG else 3
    leaves = model.apply(X)
    assert leaves.shape == (NUM_ROWS, 12 * outputs)
    values = model.forest_.nodes.value
    total = sum(values[t, leaves[:, t]] for t in range(0, 12 * outputs, outputs))
    raw = model.decision_function(X).reshape(NUM_ROWS, -1)[:, 0]
    np.testing.assert_allclose(total + model.intercept_[0], raw, atol=PEER)


def test_going_on_is_as_if_it_had_not_stopped(tmp_path):
    given = {"max_depth": 4, "subsample": 0.7, "colsample_bytree": 0.6}
    given["random_state"] = 3
    whole = XGBoostRegressor(n_estimators=12, **given).fit(X, Y)
    warm = XGBoostRegressor(n_estimators=5, warm_start=True, **given).fit(X, Y)
    half = clone(warm).set_params(n_estimators=7).fit(X, Y)
    assert bits(whole, warm.set_params(n_estimators=12).fit(X, Y))
    half.save_model(tmp_path / "half.npz")
    for earlier in (half, tmp_path / "half.npz", str(tmp_path / "half.npz")):
        rest = XGBoostRegressor(n_estimators=5, **given)
        assert bits(whole, rest.fit(X, Y, xgb_model=earlier))


def test_a_margin_is_where_training_starts():
    first = XGBoostRegressor(n_estimators=6, max_depth=4).fit(X, Y)
    second = XGBoostRegressor(n_estimators=6, max_depth=4)
    second.fit(X, Y, base_margin=first.predict(X))
    both = second.predict(X, base_margin=first.predict(X))
    whole = XGBoostRegressor(**TREES).fit(X, Y)
    np.testing.assert_array_equal(both, whole.predict(X))


def test_base_score_is_a_prediction():
    model = XGBoostClassifier(base_score=0.25, **TREES).fit(X, FLAG)
    np.testing.assert_allclose(model.intercept_, [np.log(1 / 3)], rtol=1e-6)
    model = XGBoostRegressor(objective="count:poisson", base_score=2.0, **TREES)
    np.testing.assert_allclose(model.fit(X, COUNTS).intercept_, [np.log(2)], rtol=1e-6)


def test_data_frames_bring_names_and_categories(tmp_path):
    pandas = pytest.importorskip("pandas")
    towns = np.array(["Bern", "Oslo", "Rome", "Vaduz", "Wien", "Zug"])
    effect = np.array([3.0, -1.0, 2.0, 0.0, -2.0, 1.0])
    town = np.random.default_rng(0).integers(0, 6, NUM_ROWS)
    frame = pandas.DataFrame({"size": X[:, 0], "town": towns[town]})
    frame["town"] = frame["town"].astype("category")
    target = effect[town] + X[:, 0] / 100
    given = {"learning_rate": 1.0, "reg_lambda": 0.0}
    model = XGBoostRegressor(n_estimators=6, max_depth=5, **given).fit(frame, target)
    assert list(model.feature_names_in_) == ["size", "town"]
    assert np.abs(model.predict(frame) - target).max() < 0.3
    model.save_model(tmp_path / "model")
    read = XGBoostRegressor().load_model(tmp_path / "model")
    shuffled = frame.assign(town=frame["town"].cat.reorder_categories(towns[::-1]))
    for other in (read, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(shuffled), model.predict(frame))
    unseen = frame.assign(town=pandas.Categorical(["Paris"] * NUM_ROWS))
    nothing = frame.assign(town=pandas.Categorical([None] * NUM_ROWS, towns))
    np.testing.assert_array_equal(model.predict(unseen), model.predict(nothing))
    signs = {
        "monotone_constraints": {"size": -1},
        "interaction_constraints": [["size"]],
    }
    falling = XGBoostRegressor(n_estimators=4, **signs).fit(frame, target)
    grid = frame.iloc[:50].assign(size=np.arange(50.0), town=frame["town"].iloc[0])
    assert (np.diff(falling.predict(grid)) <= 0).all()
    with pytest.raises(InputError, match="enable_categorical is False"):
        XGBoostRegressor(enable_categorical=False).fit(frame, target)


def test_numbers_may_be_categories():
    codes = X[:, :1] % 6
    target = np.array([3.0, -1.0, 2.0, 0.0, -2.0, 1.0])[codes[:, 0].astype(int)]
    given = {"learning_rate": 1.0, "reg_lambda": 0.0, "max_depth": 3}
    model = XGBoostRegressor(n_estimators=1, categorical_features=[0], **given)
    assert np.abs(model.fit(codes, target).predict(codes) - target).max() < 1e-5


@pytest.mark.parametrize("sign", [1, -1])
def test_constraints_make_predictions_monotone(sign):
    signs = (sign, 0, 0, 0, 0)
    model = XGBoostClassifier(monotone_constraints=signs, **TREES).fit(X, CLASS == 1)
    rows = np.repeat(X[:40], 50, axis=0)
    rows[:, 0] = np.tile(np.arange(50.0), 40)
    steps = np.diff(model.decision_function(rows).reshape(40, 50), axis=1)
    assert (sign * steps >= 0).all()
    assert (steps != 0).any()


def test_features_of_different_sets_never_meet_on_a_path():
    sets = [[0, 1], [2, 3, 4]]
    model = XGBoostRegressor(interaction_constraints=sets, **TREES).fit(X, Y)
    nodes = model.forest_.nodes
    for tree in range(model.forest_.num_trees):
        paths = {0: frozenset()}
        for node, left in enumerate(nodes.left[tree]):
            if left:
                path = paths[node] | {int(nodes.feature[tree, node])}
                assert any(path <= set(one) for one in sets)
                paths[left] = paths[left + 1] = path


def test_any_table_will_do():
    dense = np.where(X < 20, 0.0, X)
    model = XGBoostRegressor(**TREES).fit(dense, Y)
    for other in (
        scipy.sparse.csr_array(dense),
        dense.tolist(),
        dense.astype(np.int32),
    ):
        again = XGBoostRegressor(**TREES).fit(other, Y)
        assert bits(model, again)
        np.testing.assert_array_equal(again.predict(other), model.predict(dense))


def test_columns_of_one_value_or_none_are_never_split_on():
    dull = np.column_stack([X, np.full(NUM_ROWS, np.nan), np.ones(NUM_ROWS)])
    model = XGBoostRegressor(**TREES).fit(dull, Y)
    assert (importances(model.forest_, 7, "weight")[5:] == 0).all()
    plain = XGBoostRegressor(**TREES).fit(X, Y)
    np.testing.assert_array_equal(model.predict(dull), plain.predict(X))


@pytest.mark.parametrize("method", ["uniform", "goss"])
def test_rows_are_sampled_by_the_seed(method):
    given = {"sampling_method": method, "subsample": 0.6, **TREES}
    one, same, other = (
        XGBoostRegressor(random_state=seed, **given).fit(X, Y) for seed in (0, 0, 1)
    )
    assert bits(one, same)
    assert not bits(one, other)
    assert np.mean((one.predict(X) - Y) ** 2) < 0.3 * Y.var()


@pytest.mark.slow
def test_devices_change_nothing():
    given = {"n_estimators": 3, "max_depth": 2}
    plain = XGBoostClassifier(**given).fit(X, CLASS)
    for other in ({"mesh": "data=2"}, {"mesh": "auto"}, {"implementation": "xla"}):
        assert bits(plain, XGBoostClassifier(**given, **other).fit(X, CLASS))


@pytest.mark.parametrize(
    "model",
    [
        XGBoostClassifier(objective=logistic, **TREES),
        XGBoostClassifier(eval_metric=["auc"], validation_fraction=0.2, **TREES),
        XGBoostClassifier(booster="dart", rate_drop=0.3, random_state=0, **TREES),
    ],
    ids=["custom", "watched", "dart"],
)
def test_files_and_pickles_hold_the_whole_model(model, tmp_path):
    names = np.array(["low", "high"])[FLAG]
    model = clone(model).fit(X, names)
    path = tmp_path / "model"
    model.save_model(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    custom = {"objective": logistic} if callable(model.objective) else {}
    read = XGBoostClassifier(**custom).load_model(path)
    assert read.get_params() == model.get_params()
    for other in (read, pickle.loads(pickle.dumps(model))):
        assert bits(model, other)
        np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))
        assert other.classes_.tolist() == ["high", "low"]
        assert other.evals_result() == model.evals_result()
    with pytest.raises(InputError, match="holds a XGBoostClassifier"):
        XGBoostRegressor().load_model(path)


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "model").write_text("no")
    with pytest.raises(InputError, match="is no model of save_model"):
        XGBoostRegressor().load_model(tmp_path / "model")
    with pytest.raises(InputError, match="nowhere is not there"):
        XGBoostRegressor().load_model(tmp_path / "nowhere")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    model = XGBoostRegressor(**TREES).fit(X, Y)
    path = tmp_path / "model"
    model.save_model(path)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(InputError, match=r"model cannot be written \(no space"):
        model.save_model(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_other_numbers_and_a_few_rows_more_do_not_compile(compilations):
    XGBoostClassifier(**TREES).fit(X, FLAG).predict_proba(X)
    XGBoostClassifier(**TREES).fit(X, FLAG).predict_proba(X[:1])
    given = {"learning_rate": 0.05, "reg_lambda": 3.0, "reg_alpha": 0.1, "gamma": 0.2}
    given.update(min_child_weight=2.0, n_estimators=12, max_depth=4, random_state=8)
    with compilations() as names:
        model = XGBoostClassifier(**given).fit(X[:790], FLAG[:790])
        model.predict_proba(X[:790])
        model.predict_proba(X[3:4])
        model.predict(X[:5])
    assert names == []


def test_search_over_settings_works():
    search = GridSearchCV(
        XGBoostRegressor(n_estimators=4), {"max_depth": [1, 3]}, cv=2
    ).fit(X, Y)
    assert search.best_params_ == {"max_depth": 3}


def test_progress_shows_the_metric(capsys):
    model = XGBoostRegressor(**TREES)
    model.fit(X, Y, eval_set=[(X, Y)], verbose=1)
    shown = capsys.readouterr().out
    assert "12/12" in shown
    assert "validation_0-rmse" in shown
    model.fit(X, Y)
    assert capsys.readouterr().out == ""


BAD_SETTINGS = [
    (
        {"learning_rate": 0},
        "learning_rate 0 must be above 0",
    ),
    ({"n_estimators": 0}, "n_estimators 0"),
    ({"subsample": 1.5}, "subsample 1.5 .* at most 1"),
    ({"reg_lambda": -1}, "reg_lambda -1 .* at least 0"),
    ({"max_depth": -1}, "max_depth -1"),
    ({"max_depth": 0}, "grow without end"),
    ({"max_bin": 1}, "max_bin 1"),
    ({"grow_policy": "best"}, "grow_policy 'best' is not one of depthwise"),
    ({"sampling_method": "gradient"}, "sampling_method 'gradient'"),
    (
        {"sampling_method": "goss", "top_rate": 0.9, "other_rate": 0.2},
        "add up to at most 1",
    ),
    ({"monotone_constraints": (1, 0)}, "each of the 5 features"),
    ({"monotone_constraints": (2, 0, 0, 0, 0)}, "one of -1, 0, 1"),
    ({"monotone_constraints": {"age": 1}}, "feature 'age' is unknown"),
    ({"interaction_constraints": [[0, 9]]}, "indices from 0 to 4"),
    ({"objective": "reg:linear"}, "objective 'reg:linear' is unknown"),
    ({"eval_metric": "accuracy", "validation_fraction": 0.2}, "'accuracy' is unknown"),
    ({"early_stopping_rounds": 3}, "needs rows to watch"),
    ({"early_stopping_rounds": 0}, "early_stopping_rounds 0"),
    ({"validation_fraction": 1.0}, "validation_fraction 1.0"),
    ({"base_score": float("nan")}, "base_score nan"),
    ({"mesh": "rows=2"}, "mesh 'rows=2'"),
    ({"implementation": "cuda"}, "'cuda' is not one of"),
    ({"objective": lambda raw, target: jnp.stack([raw, target])}, "not a scalar"),
    ({"objective": lambda raw, target: jnp.round(raw)}, "does not change with raw"),
    ({"objective": lambda raw, target: float(raw)}, "no JAX function"),
]


@pytest.mark.parametrize(("given", "words"), BAD_SETTINGS)
def test_a_bad_setting_is_named(given, words):
    with pytest.raises(InputError, match=words):
        XGBoostRegressor(**given).fit(X, Y)


def bad_target(value):
    return np.where(np.arange(NUM_ROWS) == 7, value, Y)


BAD_DATA = [
    (X[:, 0], Y, {}, "X must be 2D"),
    (X[:9], Y, {}, "X has 9 rows, but y has 800"),
    (X[:0], Y[:0], {}, "0 sample"),
    (np.where(X == 3, np.inf, X), Y, {}, "infinity cannot be cut"),
    (X.astype(str).astype("U5"), Y, {}, "not numbers"),
    (X, bad_target(np.nan), {}, "contains NaN, first in row 7; leave out"),
    (X, bad_target(np.inf), {}, "contains infinity, first in row 7"),
    (X, ["a"] * NUM_ROWS, {}, "use a classifier"),
    (X, Y, {"sample_weight": -WEIGHT}, "not negative"),
    (X, Y, {"sample_weight": 0 * WEIGHT}, "not all zero"),
    (X, Y, {"sample_weight": WEIGHT[:5]}, "one number a row"),
    (X, Y, {"sample_weight": np.where(WEIGHT == 1, np.nan, 1)}, "finite"),
    (X, Y, {"base_margin": Y[:5]}, "one finite raw score"),
    (X, Y, {"base_margin": np.stack([Y, Y], 1)}, "has 2 raw scores a row"),
    (X, Y, {"eval_set": [(X[:, :3], Y)]}, "X has 3 features, but XGBoostRegressor"),
    (X, Y, {"eval_set": [(X, bad_target(np.nan))]}, "Input validation_0 contains NaN"),
    (X, Y, {"eval_set": [(X, Y[:5])]}, "but y has 5"),
    (X, Y, {"xgb_model": XGBoostRegressor()}, "was not fitted"),
]


@pytest.mark.parametrize(("features", "target", "given", "words"), BAD_DATA)
def test_data_that_cannot_be_used_are_refused_in_words(features, target, given, words):
    with pytest.raises(InputError, match=words):
        XGBoostRegressor(**TREES).fit(features, target, **given)


def test_one_class_other_features_and_odd_ranges_are_refused_in_words():
    model = XGBoostClassifier(**TREES)
    with pytest.raises(InputError, match="only one class"):
        model.fit(X, np.ones(NUM_ROWS))
    with pytest.raises(InputError, match="only one class"):
        model.fit(X, FLAG, sample_weight=FLAG)
    model.fit(X, FLAG)
    with pytest.raises(InputError, match="give it the columns of the fit"):
        model.predict(X[:, :3])
    with pytest.raises(InputError, match="does not lie in the 12 rounds"):
        model.predict(X, iteration_range=(4, 20))
    with pytest.raises(InputError, match="rows of the same classes"):
        XGBoostClassifier(**TREES).fit(X, CLASS, xgb_model=model)
    with pytest.raises(InputError, match="needs two classes"):
        XGBoostClassifier(scale_pos_weight=2.0).fit(X, CLASS)
    with pytest.raises(InputError, match="numbers of at least 0"):
        XGBoostRegressor(objective="count:poisson").fit(X, Y - 9)


def test_the_package_stays_light_until_an_estimator_is_asked_for():
    script = """
import sys
import jaxlab.trees
assert "sklearn" not in sys.modules and "XGBoostRegressor" in dir(jaxlab.trees)
from jaxlab.trees import XGBoostRegressor
assert "sklearn" in sys.modules
assert not {"flax", "optax", "xgboost"} & set(sys.modules)
try:
    jaxlab.trees.Nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no attribute 'Nothing'" in done.stdout


def test_a_file_cut_short_and_broken_trees_are_refused(tmp_path):
    X, y = make_data()
    path = tmp_path / "model.npz"
    XGBoostRegressor(n_estimators=2, max_depth=2).fit(X, y).save_model(path)
    whole = path.read_bytes()
    with np.load(path) as file:
        arrays = dict(file)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a whole one"):
        XGBoostRegressor().load_model(path)
    arrays["nodes/left"] = np.where(arrays["nodes/left"] > 0, np.int32(10**6), 0)
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="holds a broken model"):
        XGBoostRegressor().load_model(path)


def test_training_that_diverges_says_so():
    X, y = make_data()
    model = XGBoostRegressor(n_estimators=200, learning_rate=1e6, max_depth=2)
    with pytest.raises(InputError, match=r"training diverged.*lower learning_rate"):
        model.fit(X, y)


def test_without_a_seed_the_model_is_that_of_seed_0():
    X, y = make_data()
    settings = {"n_estimators": 3, "max_depth": 3, "subsample": 0.5}
    found = [
        XGBoostRegressor(**settings, random_state=seed).fit(X, y).predict(X)
        for seed in (None, None, 0, 1)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert (found[0] != found[3]).any()
