"""FID and KID against matrix roots, closed forms and double loops."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from sklearn.metrics.pairwise import polynomial_kernel

from jaxlab.core.errors import InputError
from jaxlab.metrics.feature_distances import (
    Moments,
    frechet_distance,
    kernel_distance,
    moments_of,
    moments_of_covariance,
    subset_rows,
)
from jaxlab.transport.closed_form import gaussian_w2

# Singular values and roots of float64 matrices of these sizes.
ROUNDING = 1e-10
# scipy's root of a product that is nearly singular loses half of the digits.
OF_SQRTM = 1e-6


def correlated(seed, n=300, width=12, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(width, width)) / width**0.5
    return rng.normal(size=(n, width)) @ mix * scale + shift


def by_matrix_root(x, y):
    """The formula as the authors of FID compute it."""
    A, B = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(A @ B).real
    shift = x.mean(0) - y.mean(0)
    return shift @ shift + np.trace(A + B - 2 * root)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [300, 5000])  # one block and two
def test_fid_is_that_of_matrix_roots(seed, rows):
    x, y = correlated(seed, rows), correlated(seed + 10, scale=1.5, shift=0.3)
    expected = by_matrix_root(x, y)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=OF_SQRTM)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=OF_SQRTM)


def test_fid_is_the_w2_of_gaussians():
    x, y = correlated(0), correlated(1, shift=1.0)
    moments = [
        jnp.asarray(m)
        for rows in (x, y)
        for m in (rows.mean(0), np.cov(rows, rowvar=False))
    ]
    assert frechet_distance(x, y) == pytest.approx(float(gaussian_w2(*moments)), 1e-4)


def test_fid_of_moved_and_scaled_sets_is_known():
    x = correlated(0)
    assert frechet_distance(x, x + 0.5) == pytest.approx(12 * 0.25, rel=ROUNDING)
    # Roots of commuting covariances: tr (c R - R)^2.
    scaled = 3 * (x - x.mean(0)) + x.mean(0)
    expected = 4 * np.trace(np.cov(x, rowvar=False))
    assert frechet_distance(x, scaled) == pytest.approx(expected, rel=ROUNDING)


def test_fid_of_diagonal_moments_is_known():
    a, b = np.array([4.0, 0.0, 1.0]), np.array([1.0, 9.0, 0.0])
    first = moments_of_covariance(np.zeros(3), np.diag(a))
    second = moments_of_covariance(np.ones(3), np.diag(b))
    expected = 3 + ((a**0.5 - b**0.5) ** 2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("n", [5, 12, 13, 200])
def test_fid_of_equal_sets_is_zero(n):
    """Also of fewer rows than features, and of features that depend on each other."""
    x = correlated(0, n)
    x = np.concatenate([x, x[:, :4] * 2, np.ones((n, 2)), np.zeros((n, 1))], axis=1)
    size = (x**2).mean() * x.shape[1]
    assert 0 <= frechet_distance(x, x) < ROUNDING * size
    assert 0 <= frechet_distance(x, x[::-1]) < ROUNDING * size


def test_fid_of_singular_sets_in_different_planes():
    """No mass in common: the traces add up; 1e-8 is the root of float64's rounding."""
    rng = np.random.default_rng(0)
    x, y = np.zeros((2, 100, 40))
    x[:, :20], y[:, 20:] = rng.normal(size=(2, 100, 20))
    mix = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    shift = x.mean(0) - y.mean(0)
    traces = x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum()
    found = frechet_distance(x @ mix, y @ mix)
    assert found == pytest.approx(shift @ shift + traces, abs=1e-6)


def test_few_rows_and_many_give_one_answer():
    """The factor of the rows themselves, and that of their covariance."""
    x, y = correlated(0, 10, 16), correlated(1, 200, 16)
    by_covariance = moments_of_covariance(x.mean(0), np.cov(x, rowvar=False))
    found = frechet_distance(by_covariance, y)
    assert found == pytest.approx(frechet_distance(x, y), rel=1e-7)
    assert len(by_covariance.factor) == 9


def test_moments_of_constant_features():
    x = np.ones((10, 3), np.float32)
    assert frechet_distance(x, x + 2) == pytest.approx(12, rel=ROUNDING)
    assert len(moments_of(x).factor) == 0


