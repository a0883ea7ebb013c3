"""XGBoost's weighted quantile sketch, by its definition."""

import itertools

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees.sketch import sketch_candidates, weighted_ranks

VALUES = np.array([1, 1, 3, 4, 5, 12, 45, 50, 99])
HESSIANS = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.2, 0.6])
ROUNDING = 1e-12  # sums of a few hundred float64 hessians


def test_the_worked_example_has_its_ranks():
    values, ranks = weighted_ranks(VALUES, HESSIANS)
    np.testing.assert_array_equal(values, [1, 3, 4, 5, 12, 45, 50, 99])
    expected = [0, 1 / 9, 1 / 6, 2 / 9, 5 / 18, 1 / 3, 5 / 9, 2 / 3]
    np.testing.assert_allclose(ranks, expected, atol=ROUNDING)


def test_the_worked_example_has_its_candidates():
    np.testing.assert_array_equal(sketch_candidates(VALUES, HESSIANS, 1 / 3), [45, 99])


def test_ranks_follow_their_definition(rng):
    values, hessians = rng.integers(0, 30, 200), rng.random(200)
    distinct, ranks = weighted_ranks(values, hessians)
    naive = [hessians[values < z].sum() / hessians.sum() for z in distinct]
    np.testing.assert_allclose(ranks, naive, atol=ROUNDING)


@pytest.mark.parametrize("epsilon", [0.5, 0.1, 0.03, 0.004])
def test_ranks_grow_by_less_than_epsilon_up_to_the_next_candidate(rng, epsilon):
    values, hessians = rng.normal(size=300), rng.random(300) ** 4
    distinct, ranks = weighted_ranks(values, hessians)
    candidates = sketch_candidates(values, hessians, epsilon)
    edges = [distinct[0], *candidates, np.inf]
    for start, stop in itertools.pairwise(edges):
        inside = ranks[(distinct >= start) & (distinct < stop)]
        assert not len(inside) or np.ptp(inside) < epsilon + ROUNDING
    assert len(candidates) <= 1 / epsilon


def test_equal_hessians_give_quantiles():
    candidates = sketch_candidates(np.arange(100), np.ones(100), 0.1)
    np.testing.assert_array_equal(candidates, np.arange(10, 100, 10))


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.1])
def test_epsilon_out_of_range_is_refused(epsilon):
    with pytest.raises(InputError, match="epsilon"):
        sketch_candidates(VALUES, HESSIANS, epsilon)
