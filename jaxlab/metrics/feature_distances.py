"""Distances between two sets of features: Fréchet's (FID) and the kernel's (KID).

All in float64 on the host. Features are rows of any float type; what network made them
is for the caller to say, since numbers of different networks do not compare.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.transport.measures import check_numbers

__all__ = [
    "Moments",
    "check_features",
    "frechet_distance",
    "kernel_distance",
    "moments_of",
    "moments_of_covariance",
    "subset_rows",
]

# Checked here, not by their type.
FeatureRows = Float[Array | np.ndarray, "..."]
_BLOCK = 4096  # rows that are widened to float64 at a time


class Moments(NamedTuple):
    """Mean and covariance of a set of features, all that Fréchet's distance reads.

    Attributes:
        mean: (j,).
        factor: (rank, j); the covariance is `factor.T @ factor`.
    """

    mean: np.ndarray
    factor: np.ndarray


def check_features(at_least: int, **sets: FeatureRows) -> list[np.ndarray]:
    """Give sets of features as arrays of rows.

    Raises:
        InputError: If one has too few rows, is not finite, or they differ in size.
    """
    found = {name: np.asarray(rows) for name, rows in sets.items()}
    for name, rows in found.items():
        if rows.ndim != 2 or rows.shape[1] == 0 or len(rows) < at_least:
            raise InputError(
                f"{name} features have shape {rows.shape}, but must be (rows, "
                f"features) with at least {at_least} rows; make more samples, or "
                "flatten them"
            )
        check_numbers(**{f"{name} features": rows})
    if len({rows.shape[1] for rows in found.values()}) > 1:
        sizes = " and ".join(f"{rows.shape[1]} ({n})" for n, rows in found.items())
        raise InputError(
            f"{sizes} features differ in number; embed both by one network"
        )
    return list(found.values())


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK].astype(np.float64)


def moments_of(features: FeatureRows) -> Moments:
    """Measure mean and covariance (with n - 1, as the authors of FID do).

    Of more rows than features the covariance is factored with rounding relative to its
    largest entry: of features of very different scale, as 1e8 beside 1, the small ones
    lose digits. Bring such features to one scale before.

    Raises:
        InputError: If there are fewer than two rows, or one is not finite.
    """
    (rows,) = check_features(2, given=features)
    n, width = rows.shape
    mean = np.add.reduce([block.sum(0) for block in _blocks(rows)]) / n
    if n <= width:  # the rows themselves are the smaller factor, and nothing is squared
        return Moments(mean, (rows.astype(np.float64) - mean) / np.sqrt(n - 1))
    covariance = np.zeros((width, width))
    for block in _blocks(rows):
        block -= mean
        covariance += block.T @ block
    return Moments(mean, _pivoted_factor(covariance / (n - 1)))


def moments_of_covariance(
    mean: Float[Array | np.ndarray, " j"], covariance: Float[Array | np.ndarray, "j j"]
) -> Moments:
    """Take moments that were measured before, as files of FID statistics keep them.

    Raises:
        InputError: If they are not finite, or the second is no covariance.
    """
    check_numbers(mean=mean, covariance=covariance)
    wide = np.asarray(covariance, np.float64)
    factor = _pivoted_factor(wide)
    # Statistics are often kept in float32.
    if abs(factor.T @ factor - wide).max() > 1e-5 * abs(wide).max():
        raise InputError(
            "the covariance is not symmetric with eigenvalues of at least 0, as one "
            "must be; was it mixed up with another array of the file?"
        )
    return Moments(np.asarray(mean, np.float64), factor)


def _pivoted_factor(covariance: np.ndarray) -> np.ndarray:
    """Give R of as many rows as the rank, with R^T R the covariance (LAPACK's dpstrf).

    Cholesky's with pivots: it stops where what is left is rounding, so that singular
    covariances are no exception, and takes a fraction of the time of eigenvectors.
    """
    from scipy.linalg.lapack import dpstrf

    upper, pivots, rank, _ = dpstrf(covariance)
    factor = np.zeros((rank, len(covariance)))
    factor[:, pivots - 1] = np.triu(upper)[:rank]
    return factor


def frechet_distance(
    real: FeatureRows | Moments, generated: FeatureRows | Moments
) -> float:
    r"""Give $|\mu - \nu|^2 + tr(A + B - 2 (A B)^{1/2})$ of two sets of features.

    The squared $W_2$ of the Gaussians that have the sets' moments. The last trace is
    the sum of the singular values of $R S^T$ where $A = R^T R$ and $B = S^T S$: no root
    of a matrix is taken and singular covariances lose no digits (features of very
    different scale do, see `moments_of`). It is biased upwards by about 1 / n:
    compare only scores of equally many rows.

    Args:
        real: Features, (n, j), or their moments.
        generated: Features, (m, j), or their moments.

    Raises:
        InputError: If a set has fewer than two rows, one is not finite, or the numbers
            of features differ.

    References:
        Heusel et al. 2017, https://arxiv.org/abs/1706.08500, equation 6.
        Dowson and Landau 1982 (the distance).
    """
    first, second = (
        given if isinstance(given, Moments) else moments_of(given)
        for given in (real, generated)
    )
    if first.mean.shape != second.mean.shape:
        raise InputError(
            f"{len(first.mean)} and {len(second.mean)} features differ in number; "
            "embed both sets by one network"
        )
    shift = first.mean - second.mean
    traces = (first.factor**2).sum() + (second.factor**2).sum()
    product = first.factor @ second.factor.T
    fidelity = np.linalg.svd(product, compute_uv=False).sum()
    return max(float(shift @ shift + traces - 2 * fidelity), 0.0)


def subset_rows(
    n: int, size: int, subsets: int, seed: int, stream: int
) -> Iterator[np.ndarray]:
    """Draw the row numbers of each subset, without repetition within one.

    Raises:
        InputError: If a subset is to have fewer than two rows, or there is none.
    """
    if not (2 <= size <= n and subsets >= 1):
        raise InputError(
            f"{subsets} subsets of {size} of {n} rows: there must be one of two rows "
            "at least; the paper takes 100 of 1000"
        )
    rng = np.random.default_rng([seed, stream])
    for _ in range(subsets):
        yield rng.choice(n, size, replace=False)


def _kernel_within(
    features: FeatureRows, size: int, subsets: int, seed: int, stream: int
) -> Float[np.ndarray, " subsets"]:
    """Give the mean kernel between different rows of each subset."""
    rows, found = np.asarray(features), []
    for chosen in subset_rows(len(rows), size, subsets, seed, stream):
        part = rows[chosen].astype(np.float64)
        kernel = _cubic(part, part)
        found.append((kernel.sum() - np.trace(kernel)) / (size * (size - 1)))
    return np.array(found)


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    kernel = x @ y.T
    kernel /= x.shape[1]
    kernel += 1
    return kernel * kernel * kernel  # a power would take a logarithm


def kernel_distance(
    real: FeatureRows,
    generated: FeatureRows,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    r"""Give mean and standard deviation of the unbiased MMD² over subsets (KID).

    The kernel is $(x \cdot y / j + 1)^3$ of j features. The mean does not depend on how
    many rows there are, and may be below zero: it is unbiased.

    Args:
        real: Features, (n, j).
        generated: Features, (m, j).
        subsets: Pairs of subsets.
        subset_size: Rows of each; half of the smaller set where that is less, so that
            subsets differ.
        seed: Of the draws.

    Raises:
        InputError: If a set has fewer than four rows, one is not finite, or the numbers
            of features differ.

    References:
        Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401, section 4.
        Gretton et al. 2012, "A Kernel Two-Sample Test", lemma 6.
    """
    real, generated = check_features(4, real=real, generated=generated)
    size = min(subset_size, len(real) // 2, len(generated) // 2)
    within = _kernel_within(real, size, subsets, seed, 0)
    within += _kernel_within(generated, size, subsets, seed, 1)
    draws = zip(
        subset_rows(len(real), size, subsets, seed, 0),
        subset_rows(len(generated), size, subsets, seed, 1),
        strict=True,
    )
    across = [
        _cubic(real[i].astype(np.float64), generated[j].astype(np.float64)).mean()
        for i, j in draws
    ]
    found = within - 2 * np.array(across)
    return float(found.mean()), float(found.std())