def test_features_of_any_kind_of_float_far_from_zero():
    x = (correlated(0, 500) + 1000).astype(np.float32)
    y = (correlated(1, 500) + 1000).astype(np.float32)
    expected = by_matrix_root(x.astype(np.float64), y.astype(np.float64))
    assert frechet_distance(jnp.asarray(x), jnp.asarray(y)) == pytest.approx(
        expected, rel=OF_SQRTM
    )


def test_moments_kept_in_a_file_are_those_measured():
    x, y = correlated(0), correlated(1)
    kept = moments_of_covariance(
        x.mean(0).astype(np.float32), np.cov(x, rowvar=False).astype(np.float32)
    )
    assert isinstance(kept, Moments)
    assert frechet_distance(kept, y) == pytest.approx(frechet_distance(x, y), rel=1e-5)


@pytest.mark.parametrize("width", [3, 17])
def test_kid_is_the_double_loop(width):
    x, y = correlated(0, 21, width), correlated(1, 26, width, shift=0.5)
    mean, std = kernel_distance(x, y, subsets=5, subset_size=7, seed=3)
    real = [x[i] for i in subset_rows(21, 7, 5, 3, 0)]
    fake = [y[i] for i in subset_rows(26, 7, 5, 3, 1)]

    def kernel(a, b):
        return (sum(a * b) / width + 1) ** 3

    values = []
    for a, b in zip(real, fake, strict=True):
        pairs = [(i, j) for i in range(7) for j in range(7)]
        values.append(
            sum(kernel(a[i], a[j]) for i, j in pairs if i != j) / 42
            + sum(kernel(b[i], b[j]) for i, j in pairs if i != j) / 42
            - 2 * sum(kernel(a[i], b[j]) for i, j in pairs) / 49
        )
    assert mean == pytest.approx(np.mean(values), rel=1e-10)
    assert std == pytest.approx(np.std(values), rel=1e-10)


def test_kid_is_that_of_scikit_learns_kernel():
    x, y = correlated(0, 60), correlated(1, 60, shift=0.5)
    [i], [j] = (list(subset_rows(60, 30, 1, 0, s)) for s in (0, 1))
    options = {"degree": 3, "gamma": None, "coef0": 1}
    xx, yy, xy = (
        polynomial_kernel(a, b, **options)
        for a, b in ((x[i], x[i]), (y[j], y[j]), (x[i], y[j]))
    )
    off = ~np.eye(30, dtype=bool)
    expected = xx[off].mean() + yy[off].mean() - 2 * xy.mean()
    mean, std = kernel_distance(x, y, subsets=1)
    assert mean == pytest.approx(expected, rel=1e-10)
    assert std == 0


def test_kid_is_unbiased():
    """Of one distribution it is zero on average, below zero as often as above."""
    found = [
        kernel_distance(correlated(0, 40), correlated(0, 80)[40:], seed=s, subsets=20)
        for s in range(10)
    ]
    rng = np.random.default_rng(0)
    values = np.array(
        [
            kernel_distance(*rng.normal(size=(2, 40, 3)), subsets=1, seed=s)[0]
            for s in range(400)
        ]
    )
    assert abs(values.mean()) < 4 * values.std() / 20
    assert (values < 0).any()
    assert len({mean for mean, _ in found}) == 10


@pytest.mark.parametrize("score", [frechet_distance, kernel_distance])
def test_bad_features_are_refused(score):
    x = correlated(0)
    with pytest.raises(InputError, match="at least"):
        score(x, x[:1])
    with pytest.raises(InputError, match="differ in number"):
        score(x, x[:, :5])
    with pytest.raises(InputError, match="finite"):
        score(x, np.where(x > 1, np.inf, x))
    with pytest.raises(InputError, match="rows, features"):
        score(x, x[None])


def test_bad_settings_are_refused():
    x = correlated(0)
    with pytest.raises(InputError, match="two rows"):
        kernel_distance(x, x, subset_size=1)
    with pytest.raises(InputError, match="subsets"):
        kernel_distance(x, x, subsets=0)
    with pytest.raises(InputError, match="eigenvalues"):
        moments_of_covariance(np.zeros(2), np.diag([1.0, -1.0]))
    with pytest.raises(InputError, match="symmetric"):
        moments_of_covariance(np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]))
