"""Metrics against sklearn.metrics, double loops and XGBoost's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as peers

from jaxlab.core.errors import InputError
from jaxlab.trees.objectives.catalogue import NAMES, find_objective
from jaxlab.trees.objectives.metric import find_metric
from jaxlab.trees.objectives.ranking import make_groups

CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # float32 sums of some hundred terms
ROWS = 307
SIZES = np.array([1, 30, 8, 9, 100, 3, 17, 127, 12])


def evaluate(name, objective, raw, target, weight, groups=None):
    metric = find_metric(name, objective)
    raw = jnp.asarray(raw, jnp.float32)
    arrays = (
        objective.link(raw),
        raw,
        *(jnp.asarray(x, jnp.float32) for x in (target, weight)),
    )
    return float(jax.jit(metric)(*arrays, groups))


def draw(rng, outputs=1):
    raw = rng.normal(size=(outputs, ROWS))
    weight = rng.integers(0, 4, ROWS).astype(float)
    return raw.astype(np.float32), weight


REGRESSION = {
    "rmse": peers.root_mean_squared_error,
    "mae": peers.mean_absolute_error,
    "mape": peers.mean_absolute_percentage_error,
}


@pytest.mark.parametrize("name", REGRESSION)
def test_errors_are_those_of_sklearn(name, rng):
    raw, weight = draw(rng)
    target = 2 + rng.random(ROWS)
    found = evaluate(name, find_objective("squared_error"), raw, target, weight)
    want = REGRESSION[name](target.astype(np.float32), raw[0], sample_weight=weight)
    np.testing.assert_allclose(found, want, **CLOSE)


def test_deviances_are_those_of_sklearn(rng):
    raw, weight = draw(rng)
    mean = np.exp(raw[0].astype(float))
    target = rng.gamma(2.0, size=ROWS)
    gamma = find_objective("gamma")
    want = peers.mean_gamma_deviance(target, mean, sample_weight=weight)
    found = evaluate("gamma-deviance", gamma, raw, target, weight)
    np.testing.assert_allclose(found, want, **CLOSE)
    likelihood = evaluate("gamma-nloglik", gamma, raw, target, weight)
    best = np.average(1 + np.log(target), weights=weight)
    np.testing.assert_allclose(2 * (likelihood - best), want, rtol=1e-4)
    for power in (1.2, 1.5):
        tweedie = find_objective("tweedie", tweedie_variance_power=power)
        found = evaluate(None, tweedie, raw, target, weight)
        mean_loss = evaluate("loss", tweedie, raw, target, weight)
        np.testing.assert_allclose(found, mean_loss, **CLOSE)
        perfect = evaluate(None, tweedie, np.log(target)[None], target, weight)
        want = peers.mean_tweedie_deviance(
            target, mean, sample_weight=weight, power=power
        )
        np.testing.assert_allclose(2 * (found - perfect), want, rtol=1e-4)


def test_the_poisson_likelihood_is_that_of_scipy(rng):
    from scipy.stats import poisson

    raw, weight = draw(rng)
    target = rng.poisson(2.0, ROWS)
    found = evaluate(None, find_objective("poisson"), raw, target, weight)
    log = poisson.logpmf(target, np.exp(raw[0].astype(float)))
    np.testing.assert_allclose(found, -np.average(log, weights=weight), **CLOSE)


def test_classification_is_that_of_sklearn(rng):
    raw, weight = draw(rng)
    target = rng.integers(0, 2, ROWS)
    p = 1 / (1 + np.exp(-raw[0].astype(float)))
    objective = find_objective("binary:logistic")
    wanted = {
        "logloss": peers.log_loss(target, p, sample_weight=weight),
        "error": 1 - peers.accuracy_score(target, p > 0.5, sample_weight=weight),
        "error@0.7": 1 - peers.accuracy_score(target, p > 0.7, sample_weight=weight),
        "auc": peers.roc_auc_score(target, p, sample_weight=weight),
        "aucpr": peers.average_precision_score(target, p, sample_weight=weight),
    }
    for name, want in wanted.items():
        found = evaluate(name, objective, raw, target, weight)
        np.testing.assert_allclose(found, want, **CLOSE)


@pytest.mark.parametrize("values", [1, 2, 7, 50])
def test_areas_are_right_with_ties(values, rng):
    raw, weight = draw(rng)
    raw = np.floor(raw * values) / values
    target = rng.integers(0, 2, ROWS)
    objective = find_objective("binary:logistic")
    found = evaluate("auc", objective, raw, target, weight)
    want = peers.roc_auc_score(target, raw[0], sample_weight=weight)
    np.testing.assert_allclose(found, want, **CLOSE)
    found = evaluate("aucpr", objective, raw, target, weight)
    want = peers.average_precision_score(target, raw[0], sample_weight=weight)
    np.testing.assert_allclose(found, want, **CLOSE)


def test_a_likelihood_is_not_clipped_where_the_link_gives_raw_scores():
    objective = find_objective("binary:logistic")
    found = evaluate("logloss", objective, [[60.0, -60.0]], [0, 1], [1, 1])
    np.testing.assert_allclose(found, 60, rtol=1e-6)
    exponential = find_objective("exponential")
    found = evaluate("logloss", exponential, [[0.3, -0.4]], [0, 1], [1, 1])
    want = peers.log_loss([0, 1], 1 / (1 + np.exp([-0.6, 0.8])))
    np.testing.assert_allclose(found, want, **CLOSE)


def test_multiclass_is_that_of_sklearn(rng):
    raw, weight = draw(rng, 3)
    target = rng.integers(0, 3, ROWS)
    objective = find_objective("multi:softprob", num_classes=3)
    p = np.exp(raw.astype(float)) / np.exp(raw.astype(float)).sum(0)
    want = peers.log_loss(target, p.T, sample_weight=weight)
    np.testing.assert_allclose(
        evaluate(None, objective, raw, target, weight), want, **CLOSE
    )
    right = peers.accuracy_score(target, p.argmax(0), sample_weight=weight)
    np.testing.assert_allclose(
        evaluate("merror", objective, raw, target, weight), 1 - right, **CLOSE
    )


def test_the_quantile_metric_averages_pinball_losses(rng):
    raw, weight = draw(rng, 2)
    target = rng.normal(size=ROWS)
    objective = find_objective("reg:quantileerror", quantile_alpha=[0.2, 0.7])
    losses = [
        peers.mean_pinball_loss(target, raw[k], alpha=alpha, sample_weight=weight)
        for k, alpha in enumerate(objective.alpha)
    ]
    found = evaluate(None, objective, raw, target, weight)
    np.testing.assert_allclose(found, np.mean(losses), **CLOSE)


def test_rows_without_weight_count_nothing_even_if_nan(rng):
    raw, weight = draw(rng)
    target = rng.integers(0, 2, ROWS).astype(float)
    weight[0] = 0
    objective = find_objective("binary:logistic")
    for name in ("logloss", "error", "rmse", "mae", "auc", "aucpr", "loss"):
        want = evaluate(name, objective, raw, target, weight)
        target[0] = np.nan
        assert evaluate(name, objective, raw, target, weight) == want
        target[0] = 0


def rank(rng, relevant=4):
    raw, _ = draw(rng)
    target = rng.integers(0, relevant, ROWS).astype(float)
    target[1:31] = 0  # a query without a relevant row
    by_query = rng.integers(1, 4, len(SIZES)).astype(float)
    return raw, target, np.repeat(by_query, SIZES), by_query


def average_over_queries(measure, raw, target, by_query):
    stops = np.cumsum(SIZES)
    values = [
        measure(target[a:b], raw[0, a:b].astype(float)) if target[a:b].any() else 1.0
        for a, b in zip(stops - SIZES, stops, strict=True)
    ]
    return np.average(values, weights=by_query)


@pytest.mark.parametrize("top", [None, 1, 5, 32])
def test_ndcg_is_that_of_sklearn(top, rng):
    raw, target, weight, by_query = rank(rng)
    name = "ndcg" if top is None else f"ndcg@{top}"
    objective = find_objective("rank:ndcg")
    groups = make_groups(target, sizes=SIZES)
    found = evaluate(name, objective, raw, target, weight, groups)

    def measure(relevance, score):
        if len(score) == 1:
            return 1.0
        return peers.ndcg_score([2**relevance - 1], [score], k=top)

    want = average_over_queries(measure, raw, target, by_query)
    np.testing.assert_allclose(found, want, **CLOSE)


def test_map_is_that_of_sklearn_and_may_be_cut(rng):
    raw, target, weight, by_query = rank(rng, relevant=2)
    objective = find_objective("rank:pairwise")
    groups = make_groups(target, sizes=SIZES)
    found = evaluate("map", objective, raw, target, weight, groups)
    want = average_over_queries(peers.average_precision_score, raw, target, by_query)
    np.testing.assert_allclose(found, want, **CLOSE)

    def cut(relevance, score, top=5):
        hits = relevance[np.argsort(-score, kind="stable")]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        return np.sum((precision * hits)[:top]) / min(hits.sum(), top)

    found = evaluate("map@5", objective, raw, target, weight, groups)
    np.testing.assert_allclose(
        found, average_over_queries(cut, raw, target, by_query), **CLOSE
    )


def test_a_function_of_the_user_is_called_with_arrays_of_numpy(rng):
    raw, weight = draw(rng)
    target = rng.normal(size=ROWS).astype(np.float32)
    objective = find_objective("squared_error")
    metric = find_metric(peers.r2_score, objective)
    assert (metric.name, metric.higher_is_better) == ("r2_score", True)
    assert metric.on_host
    found = metric(jnp.asarray(raw), jnp.asarray(raw), target, weight)
    assert found == peers.r2_score(target, raw[0])
    worst = find_metric(lambda y, p: jnp.max(jnp.abs(y - p)), objective)
    assert not worst.higher_is_better
    found = worst(jnp.asarray(raw), jnp.asarray(raw), target, weight)
    assert found == np.abs(target - raw[0]).max()
    shapes = find_metric(lambda y, p: p.shape[1], objective)
    assert shapes(*[jnp.zeros((3, 2))] * 2, jnp.zeros(2), jnp.ones(2)) == 3
    assert find_metric(metric, objective) is metric


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_has_a_metric_of_its_own(name):
    objective = find_objective(name, num_classes=3)
    assert find_metric(None, objective).name == objective.metric
    assert find_metric(None, objective) == find_metric(objective.metric, objective)


@pytest.mark.parametrize(
    "name", ["rsme", "auc@3", "ndcg@0", "ndcg@1.5", "error@x", "tweedie-nloglik@3"]
)
def test_unknown_metrics_are_refused(name):
    with pytest.raises(InputError, match="is unknown; use one of loss, rmse"):
        find_metric(name, find_objective("squared_error"))


def test_ranking_metrics_need_groups():
    objective = find_objective("rank:ndcg")
    with pytest.raises(InputError, match="need groups"):
        evaluate(None, objective, np.zeros((1, 3)), np.zeros(3), np.ones(3))


@pytest.mark.peer
@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("reg:squarederror", ["rmse", "mae", "mape"]),
        ("reg:pseudohubererror", ["mphe"]),
        ("reg:quantileerror", ["quantile"]),
        ("binary:logistic", ["logloss", "error", "error@0.7", "auc"]),
        ("multi:softprob", ["mlogloss", "merror"]),
        ("count:poisson", ["poisson-nloglik"]),
        ("reg:gamma", ["gamma-nloglik", "gamma-deviance"]),
        ("reg:tweedie", ["tweedie-nloglik@1.5", "tweedie-nloglik@1.2"]),
        ("rank:ndcg", ["ndcg@32", "ndcg@3", "ndcg@300"]),
        ("rank:pairwise", ["map@300", "map@3"]),
    ],
)
def test_metrics_are_those_of_xgboost(name, metrics, rng):
    xgboost = pytest.importorskip("xgboost")
    objective = find_objective(name, num_classes=3)
    raw, weight = draw(rng, objective.num_outputs)
    target = {
        "reg:squarederror": rng.normal(size=ROWS),
        "reg:quantileerror": rng.normal(size=ROWS),
        "reg:pseudohubererror": rng.normal(size=ROWS),
        "binary:logistic": rng.integers(0, 2, ROWS),
        "multi:softprob": rng.integers(0, 3, ROWS),
    }.get(name, rng.integers(1, 4, ROWS)).astype(np.float32)
    groups = None
    if name.startswith("rank"):
        _, target, weight, by_query = rank(rng, 4 if name == "rank:ndcg" else 2)
        # XGBoost 3.2 gives queries without a relevant row weight 1, we their own.
        target[np.cumsum(SIZES) - 1] = 1
        groups = make_groups(target, sizes=SIZES)
    margin = raw[0] if len(raw) == 1 else np.ascontiguousarray(raw.T)
    data = xgboost.DMatrix(np.zeros((ROWS, 1)), target, base_margin=margin)
    if groups is not None:
        data.set_group(SIZES)
    data.set_weight(weight if groups is None else by_query)
    settings = {"objective": name, "eval_metric": metrics, "eta": 0}
    settings |= {"quantile_alpha": 0.5} if "quantile" in name else {}
    settings |= {"num_class": 3} if len(raw) > 1 else {}
    history = {}
    xgboost.train(
        settings,
        data,
        1,
        evals=[(data, "rows")],
        evals_result=history,
        verbose_eval=False,
    )
    for metric, (want,) in history["rows"].items():
        found = evaluate(metric, objective, raw, target, weight, groups)
        np.testing.assert_allclose(found, want, rtol=2e-5, atol=1e-6)
    own = xgboost.train(settings | {"eval_metric": []}, data, 1)
    default = own.eval(data).split("\t")[-1].rsplit(":", 1)[0].removeprefix("eval-")
    assert objective.metric == default
