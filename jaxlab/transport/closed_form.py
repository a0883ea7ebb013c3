"""Distances that need no solver: on a line, between Gaussians, over slices."""

import jax
import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Key, Scalar
from jaxlab.transport.costs import check_power
from jaxlab.transport.measures import check_masses, check_numbers, weights_or_uniform

__all__ = ["gaussian_w2", "random_directions", "sliced_wasserstein", "wasserstein_1d"]


def wasserstein_1d(
    x: Float[Array, " n"],
    y: Float[Array, " m"],
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
    *,
    p: float = 1.0,
) -> Scalar:
    r"""Give $W_p$ on a line, $(\int_0^1 |F^{-1}(s) - G^{-1}(s)|^p ds)^{1/p}$.

    Moving in order is optimal for p of 1 and more; for p = 1 this is
    $\int |F(t) - G(t)| dt$. Differentiable in points and weights.

    Args:
        x: Places, in any order.
        y: Places.
        a: Weights of x, scaled to sum 1; equal ones by default. May be zero.
        b: Weights of y.
        p: At least 1.

    Raises:
        InputError: If p is below 1, or weights are negative or of different sums.

    References:
        Villani 2003, "Topics in Optimal Transportation", theorem 2.18.
    """
    if not 1 <= p < float("inf"):
        raise InputError(f"p = {p} must be at least 1: below, order is not optimal")
    check_numbers(x=x, y=y)
    if a is None and b is None and len(x) == len(y):
        return _root((jnp.abs(jnp.sort(x) - jnp.sort(y)) ** p).mean(), p)
    a, b = weights_or_uniform(a, len(x), x), weights_or_uniform(b, len(y), y)
    check_masses(a, b)
    return _root(_quantile_cost(x, y, a, b, p), p)


def _quantile_cost(x: Array, y: Array, a: Array, b: Array, p: float) -> Array:
    """Integrate over the steps on which both quantile functions are constant."""
    by_x, by_y = jnp.argsort(x), jnp.argsort(y)
    x, y = x[by_x], y[by_y]
    first, second = jnp.cumsum(a[by_x]), jnp.cumsum(b[by_y])
    # Both end at exactly 1, however sums are rounded: no point without mass is hit.
    first, second = first / first[-1], second / second[-1]
    ends = jnp.sort(jnp.concatenate([first, second]))
    # The step before an end belongs to the first point whose sum reaches that end.
    i, j = jnp.searchsorted(first, ends), jnp.searchsorted(second, ends)
    lengths = jnp.diff(ends, prepend=jnp.zeros_like(ends, shape=(1,)))
    return (lengths * jnp.abs(x[i] - y[j]) ** p).sum()


def _root(value: Array, p: float) -> Array:
    """Give value^(1/p), of slope zero at zero."""
    if p == 1:
        return value
    is_zero = value <= 0
    return jnp.where(is_zero, 0, jnp.where(is_zero, 1, value) ** (1 / p))


def gaussian_w2(
    mean_a: Float[Array, " j"],
    covariance_a: Float[Array, "j j"],
    mean_b: Float[Array, " j"],
    covariance_b: Float[Array, "j j"],
) -> Scalar:
    r"""Give the squared $W_2$ of two Gaussians (that of Fréchet's and Bures' distance).

    $|\mu - \nu|^2 + tr(A + B - 2 (A^{1/2} B A^{1/2})^{1/2})$. Covariances may be
    singular; the derivatives are those of the formula, not of the decompositions, and
    stay finite for equal eigenvalues.

    References:
        Dowson and Landau 1982; Bhatia, Jain and Lim 2019 (gradient).
    """
    shift = mean_a - mean_b
    traces = jnp.trace(covariance_a) + jnp.trace(covariance_b)
    return shift @ shift + traces - 2 * _fidelity(covariance_a, covariance_b)


@jax.custom_jvp
def _fidelity(A: Array, B: Array) -> Array:
    r"""Give $tr (A^{1/2} B A^{1/2})^{1/2}$."""
    # Singular values, not roots of eigenvalues, which lose half the digits.
    product = _matrix_power(A, 0.5) @ _matrix_power(B, 0.5)
    return jnp.linalg.svd(product, compute_uv=False).sum()


@_fidelity.defjvp
def _fidelity_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    r"""The gradient in A is half the transport map from A to B, and the other way."""
    (A, B), (dA, dB) = primals, tangents
    change = (_map_matrix(A, B) * dA).sum() + (_map_matrix(B, A) * dB).sum()
    return _fidelity(A, B), change / 2


def _map_matrix(A: Array, B: Array) -> Array:
    """Give T with T A T = B."""
    root = _matrix_power(B, 0.5)
    return root @ _matrix_power(root @ A @ root, -0.5) @ root


def _matrix_power(A: Array, exponent: float) -> Array:
    """Raise a positive semidefinite matrix to a power on its range."""
    values, vectors = jnp.linalg.eigh(A)
    smallest = values.max() * len(A) * jnp.finfo(A.dtype).eps
    is_zero = values <= smallest
    raised = jnp.where(is_zero, 0, jnp.where(is_zero, 1, values) ** exponent)
    return (vectors * raised[None, :]) @ vectors.T


def random_directions(
    key: Key[Array, ""], num_features: int, num: int = 64
) -> Float[Array, "num j"]:
    """Draw directions evenly from the sphere, of length 1."""
    drawn = jax.random.normal(key, (num, num_features))
    return drawn / jnp.linalg.norm(drawn, axis=1, keepdims=True)


def sliced_wasserstein(
    x: Float[Array, "n j"],
    y: Float[Array, "m j"],
    directions: Float[Array, "num j"],
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
    *,
    p: float = 2.0,
) -> Scalar:
    r"""Give $(mean_k W_p(x u_k, y u_k)^p)^{1/p}$ over directions $u_k$.

    Args:
        x: Points.
        y: Points.
        directions: Of length 1, as of `random_directions`.
        a: Weights of x; equal ones by default.
        b: Weights of y.
        p: At least 1.

    Raises:
        InputError: As `wasserstein_1d`.

    References:
        Bonneel et al. 2015, https://doi.org/10.1007/s10851-014-0506-3.
    """
    check_power(p)
    if a is not None and b is not None:
        check_masses(a, b)

    def along(x: Array, y: Array) -> Array:
        return wasserstein_1d(x, y, a, b, p=p) ** p

    slices = jax.vmap(along)(directions @ x.T, directions @ y.T)
    return _root(slices.mean(), p)
