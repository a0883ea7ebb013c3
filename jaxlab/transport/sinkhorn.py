r"""Transport with an entropy, by Sinkhorn's iteration.

$\min_P \sum_{ij} P_{ij} C_{ij} + \epsilon \sum_{ij} P_{ij} \log (P_{ij} / (a_i b_j))$
over the plans from a to b. The solution is $P_{ij} = a_i b_j e^{(f_i + g_j - C_{ij}) /
\epsilon}$: potentials relative to the weights stay finite where a weight is zero, so
that problems padded by points without mass can be mapped over.

**Precision.** Exponents are differences of size $|C| / \epsilon$: float32 reaches a
marginal error of about $10^{-7} |C| / \epsilon$. Below $\epsilon = |C| / 100$ work in
float64, `with jax.enable_x64(True):` around the call and its arrays.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, PyTree
from jaxlab.transport.geometry import (
    Cost,
    PointCloud,
    block_cost,
    over_blocks,
    shape_of,
    soft_minimum,
    split_rows,
    transposed,
)
from jaxlab.transport.measures import check_masses, check_numbers, weights_or_uniform
from jaxlab.transport.scaling import iterate

__all__ = ["Sinkhorn", "sinkhorn"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sinkhorn:
    """A solution, and what it is a solution of."""

    f: PyTree  # float [n], potentials; <a, f> = <b, g>
    g: PyTree  # float [m]
    value: PyTree  # float, the minimum, the entropy included: <a, f> + <b, g>
    error: PyTree  # float, sum_j |sum_i P_ij - b_j|; row sums are exact
    converged: PyTree  # bool, whether the error is within the tolerance
    # int32, passes over the kernel: updates of both potentials, and looks at the error
    iterations: PyTree
    cost: PyTree
    a: PyTree  # float [n]
    b: PyTree  # float [m]
    eps: PyTree  # float

    @property
    def plan(self) -> Array:
        """The plan as a matrix (n, m)."""
        return self._plan_and_cost(*split_rows(self.cost, self.f, self.a))[0]

    def _plan_and_cost(self, part: Array, f: Array, a: Array) -> tuple[Array, Array]:
        """Give both of any rows."""
        rows = part.reshape(-1, part.shape[-1])
        costs = block_cost(self.cost, rows)
        tops = f.reshape(-1)[:, None] + self.g[None, :]
        weights = a.reshape(-1)[:, None] * self.b[None, :]
        n = self.f.shape[0]
        return (weights * jnp.exp((tops - costs) / self.eps))[:n], costs[:n]

    @property
    def transport_cost(self) -> Array:
        """<P, C>, without the entropy."""

        @jax.checkpoint
        def step(total: Array, parts: Any) -> tuple[Array, None]:
            plan, costs = self._plan_and_cost(*parts)
            return total + (plan * costs).sum(), None

        # The rows that fill up the last block have no mass.
        part, f = split_rows(self.cost, self.f)
        missing = f.size - self.a.shape[0]
        a = jnp.pad(self.a, (0, missing)).reshape(f.shape)
        total, _ = over_blocks(step, jnp.zeros_like(self.value), (part, f, a))
        return total


def sinkhorn(
    cost: Cost,
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
    *,
    eps: float | Float[Array, ""],
    tol: float = 1e-5,
    max_iterations: int = 10_000,
    decay: float = 0.25,
) -> Sinkhorn:
    r"""Solve for the plan with entropy; jit, vmap and grad go through.

    Speed: the kernel is computed once for each $\epsilon$ of a falling sequence, from
    potentials absorbed into it, and an update of both sides is two matrix-vector
    products in one pass over it; steps are over-relaxed (`overrelaxation`). Derivatives
    of potentials, plan and `transport_cost` are those of the fixed point, by a linear
    system; those of `value` need none.

    Args:
        cost: Matrix, or a `PointCloud`, whose matrix is then computed by blocks
            again and again and never kept.
        a: Masses of the rows, zeros allowed; equal ones by default.
        b: Masses of the columns, of the same sum.
        eps: Above 0, in the unit of the cost.
        tol: Of the error, see `Sinkhorn`, for masses of sum 1.
        max_iterations: Where to give up; `converged` tells.
        decay: Of $\epsilon$, which falls to the one asked for from the mean cost; 1
            starts there at once, as any does for an $\epsilon$ near the mean cost.

    Raises:
        InputError: Outside jit and vmap: if a value is not finite, negative where it
            may not be, or the masses differ. Inside them only shapes are looked at.

    References:
        Cuturi 2013, https://arxiv.org/abs/1306.0895; Schmitzer 2019,
        https://arxiv.org/abs/1610.06519 (absorbed kernels, scaling of epsilon); Luise
        et al. 2018, https://arxiv.org/abs/1805.11897 (derivatives).
    """
    shape_of(cost)  # refuses what has no shape of costs, jit or not
    # Of small problems a part of the time is what is done before the jit: masses by
    # default are made inside it.
    if a is not None or b is not None:
        a, b = _weights(cost, a, b)
        check_masses(a, b)
    if isinstance(cost, PointCloud):
        check_numbers(x=cost.x, y=cost.y)
    else:
        check_numbers(cost=cost)
    if not isinstance(eps, jax.Array) and not 0 < eps < np.inf:
        raise InputError(f"eps = {eps} must be above 0; solve_exact takes none")
    if not 0 < decay <= 1:
        raise InputError(f"decay = {decay} must lie in (0, 1]")
    settings = (tol, max_iterations, decay)
    return _sinkhorn(cost, a, b, eps, settings)


@jax.jit
def _sinkhorn(
    cost: Any, a: Array | None, b: Array | None, eps: Any, settings: Any
) -> Sinkhorn:
    a, b = _weights(cost, a, b)
    eps = jnp.asarray(eps, a.dtype)
    f, g, error, iterations = _potentials(cost, a, b, eps, settings)
    value = _value(f, g, cost, a, b, eps)
    shift = (a @ f - b @ g) / (a.sum() + b.sum())
    return Sinkhorn(
        f - shift,
        g + shift,
        value,
        error,
        error <= settings[0] * a.sum(),
        iterations,
        cost,
        a,
        b,
        eps,
    )


def _weights(cost: Any, a: Array | None, b: Array | None) -> tuple[Array, Array]:
    """Give the masses of rows and columns in the costs' precision, equal by default."""
    n, m = shape_of(cost)
    like = cost.y if isinstance(cost, PointCloud) else cost
    return weights_or_uniform(a, n, like), weights_or_uniform(b, m, like)


