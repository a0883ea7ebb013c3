"""Weighted quantile ranks and candidates of XGBoost, and our cuts beside them.

The second-order loss is a squared error weighted by the hessians h, so candidates are
spread evenly over sums of h rather than over counts of rows (Chen & Guestrin 2016,
section 3.3).
"""

import itertools
import math

import numpy as np
import pytest

from jaxlab.trees.table.binning import fit_binner

VALUES = np.array([1, 1, 3, 4, 5, 12, 45, 50, 99])
HESSIANS = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.2, 0.6])
ROUNDING = 1e-12  # sums of a few hundred float64 hessians
# Relative; a rank that a sum of hessians rounds below its level.
LEVEL_ROUNDING = 1e-9


def weighted_ranks(
    values: np.ndarray, hessians: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank the distinct values of a feature (eq. 8).

    r(z) = sum of h where value < z  /  sum of h

    Args:
        values: [rows], without NaN.
        hessians: [rows], not negative, their sum positive.

    Returns:
        The distinct values, sorted, and the rank of each, from 0 to below 1.
    """
    distinct, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, hessians)
    below = np.cumsum(mass) - mass
    return distinct, below / mass.sum()


def sketch_candidates(
    values: np.ndarray, hessians: np.ndarray, epsilon: float
) -> np.ndarray:
    """Choose about 1 / epsilon values to split at, x < candidate to the left (eq. 9).

    The first values whose ranks reach epsilon, 2 epsilon and so on: from one candidate
    up to the next, ranks grow by less than epsilon.

    Args:
        values: [rows], without NaN.
        hessians: [rows], not negative, their sum positive.
        epsilon: Rank between candidates, above 0 and below 1.
    """
    distinct, ranks = weighted_ranks(values, hessians)
    count = math.ceil((1 - LEVEL_ROUNDING) / epsilon) - 1
    levels = epsilon * np.arange(1, count + 1) * (1 - LEVEL_ROUNDING)
    places = np.minimum(np.searchsorted(ranks, levels), len(distinct) - 1)
    return distinct[np.unique(places)]


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


@pytest.mark.parametrize("num_bins", [4, 16, 64])
def test_our_cuts_are_no_further_apart_than_candidates(rng, num_bins):
    """Ranks within a bin grow by at most 1 / bins and the share of one value."""
    values = rng.normal(size=500)
    weight = rng.integers(1, 9, 500).astype(np.float64)
    binner = fit_binner(values[:, None], max_bins=num_bins, weight=weight)
    distinct, ranks = weighted_ranks(values, weight)
    bins = np.searchsorted(binner.cuts[0][: binner.num_values[0] - 1], distinct)
    assert bins.max() == num_bins - 1
    for number in range(num_bins):
        spread = np.ptp(ranks[bins == number])
        assert spread <= 1 / num_bins + weight.max() / weight.sum()
