"""Lambdas against double loops, autodiff of the summed loss, and XGBoost."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees.objectives import ranking
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.objectives.ranking import make_groups
from jaxlab.trees.objectives.start import best_constant

pytestmark = pytest.mark.slow  # many small programs to compile

CLOSE = {"rtol": 2e-5, "atol": 2e-6}  # sums of some hundred float32 terms near 1
SIZES = np.array([1, 5, 8, 9, 40, 3, 17, 64, 2])


def queries(rng, sizes=SIZES):
    rows = int(sizes.sum())
    raw = rng.normal(size=(1, rows)).astype(np.float32)
    target = rng.integers(0, 4, rows).astype(np.float32)
    target[:6] = 2  # queries without a pair
    weight = np.repeat(rng.integers(1, 4, len(sizes)), sizes).astype(np.float32)
    return raw, target, weight


def double_loop(raw, target, weight, sizes, loss):
    """Sum lambdas pair by pair, as XGBoost's lambdarank_obj.cc does."""
    gradient, hessian = np.zeros(raw.shape[1]), np.zeros(raw.shape[1])
    stops = np.cumsum(sizes)
    for begin, stop in zip(stops - sizes, stops, strict=True):
        rows = np.array([r for r in range(begin, stop) if weight[r] > 0])
        if len(rows) == 0:
            continue
        s, y = raw[0, rows].astype(float), target[rows].astype(float)
        order = np.argsort(-s, kind="stable")
        top = len(rows) if loss.top is None else min(loss.top, len(rows))
        worth = 2**y - 1 if loss.exponential_gain else y
        discount = 1 / np.log2(np.arange(len(rows)) + 2)
        ideal = np.sum(np.sort(worth)[::-1][:top] * discount[:top])
        g, h, total = np.zeros(len(rows)), np.zeros(len(rows)), 0.0
        for i in range(top):
            for j in range(i + 1, len(rows)):
                high, low = order[i], order[j]
                if y[high] == y[low]:
                    continue
                swap = (worth[high] - worth[low]) * (discount[i] - discount[j])
                if y[high] < y[low]:
                    high, low = low, high
                scale = abs(swap) / ideal if loss.by_ndcg else 1.0
                if loss.normalize_score and s.max() != s.min():
                    scale /= 0.01 + abs(s[high] - s[low])
                p = 1 / (1 + np.exp(s[low] - s[high]))
                g[high] += (p - 1) * scale
                g[low] -= (p - 1) * scale
                h[[high, low]] += 2 * p * (1 - p) * scale
                total += 2 * (1 - p) * scale
        norm = np.log2(1 + total) / total if loss.normalize_query and total else 1.0
        gradient[rows] = g * norm * weight[rows]
        hessian[rows] = h * norm * weight[rows]
    return gradient[None], hessian[None]


@pytest.mark.parametrize("name", ["rank:pairwise", "rank:ndcg"])
@pytest.mark.parametrize("top", [None, 3, 32])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("exponential", [True, False])
def test_lambdas_are_those_of_a_double_loop(name, top, normalize, exponential, rng):
    raw, target, weight = queries(rng)
    raw[0, 30:35] = raw[0, 30]  # ties
    raw[0, -2:] = 1.0  # a query with equal scores
    objective = find_objective(
        name,
        lambdarank_num_pair_per_sample=top,
        lambdarank_normalization=normalize,
        lambdarank_score_normalization=normalize,
        ndcg_exp_gain=exponential,
    )
    groups = make_groups(target, sizes=SIZES, exponential=exponential)
    found = jax.jit(objective.derivatives)(raw, target, weight, groups)
    want = double_loop(raw, target, weight, SIZES, objective.loss)
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)
    assert (np.asarray(found[1]) > 0).all()


def test_pairwise_is_the_autodiff_of_the_summed_loss(rng):
    raw, target, weight = queries(rng)
    query = np.repeat(np.arange(len(SIZES)), SIZES)
    is_pair = (query[:, None] == query) & (target[:, None] > target)

    def total(scores):
        loss = jax.nn.softplus(scores[None] - scores[:, None])
        return jnp.sum(jnp.where(is_pair, loss * weight[:, None], 0.0))

    objective = find_objective(
        "rank:pairwise",
        lambdarank_num_pair_per_sample=None,
        lambdarank_normalization=False,
        lambdarank_score_normalization=False,
    )
    objective = dataclasses.replace(objective, hessian_factor=1.0)
    groups = make_groups(target, sizes=SIZES)
    gradient, hessian = jax.jit(objective.derivatives)(
        *map(jnp.asarray, (raw, target, weight)), groups
    )
    np.testing.assert_allclose(gradient[0], jax.jit(jax.grad(total))(raw[0]), **CLOSE)
    dense = jnp.diagonal(jax.jit(jax.hessian(total))(raw[0]))
    np.testing.assert_allclose(hessian[0], dense, **CLOSE)