@jax.custom_jvp
def _potentials(
    cost: Any, a: Array, b: Array, eps: Array, settings: Any
) -> tuple[Array, Array, Array, Array]:
    return iterate(cost, a, b, eps, *settings)


@_potentials.defjvp
def _potentials_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    r"""Differentiate f = L(g), g = L'(f), L and L' the soft minima.

    With M = P / ab: df + M (b dg) = r and dg + M'(a df) = s, where r and s are what the
    inputs change in L and L'. Eliminating df leaves a symmetric system for b^1/2 dg.
    """
    cost, a, b, eps, _ = primals
    dcost, da, db, deps, _ = tangents
    f, g, error, iterations = _potentials(*primals)
    _, r = jax.jvp(
        lambda cost, b, eps: soft_minimum(cost, g, b, eps),
        (cost, b, eps),
        (dcost, db, deps),
    )
    _, s = jax.jvp(
        lambda cost, a, eps: soft_minimum(transposed(cost), f, a, eps),
        (cost, a, eps),
        (dcost, da, deps),
    )
    df, dg = _solve_linear(cost, a, b, eps, f, g, r, s)
    still = jnp.zeros_like(error), np.zeros(iterations.shape, jax.dtypes.float0)
    return (f, g, error, iterations), (df, dg, *still)


def _solve_linear(
    cost: Any, a: Array, b: Array, eps: Array, f: Array, g: Array, r: Array, s: Array
) -> tuple[Array, Array]:
    """Solve df + M (b dg) = r, dg + M'(a df) = s."""
    part, tops = split_rows(cost, f)
    missing = tops.size - a.shape[0]
    masses = jnp.pad(a, (0, missing)).reshape(tops.shape)

    def kernel(part: Array, f: Array) -> Array:
        heights = f[:, None] + g[None, :] - block_cost(cost, part)
        return jnp.exp(jnp.minimum(heights / eps, 60.0))

    is_kept = not isinstance(cost, PointCloud)
    kept = jax.vmap(kernel)(part, tops) if is_kept else part

    @jax.checkpoint
    def step(total: Array, parts: Any, right: Array, left: Array) -> Any:
        part, f, a = parts
        M = part if is_kept else kernel(part, f)
        rows = M @ right - left
        return total + (a * rows) @ M, rows

    def back_and_forth(right: Array, left: Array | None = None) -> tuple[Array, Array]:
        """Give M'(a (M right - left)) and M right - left."""
        blocks = jnp.zeros_like(tops)
        if left is not None:
            blocks = jnp.pad(left, (0, missing)).reshape(tops.shape)
        total, rows = over_blocks(
            lambda total, parts: step(total, parts[:3], right, parts[3]),
            jnp.zeros_like(g),
            (kept, tops, masses, blocks),
        )
        return total, rows.reshape(-1)[: a.shape[0]]

    root = jnp.sqrt(b)
    constant = root / jnp.sqrt(b.sum())  # a shift from f to g changes nothing

    def matrix(w: Array) -> Array:
        return w - root * back_and_forth(root * w)[0] + constant * (constant @ w)

    target = root * (s + back_and_forth(jnp.zeros_like(g), r)[0])
    precision = float(10 * jnp.finfo(g.dtype).eps)

    def solve(matrix: Any, target: Array) -> Array:
        most = 4 * (g.shape[0] + 50)
        found, _ = jax.scipy.sparse.linalg.cg(
            matrix, target, tol=precision, maxiter=most
        )
        return found

    w = jax.lax.custom_linear_solve(matrix, target, solve, symmetric=True)
    column_part, row_part = back_and_forth(root * w, r)
    return -row_part, s + column_part


@jax.custom_jvp
def _value(f: Array, g: Array, cost: Any, a: Array, b: Array, eps: Array) -> Array:
    return a @ f + b @ g


@_value.defjvp
def _value_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """At the optimum the value does not feel changes of the potentials."""
    f, g, cost, a, b, eps = primals
    _, _, dcost, da, db, deps = tangents
    _, r = jax.jvp(
        lambda cost, b, eps: soft_minimum(cost, g, b, eps),
        (cost, b, eps),
        (dcost, db, deps),
    )
    return _value(*primals), a @ r + f @ da + g @ db
