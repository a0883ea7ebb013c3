"""What is built of Sinkhorn solutions: a divergence without bias, and barycenters."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Scalar
from jaxlab.transport.geometry import PointCloud
from jaxlab.transport.measures import check_masses, check_numbers
from jaxlab.transport.sinkhorn import sinkhorn

__all__ = ["Barycenter", "barycenter", "sinkhorn_divergence"]


def sinkhorn_divergence(
    x: Float[Array, "n j"],
    y: Float[Array, "m j"],
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
    *,
    eps: float | Float[Array, ""],
    p: float = 2.0,
    norm: float = 2.0,
    tol: float = 1e-5,
    max_iterations: int = 10_000,
) -> Scalar:
    r"""Give $OT(x, y) - \frac12 OT(x, x) - \frac12 OT(y, y)$ with entropy.

    Zero for equal measures, which the cost with entropy is not; never below zero for
    costs |x - y| and |x - y|^2. Between $W_p^p$ (small eps) and a kernel distance
    (large). The matrices of costs are never kept.

    Args:
        x: Points.
        y: Points.
        a: Weights of x; equal ones by default.
        b: Weights of y.
        eps: Above 0, in the unit of the cost.
        p: Power of the cost.
        norm: Order of the norm, 2 for Euclid's.
        tol: As of `sinkhorn`.
        max_iterations: As of `sinkhorn`.

    Raises:
        InputError: As `sinkhorn`.

    References:
        Genevay et al. 2018, https://arxiv.org/abs/1706.00292; Feydy et al. 2019,
        https://arxiv.org/abs/1810.08278.
    """

    def value(x: Array, y: Array, a: Array | None, b: Array | None) -> Float[Array, ""]:
        cost = PointCloud(x, y, p, norm)
        found = sinkhorn(cost, a, b, eps=eps, tol=tol, max_iterations=max_iterations)
        return found.value

    return value(x, y, a, b) - (value(x, x, a, a) + value(y, y, b, b)) / 2


class Barycenter(NamedTuple):
    """The mean measure on given points, and how it was reached."""

    weights: Array  # float [n], of sum 1
    error: Array  # float, how far the row sums of the plans differ, in L1
    converged: Array  # bool
    iterations: Array  # int32


def barycenter(
    cost: Float[Array, "n m"],
    measures: Float[Array, "k m"],
    shares: Float[Array, " k"] | None = None,
    *,
    eps: float | Float[Array, ""],
    tol: float = 1e-5,
    max_iterations: int = 10_000,
) -> Barycenter:
    r"""Find the weights w on n points of least $\sum_k s_k OT_\epsilon(w, b_k)$.

    In the log domain. The entropy here is that of the plan alone, as in the article,
    and blurs the mean by about $\epsilon$. Differentiable by its iterations in forward
    mode.

    Args:
        cost: From the n points to those of the measures.
        measures: Rows of sum 1; zeros allowed.
        shares: Of each measure, of sum 1; equal ones by default.
        eps: Above 0, in the unit of the cost.
        tol: Of `error`.
        max_iterations: Where to give up.

    Raises:
        InputError: Outside jit and vmap, if measures or shares are none.

    References:
        Benamou et al. 2015, https://arxiv.org/abs/1412.5154, proposition 2.
    """
    count = measures.shape[0]
    if shares is None:
        shares = jnp.full(count, 1 / count, cost.dtype)
    check_numbers(cost=cost)
    one = jnp.ones(1, cost.dtype)
    check_masses(shares, one)
    for row in measures if not isinstance(measures, jax.core.Tracer) else ():
        check_masses(row, one)
    if not isinstance(eps, jax.Array) and not 0 < eps < np.inf:
        raise InputError(f"eps = {eps} must be above 0")
    return _barycenter(cost, measures, shares, eps, tol, max_iterations)


_State: TypeAlias = tuple[Array, Array, Array, Array]  # log u, log w, error, steps


@jax.jit
def _barycenter(
    cost: Array, measures: Array, shares: Array, eps: Array, tol: Array, limit: Array
) -> Barycenter:
    log_kernel = -cost / eps
    log_measures = jnp.log(measures)

    def reach(log_v: Array) -> Array:
        """Give log K v for each measure, (k, n)."""
        return jax.nn.logsumexp(log_kernel[None] + log_v[:, None, :], axis=2)

    def step(state: _State) -> _State:
        log_u, _, _, steps = state
        back = jax.nn.logsumexp(log_kernel[None] + log_u[:, :, None], axis=1)
        reached = reach(log_measures - back)
        # All plans get the geometric mean of their row sums.
        log_w = (shares[:, None] * (log_u + reached)).sum(0)
        sums = jnp.exp(log_u + reached)
        error = abs(sums - jnp.exp(log_w)[None, :]).sum(1).max()
        return log_w[None, :] - reached, log_w, error, steps + 1

    start = (
        jnp.zeros((len(measures), len(cost)), cost.dtype),
        jnp.zeros(len(cost), cost.dtype),
        jnp.full((), jnp.inf, cost.dtype),
        jnp.zeros((), jnp.int32),
    )
    _, log_w, error, steps = jax.lax.while_loop(
        lambda state: (state[2] > tol) & (state[3] < limit), step, start
    )
    weights = jnp.exp(log_w)
    return Barycenter(weights / weights.sum(), error, error <= tol, steps)
