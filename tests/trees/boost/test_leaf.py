"""Leaf values against NumPy, leaf by leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.trees.boost.leaf import newton_leaves, searched_leaves
from jaxlab.trees.objectives.catalogue import find_objective

ROWS, NODES, EMPTY, BITS = 400, 7, 5, 38
# Rows are rounded to 2^-38 of the largest one, and sums of 60 of them divided.
NEWTON = {"rtol": 1e-9, "atol": 1e-12}
EXACT = {"rtol": 1e-13, "atol": 1e-15}  # some roundings of float64


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def leaf(rng):
    return rng.choice([1, 3, 4, 6], ROWS).astype(np.int32)


def newton(gradient, hessian, leaf):
    arrays = [jnp.asarray(part) for part in (gradient, hessian, leaf)]
    return np.asarray(newton_leaves(*arrays, NODES, BITS, None))


def search(name, residual, weight, counts, leaf, *, alpha=0.5, delta=1.0):
    given = [residual, weight, counts, leaf]
    placed = [None if part is None else jnp.asarray(part) for part in given]
    found = searched_leaves(
        find_objective(name), *placed, NODES, jnp.float64(alpha), jnp.float32(delta)
    )
    assert found.dtype == jnp.float64
    return np.asarray(found)


def draw(rng, share=1.0):
    residual = rng.normal(size=ROWS).astype(np.float32)
    return residual, (rng.random(ROWS) < share).astype(np.float32)


def weighted_quantile(values, weights, level):
    """Give the first value up to which the weights reach the level of their sum."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return values[order][np.argmax(reached >= level * reached[-1])]


def test_newton_leaves_are_minus_g_over_h(rng, leaf):
    g = rng.normal(size=ROWS).astype(np.float32)
    h = rng.uniform(0.1, 1, ROWS).astype(np.float32)
    found = newton(g, h, leaf)
    for node in range(NODES):
        rows, expected = leaf == node, 0.0
        if rows.any():
            expected = -g[rows].sum(dtype=float) / h[rows].sum(dtype=float)
        np.testing.assert_allclose(found[node], expected, **NEWTON)


def test_newton_leaves_do_not_depend_on_the_order_of_rows(rng, leaf):
    g = rng.normal(size=ROWS).astype(np.float32)
    h = rng.uniform(0.1, 1, ROWS).astype(np.float32)
    order = rng.permutation(ROWS)
    found, again = newton(g, h, leaf), newton(g[order], h[order], leaf[order])
    np.testing.assert_array_equal(found, again)


def test_a_leaf_without_slope_is_zero(rng, leaf):
    g = rng.normal(size=ROWS).astype(np.float32)
    h = np.where(leaf == 3, 0, 1).astype(np.float32)
    found = newton(g, h, leaf)
    assert found[3] == found[EMPTY] == 0
    assert found[1] != 0


@pytest.mark.parametrize("share", [1.0, 0.6, 0.02])
@pytest.mark.parametrize("alpha", [0.05, 0.5, 0.9])
def test_without_weights_quantiles_are_numpys(rng, leaf, alpha, share):
    residual, counts = draw(rng, share)
    found = search("quantile", residual, None, counts, leaf, alpha=alpha)
    for node in range(NODES):
        values = residual[(leaf == node) & (counts > 0)].astype(np.float64)
        expected = np.quantile(values, alpha) if len(values) else 0.0
        np.testing.assert_allclose(found[node], expected, **EXACT)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 0.9])
def test_with_weights_quantiles_are_rows(rng, leaf, alpha):
    residual, counts = draw(rng, 0.7)
    weight = rng.integers(1, 9, ROWS).astype(np.float32) / 8  # sums are exact
    found = search("quantile", residual, weight, counts, leaf, alpha=alpha)
    for node in range(NODES):
        rows = (leaf == node) & (counts > 0)
        expected = 0.0
        if rows.any():
            expected = weighted_quantile(residual[rows], weight[rows], alpha)
        assert found[node] == expected


def test_rows_of_weight_zero_count_nothing(rng, leaf):
    residual, counts = draw(rng)
    weight = rng.integers(0, 3, ROWS).astype(np.float32)
    kept = (weight > 0).astype(np.float32)
    found = search("quantile", residual, weight, counts * kept, leaf)
    spoilt = np.where(weight > 0, residual, 1e9).astype(np.float32)
    again = search("quantile", spoilt, weight, counts * kept, leaf)
    np.testing.assert_array_equal(found, again)
    for node in np.unique(leaf):
        rows = leaf == node
        many = np.repeat(residual[rows], weight[rows].astype(int))
        assert found[node] == np.quantile(many, 0.5, method="inverted_cdf")


@pytest.mark.peer
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_weighted_quantiles_are_those_of_scikit_learn(rng, leaf, alpha):
    stats = pytest.importorskip("sklearn.utils.stats", reason="private there")
    residual, counts = draw(rng)
    weight = rng.integers(1, 9, ROWS).astype(np.float32) / 8
    found = search("quantile", residual, weight, counts, leaf, alpha=alpha)
    for node in np.unique(leaf):
        rows = leaf == node
        peer = stats._weighted_percentile(residual[rows], weight[rows], 100 * alpha)
        assert found[node] == peer


@pytest.mark.parametrize("is_weighted", [False, True])
def test_huber_leaves_are_friedmans_algorithm_4(rng, leaf, is_weighted):
    residual, counts = draw(rng, 0.8)
    weight = rng.integers(1, 9, ROWS).astype(np.float32) / 8 if is_weighted else None
    delta = 0.7
    found = search("huber", residual, weight, counts, leaf, alpha=0.9, delta=delta)
    for node in range(NODES):
        rows = (leaf == node) & (counts > 0)
        if not rows.any():
            assert found[node] == 0
            continue
        values = residual[rows].astype(np.float64)
        if is_weighted:
            masses = weight[rows]
            middle = weighted_quantile(values, masses, 0.5)
        else:
            masses, middle = np.ones(rows.sum()), np.median(values)
        rest = values - middle
        step = np.average(np.sign(rest) * np.minimum(abs(rest), delta), weights=masses)
        # Residuals less the median are rounded to float32.
        np.testing.assert_allclose(found[node], middle + step, rtol=0, atol=1e-7)
