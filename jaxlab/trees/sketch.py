"""Weighted quantile ranks and split candidates of XGBoost (Chen & Guestrin 2016, 3.3).

The second-order loss is a squared error weighted by the hessians h, so candidates are
spread evenly over sums of h rather than over counts of rows. These are the definitions,
exact and by sorting; what they are approximated by for data in a stream is no matter
here.
"""

import math

import numpy as np

from jaxlab.core.errors import InputError

__all__ = ["sketch_candidates", "weighted_ranks"]

_ROUNDING = 1e-9  # relative; a rank that a sum of hessians rounds below its level


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

    Raises:
        InputError: If epsilon is out of range.
    """
    if not 0 < epsilon < 1:
        raise InputError(
            f"epsilon {epsilon} is a share of the hessians and must be above 0 and "
            "below 1; 0.03 gives some 33 candidates"
        )
    distinct, ranks = weighted_ranks(values, hessians)
    count = math.ceil((1 - _ROUNDING) / epsilon) - 1
    levels = epsilon * np.arange(1, count + 1) * (1 - _ROUNDING)
    places = np.minimum(np.searchsorted(ranks, levels), len(distinct) - 1)
    return distinct[np.unique(places)]
