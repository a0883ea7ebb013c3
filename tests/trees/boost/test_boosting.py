"""Boosting: worked examples, continued runs, early stopping, scores, weights, draws."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees.boost import drive
from jaxlab.trees.boost.boosting import Config, HeldOut, bin_rows, boost, train
from jaxlab.trees.grow.predict import predict_leaves, predict_raw
from jaxlab.trees.grow.sampling import goss, uniform_rows
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.objectives.metric import find_metric
from jaxlab.trees.table.binning import fit_binner

pytestmark = pytest.mark.slow  # many small programs to compile

ROWS, FEATURES, CLASSES = 300, 4, 3
CONFIG = Config(num_rounds=7, max_depth=3)  # one program for most tests
# Float32 scores after some rounds, whose trees may come from rows in other numbers.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@functools.cache
def table(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 16, (rows, FEATURES)).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    signal = np.nan_to_num(X[:, 0]) - 0.5 * np.nan_to_num(X[:, 1])
    return X, signal + 3 * rng.normal(size=rows)


@functools.cache
def binned(seed=0, rows=ROWS):
    return bin_rows(fit_binner(table()[0]), table(seed, rows)[0])


def problem(name, seed=0, rows=ROWS):
    """Give rows, target and objective."""
    _, signal = table(seed, rows)
    target = {
        "squared_error": signal,
        "binary:logistic": signal > 4,
        "multi:softprob": np.digitize(signal, [2.0, 6.0]),
    }[name]
    objective = find_objective(name, num_classes=CLASSES)
    return binned(seed, rows), target.astype(np.float64), objective


def fit(name="squared_error", config=CONFIG, *, seed=0, key=0, **options):
    return train(*problem(name, seed), config, jax.random.key(key), **options)


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# -------------------------------------------------------------- worked examples


def test_the_example_of_four_persons_heights():
    X = np.array([[5.0, 20.0], [7.0, 30.0], [21.0, 70.0], [30.0, 60.0]])
    config = Config(
        num_rounds=5, learning_rate=0.1, max_depth=3, l2=0.0, min_hessian=0.0
    )
    rows, height = bin_rows(fit_binner(X), X), np.array([1.1, 1.3, 1.7, 1.8])
    objective = find_objective("squared_error")
    forest = boost(rows, height, objective, config, jax.random.key(0))
    person = bin_rows(rows.binner, np.array([[25.0, 65.0]])).bins[:1]
    staged = [float(predict_raw(forest, person, rounds=r)[0, 0]) for r in range(6)]
    expected = [1.475, 1.4975, 1.51775, 1.535975, 1.5523775, 1.56713975]
    np.testing.assert_allclose(staged, expected, rtol=1e-6)


def test_the_example_of_ages_is_fitted_by_two_stumps():
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # spends much; answers
    age = np.array([14.0, 16.0, 24.0, 26.0])
    config = Config(
        num_rounds=2, learning_rate=1.0, max_depth=1, l2=0.0, min_hessian=0.0
    )
    rows = bin_rows(fit_binner(X), X)
    forest = boost(
        rows, age, find_objective("squared_error"), config, jax.random.key(0)
    )
    assert forest.start.tolist() == [20.0]
    assert forest.nodes.value[:, 1:].tolist() == [[-5.0, 5.0], [-1.0, 1.0]]
    assert forest.nodes.feature[:, 0].tolist() == [0, 1]
    assert predict_raw(forest, rows.bins[:4])[0].tolist() == age.tolist()


def test_the_logistic_example_has_gain_24_075757_and_leaves_45_and_40():
    X = np.repeat([-0.3, 0.1], 20)[:, None]
    target = np.r_[np.arange(20) < 1, np.arange(20) < 18].astype(float)
    forest = boost(
        bin_rows(fit_binner(X), X),
        target,
        find_objective("binary:logistic"),
        Config(num_rounds=1, max_depth=1),
        jax.random.key(0),
        first=0.0,
    )
    np.testing.assert_allclose(forest.nodes.gain[0, 0], 24.0757576, rtol=1e-7)
    np.testing.assert_allclose(forest.nodes.value[0, 1:], [-0.45, 0.40], rtol=1e-6)


def test_a_deep_tree_without_shrinkage_knows_its_rows_by_heart():
    X = np.random.default_rng(0).permutation(64)[:, None]
    target = np.random.default_rng(1).normal(size=64)
    config = Config(num_rounds=1, max_depth=0, max_leaves=64, learning_rate=1.0, l2=0.0)
    config = dataclasses.replace(config, best_first=True, min_hessian=0.0, min_rows=2)
    rows = bin_rows(fit_binner(X), X)
    forest = boost(
        rows, target, find_objective("squared_error"), config, jax.random.key(0)
    )
    np.testing.assert_allclose(predict_raw(forest, rows.bins[:64])[0], target, **CLOSE)


@pytest.mark.parametrize("name", ["squared_error", "binary:logistic", "multi:softprob"])
def test_the_loss_on_the_training_rows_falls_every_round(name):
    rows, target, _ = problem(name)
    scores = fit(name, evaluations={"train": HeldOut(rows, target)}).scores
    (values,) = scores.values()
    assert (np.diff(values) < 0).all()


# --------------------------------------------------------------- continued runs

CHANGES = {
    "plain": {},
    "sampled": {"subsample": 0.6, "colsample_bytree": 0.8, "colsample_bynode": 0.6},
    "best first": {"best_first": True, "max_leaves": 6},
}


@pytest.mark.parametrize("name", ["squared_error", "multi:softprob"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_continued_run_is_an_uninterrupted_one(name, change):
    config = dataclasses.replace(CONFIG, **CHANGES[change])
    whole = fit(name, config).forest
    begun = fit(name, dataclasses.replace(config, num_rounds=3)).forest
    rest = dataclasses.replace(config, num_rounds=4)
    assert_same(begun, whole.rounds(3))
    assert_same(fit(name, rest, init=begun).forest, whole)


def test_scores_of_held_out_rows_continue_too():
    held_out = {"held out": HeldOut(binned(1), table(1)[1])}
    whole = fit(evaluations=held_out).scores
    begun = fit(config=dataclasses.replace(CONFIG, num_rounds=3)).forest
    rest = dataclasses.replace(CONFIG, num_rounds=4)
    found = fit(config=rest, init=begun, evaluations=held_out).scores
    assert found == {name: values[3:] for name, values in whole.items()}


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_how_often_the_host_is_asked_changes_nothing(monkeypatch, seconds):
    config = dataclasses.replace(CONFIG, num_rounds=40, subsample=0.6)
    expected = fit(config=config).forest
    monkeypatch.setattr(drive, "_SECONDS", seconds)
    assert_same(fit(config=config).forest, expected)


def test_no_rounds_give_the_start():
    forest = fit(config=dataclasses.replace(CONFIG, num_rounds=0)).forest
    assert forest.num_rounds == 0
    np.testing.assert_allclose(forest.start, [table()[1].mean()], rtol=1e-6)


def test_the_key_decides_the_draws_and_nothing_else():
    assert_same(fit(key=1).forest, fit(key=2).forest)
    config = dataclasses.replace(CONFIG, subsample=0.6)
    assert_same(fit(config=config, key=1).forest, fit(config=config, key=1).forest)
    other = fit(config=config, key=2).forest
    assert not np.array_equal(
        fit(config=config, key=1).forest.nodes.bin, other.nodes.bin
    )


# -------------------------------------------------------- scores, early stopping


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("squared_error", ("rmse", "mae")),
        ("binary:logistic", ("logloss", "auc")),
        ("multi:softprob", ("mlogloss", "merror")),
    ],
)
def test_scores_are_the_metrics_of_the_predictions_of_each_round(name, metrics):
    weight = np.random.default_rng(0).integers(0, 3, ROWS).astype(np.float64)
    sets = {}
    for label, seed, used in (("one", 1, None), ("other", 2, weight)):
        rows, target, objective = problem(name, seed)
        sets[label] = HeldOut(rows, target, used)
    done = fit(name, evaluations=sets, metrics=metrics)
    assert list(done.scores) == [f"{s}-{m}" for s in sets for m in metrics]
    for label, one in sets.items():
        used = np.ones(ROWS) if one.weight is None else one.weight
        for metric in metrics:
            for number, value in enumerate(done.scores[f"{label}-{metric}"]):
                raw = jnp.asarray(
                    predict_raw(done.forest, one.binned.bins[:ROWS], rounds=number + 1)
                )
                expected = find_metric(metric, objective)(
                    objective.link(raw),
                    raw,
                    one.target.astype(np.float32),
                    used.astype(np.float32),
                )
                np.testing.assert_allclose(value, expected, **CLOSE)


LONG = dataclasses.replace(CONFIG, num_rounds=60, learning_rate=0.6)


def overfit(name="squared_error", metrics=(), **options):
    rows, target, _ = problem(name, 1)
    held_out = {
        "train": HeldOut(*problem(name)[:2]),
        "held out": HeldOut(rows, target),
    }
    return fit(name, LONG, evaluations=held_out, metrics=metrics, **options)


@pytest.mark.parametrize(
    ("name", "metric", "sign"),
    [("squared_error", "rmse", 1), ("binary:logistic", "auc", -1)],
)
@pytest.mark.parametrize("patience", [1, 5])
def test_early_stopping_keeps_the_best_round(name, metric, sign, patience):
    whole = overfit(name, (metric,))
    stopped = overfit(name, (metric,), patience=patience)
    values = sign * np.array(whole.scores[f"held out-{metric}"])
    best = 0
    for number, value in enumerate(values):
        if value < values[best]:
            best = number
        elif number - best == patience:
            break
    assert stopped.best_round == best
    assert whole.best_round is None
    assert_same(stopped.forest, whole.forest.rounds(best + 1))
    # As many scores as rounds were looked at, whatever the speed of the machine.
    kept = best + patience + 1
    assert stopped.scores == {n: v[:kept] for n, v in whole.scores.items()}


def test_an_improvement_below_the_tolerance_is_none():
    assert overfit(patience=3, tolerance=1e9).best_round == 0
    strict, loose = overfit(patience=3), overfit(patience=3, tolerance=0.2)
    assert loose.best_round < strict.best_round


def test_without_a_worse_round_all_rounds_are_kept():
    rows, target, _ = problem("squared_error")
    done = fit(evaluations={"train": HeldOut(rows, target)}, patience=3)
    assert done.best_round == CONFIG.num_rounds - 1
    assert done.forest.num_rounds == CONFIG.num_rounds


def test_early_stopping_counts_the_rounds_after_init():
    begun = fit(config=dataclasses.replace(CONFIG, num_rounds=3)).forest
    held_out = {"held out": HeldOut(binned(1), table(1)[1])}
    done = fit(config=LONG, init=begun, evaluations=held_out, patience=2)
    assert done.forest.num_rounds == 3 + done.best_round + 1
    assert_same(done.forest.rounds(3), begun)


def test_a_watcher_sees_the_forest_grow():
    seen = []

    def watch(progress):
        assert progress.total == CONFIG.num_rounds
        (values,) = progress.scores.values()
        assert len(values) == progress.done
        seen.append((progress.done, progress.forest()))

    rows, target, _ = problem("squared_error")
    whole = fit(evaluations={"train": HeldOut(rows, target)}, watch=watch).forest
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == CONFIG.num_rounds
    for done, forest in seen:
        assert_same(forest, whole.rounds(done))


# ------------------------------------------------------------ one program for many


def test_numbers_keys_and_similar_data_share_a_program(compilations):
    config = dataclasses.replace(CONFIG, subsample=0.9)
    fit(config=config)
    with compilations() as names:
        for change in (
            {"learning_rate": 0.01},
            {"l1": 0.5, "l2": 3.0},
            {"min_gain": 0.5, "min_hessian": 5.0, "min_rows": 10},
            {"max_delta_step": 0.1},
            {"subsample": 0.3},
            {"num_rounds": 3},
        ):
            fit(config=dataclasses.replace(config, **change))
        fit(config=config, key=5)
        fit(config=config, seed=3)
        rows, target, objective = problem("squared_error", 4, ROWS + 100)
        train(rows, target, objective, config, jax.random.key(0))
    assert "jit(run_rounds)" not in names
    assert not [name for name in names if "round" in name]


# ---------------------------------------------------------- offsets and weights


@pytest.mark.parametrize("name", ["squared_error", "binary:logistic"])
def test_an_offset_is_where_training_starts_and_no_part_of_the_forest(name):
    offset = np.random.default_rng(0).integers(-2, 3, (1, ROWS)).astype(np.float64)
    _, target, objective = problem(name)
    one = dataclasses.replace(CONFIG, num_rounds=1)
    forest = fit(name, one, first=0.0, offset=offset).forest
    prediction = np.asarray(objective.link(jnp.asarray(offset, jnp.float32)))[0]
    # The root's sum of gradients tells where it stood.
    expected = (prediction - target).sum()
    np.testing.assert_allclose(forest.nodes.gradient[0, 0], expected, rtol=1e-4)
    assert forest.start.tolist() == [0.0]


def test_an_offset_of_a_forests_scores_continues_it():
    begun = fit(config=dataclasses.replace(CONFIG, num_rounds=3)).forest
    offset = predict_raw(begun, binned().bins[:ROWS])
    rest = dataclasses.replace(CONFIG, num_rounds=4)
    found = fit(config=rest, first=0.0, offset=offset).forest
    assert_same(found.nodes, fit().forest.rounds(7, 3).nodes)


@pytest.mark.parametrize("name", ["squared_error", "binary:logistic", "multi:softprob"])
def test_weights_count_as_repetition(name):
    rows, target, objective = problem(name)
    weight = np.random.default_rng(0).integers(0, 4, ROWS)
    weighted = fit(name, weight=weight.astype(np.float64)).forest
    X = np.repeat(table()[0], weight, axis=0)
    many = bin_rows(rows.binner, X)
    repeated = boost(
        many, np.repeat(target, weight), objective, CONFIG, jax.random.key(0)
    )
    np.testing.assert_array_equal(weighted.nodes.left_bins, repeated.nodes.left_bins)
    np.testing.assert_allclose(weighted.nodes.value, repeated.nodes.value, **CLOSE)
    np.testing.assert_allclose(weighted.start, repeated.start, **CLOSE)


def test_the_scale_of_weights_does_not_matter_without_regularisation():
    config = dataclasses.replace(CONFIG, l2=0.0, min_hessian=0.0)
    one = fit(config=config).forest
    two = fit(config=config, weight=np.full(ROWS, 4.0)).forest
    np.testing.assert_array_equal(one.nodes.value, two.nodes.value)


def test_rows_of_weight_zero_may_hold_any_target():
    rows, target, objective = problem("squared_error")
    weight = np.random.default_rng(0).integers(0, 2, ROWS).astype(np.float64)
    spoilt = np.where(weight > 0, target, 1e20)
    one, other = (
        boost(rows, y, objective, CONFIG, jax.random.key(0), weight=weight)
        for y in (target, spoilt)
    )
    assert_same(one, other)


# ------------------------------------------------------------------------- draws

FROZEN = dataclasses.replace(CONFIG, learning_rate=0.0)  # every tree on one gradient


def test_the_draw_of_a_round_depends_on_its_number_only():
    config = dataclasses.replace(FROZEN, subsample=0.5, num_rounds=9)
    forest = fit(config=config).forest
    counts = forest.nodes.count[:, 0].tolist()
    for number, count in enumerate(counts):
        row_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), number))
        assert count == int(uniform_rows(row_key, ROWS, 0.5).sum())
    assert len(set(counts)) > 3
    empty = forest.rounds(0)
    for number in (1, 4):  # as if begun in the middle
        init = forest.rounds(number)
        again = fit(config=dataclasses.replace(config, num_rounds=2), init=init).forest
        assert_same(again.rounds(number + 2, number), forest.rounds(number + 2, number))
    assert empty.num_rounds == 0


@pytest.mark.parametrize("rate", ["colsample_bytree", "colsample_bylevel"])
def test_trees_and_levels_draw_their_features(rate):
    config = dataclasses.replace(FROZEN, num_rounds=12, **{rate: 0.5})
    nodes = fit(config=config).forest.nodes
    used = [set(f[left > 0]) for f, left in zip(nodes.feature, nodes.left, strict=True)]
    if rate == "colsample_bytree":
        assert all(len(features) <= 2 for features in used)
    else:
        places = [[0], [1, 2], [3, 4, 5, 6]]
        for tree, left in enumerate(nodes.left):
            for level in places:
                inner = [place for place in level if left[place] > 0]
                assert len({int(nodes.feature[tree, p]) for p in inner}) <= 2
    assert len({frozenset(features) for features in used}) > 1


@pytest.mark.parametrize("friedman", [False, True])
def test_goss_weighs_gradients_and_hessians_alike(friedman):
    """A tree of one leaf has -sum f g / sum f h, f the factors of the rows kept."""
    config = dataclasses.replace(
        CONFIG, num_rounds=1, sampling="goss", l2=0.0, learning_rate=1.0
    )
    config = dataclasses.replace(config, friedman=friedman, min_gain=1e9)
    _, target, _ = problem("binary:logistic")
    forest = fit("binary:logistic", config, first=0.3).forest
    p = 1 / (1 + np.exp(-0.3))
    row_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))
    size = jnp.asarray(np.abs(p - target), jnp.float32)
    is_row = jnp.ones(ROWS, bool)
    kept, factor = map(np.asarray, goss(row_key, size, is_row, 0.2, 0.1))
    f = np.where(kept, factor, 0).astype(np.float64)
    expected = -(f * (p - target)).sum() / (f * p * (1 - p)).sum()
    assert 0 < kept.sum() < ROWS
    np.testing.assert_allclose(forest.nodes.value[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["squared_error", "binary:logistic"])
@pytest.mark.parametrize("sampling", ["uniform", "goss"])
@pytest.mark.parametrize("friedman", [False, True])
def test_leaves_have_the_rows_asked_for(name, sampling, friedman):
    config = dataclasses.replace(
        CONFIG, num_rounds=2, min_leaf_rows=11, sampling=sampling, friedman=friedman
    )
    nodes = fit(name, config).forest.nodes
    leaves = nodes.count[(nodes.left == 0) & (nodes.count > 0)]
    assert leaves.min() >= 11
    assert (nodes.left > 0).any()


def test_columns_without_a_choice_are_never_split_on():
    X = table()[0].copy()
    X[:, 1], X[:, 2] = 5.0, np.nan
    rows = bin_rows(fit_binner(X), X)
    target, objective = table()[1], find_objective("squared_error")
    nodes = boost(rows, target, objective, CONFIG, jax.random.key(0)).nodes
    assert set(nodes.feature[nodes.left > 0]) == {0, 3}


def test_leaves_add_up_to_the_scores():
    forest = fit("multi:softprob").forest
    bins = binned().bins[:ROWS]
    leaves = predict_leaves(forest, bins)
    values = np.take_along_axis(forest.nodes.value, leaves.T, 1)
    summed = values.reshape(-1, CLASSES, ROWS).sum(0) + forest.start[:, None]
    np.testing.assert_allclose(summed, predict_raw(forest, bins), **CLOSE)


# --------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": np.ones(3)}, "weight has shape"),
        ({"weight": -np.ones(ROWS)}, "not negative"),
        ({"weight": np.zeros(ROWS)}, "not all zero"),
        ({"weight": np.full(ROWS, np.nan)}, "finite"),
        ({"patience": 3}, "needs rows to watch"),
        ({"metrics": ("no such",)}, "no such"),
        ({"config": Config(max_depth=0)}, "without end"),
        ({"config": Config(max_leaves=1)}, "max_leaves 1"),
        ({"config": Config(max_depth=-1)}, "max_depth -1"),
        ({"config": Config(implementation="cuda")}, "cuda"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(options, message):
    if "metrics" in options:
        rows, target, _ = problem("squared_error")
        options = {**options, "evaluations": {"train": HeldOut(rows, target)}}
    with pytest.raises(InputError, match=message):
        fit(**options)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.ones(3), "target has shape"),
        (np.ones((ROWS, 2)), "target has shape"),
        (np.full(ROWS, np.nan), "target nan"),
        (np.full(ROWS, np.inf), "target inf"),
    ],
)
def test_targets_that_cannot_be_used_are_refused(target, message):
    objective = find_objective("squared_error")
    with pytest.raises(InputError, match=message):
        train(binned(), target, objective, CONFIG, jax.random.key(0))