def test_rows_may_come_in_any_order_and_queries_by_name(rng):
    raw, target, weight = queries(rng)
    qid = np.repeat(100 - np.arange(len(SIZES)), SIZES)
    shuffled = rng.permutation(len(target))
    objective = find_objective("rank:ndcg")
    want = jax.jit(objective.derivatives)(
        *map(jnp.asarray, (raw, target, weight)), make_groups(target, sizes=SIZES)
    )
    found = jax.jit(objective.derivatives)(
        *(jnp.asarray(x[..., shuffled]) for x in (raw, target, weight)),
        make_groups(target[shuffled], qid=qid[shuffled]),
    )
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other[:, shuffled], **CLOSE)


def test_rows_without_weight_are_in_no_pair(rng):
    raw, target, weight = queries(rng)
    weight[::3] = 0
    raw[0, 0] = np.nan
    objective = find_objective("rank:pairwise")
    found = jax.jit(objective.derivatives)(
        *map(jnp.asarray, (raw, target, weight)), make_groups(target, sizes=SIZES)
    )
    want = double_loop(raw, target, weight, SIZES, objective.loss)
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


def test_the_number_of_queries_at_a_time_changes_nothing(rng, monkeypatch):
    raw, target, weight = queries(rng, np.full(20, 7))
    groups = make_groups(target, sizes=np.full(20, 7))
    objective = find_objective("rank:ndcg")
    given = (*map(jnp.asarray, (raw, target, weight)), groups)
    want = jax.jit(lambda *given: objective.derivatives(*given))(*given)
    monkeypatch.setattr(ranking, "_MOST_PAIRS", 3 * 64)
    found = jax.jit(lambda *given: objective.derivatives(*given))(*given)
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


def test_rankings_start_at_zero(rng):
    _, target, weight = queries(rng)
    assert best_constant(find_objective("rank:ndcg"), target, weight) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give one of them"),
        ({"sizes": [3], "qid": [0, 0, 0]}, "give one of them"),
        ({"sizes": [1, 1]}, "sum to 2, but there are 3 rows"),
        ({"sizes": [4, -1]}, "have to add up"),
        ({"qid": [0, 0]}, "qid has 2 rows, the target 3"),
    ],
)
def test_groups_that_do_not_fit_the_rows_are_refused(given, message):
    given = {name: np.array(value) for name, value in given.items()}
    with pytest.raises(InputError, match=message):
        make_groups(np.zeros(3), **given)


@pytest.mark.peer
@pytest.mark.parametrize("name", ["rank:pairwise", "rank:ndcg"])
@pytest.mark.parametrize("top", [4, 32])
def test_sums_in_leaves_are_those_of_xgboost(name, top, rng):
    xgboost = pytest.importorskip("xgboost")
    raw, target, weight = queries(rng)
    features = rng.normal(size=(len(target), 1))
    by_query = weight[np.cumsum(SIZES) - 1]
    data = xgboost.DMatrix(features, target, base_margin=raw[0])
    data.set_group(SIZES)
    data.set_weight(by_query)
    settings = {"objective": name, "eta": 1, "lambda": 0, "max_depth": 3}
    settings |= {"min_child_weight": 0, "lambdarank_num_pair_per_sample": top}
    model = xgboost.train(settings, data, 1)
    leaf = model.predict(data, pred_leaf=True)
    nodes = model.trees_to_dataframe().set_index("Node")
    objective = find_objective(name, lambdarank_num_pair_per_sample=top)
    # XGBoost lets the weights of the queries average 1.
    gradient, hessian = jax.jit(objective.derivatives)(
        *map(jnp.asarray, (raw, target, weight / by_query.mean())),
        make_groups(target, sizes=SIZES),
    )
    for node in np.unique(leaf):
        g, h = (np.sum(d[0, leaf == node], dtype=float) for d in (gradient, hessian))
        np.testing.assert_allclose(h, nodes.Cover[node], rtol=1e-4)
        np.testing.assert_allclose(-g / h, nodes.Gain[node], rtol=1e-3, atol=1e-5)
