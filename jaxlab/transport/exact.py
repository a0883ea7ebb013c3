"""The discrete problem solved exactly: plan and potentials."""

import dataclasses
from typing import Literal

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.transport.assignment import solve_assignment
from jaxlab.transport.costs import power_cost
from jaxlab.transport.measures import host_problem
from jaxlab.transport.simplex import is_even, solve_by_simplex

__all__ = ["ExactTransport", "Method", "solve_exact", "wasserstein"]

Method = Literal["auto", "simplex", "assignment", "highs"]

_HIGHS_TOLERANCE = 1e-10  # absolute, the smallest that it takes


@dataclasses.dataclass(frozen=True)
class ExactTransport:
    """An optimal plan, sparse, and optimal potentials that prove it optimal.

    Up to n + m - 1 pairs carry mass: `masses[k]` goes from `rows[k]` to `columns[k]`.
    The potentials fulfil f_i + g_j <= C_ij to rounding, for points without mass too;
    f_i is what one more unit of mass at i would cost.
    """

    value: float  # <P, C>
    rows: np.ndarray  # int, ascending
    columns: np.ndarray  # int
    masses: np.ndarray  # float64, above 0
    f: np.ndarray  # float64 [n]
    g: np.ndarray  # float64 [m]

    @property
    def plan(self) -> np.ndarray:
        """The plan as a matrix (n, m)."""
        plan = np.zeros((len(self.f), len(self.g)))
        plan[self.rows, self.columns] = self.masses
        return plan


def solve_exact(
    cost: Float[Array | np.ndarray, "n m"],
    a: Float[Array | np.ndarray, " n"] | None = None,
    b: Float[Array | np.ndarray, " m"] | None = None,
    method: Method = "auto",
) -> ExactTransport:
    """Find an optimal plan and optimal potentials, in float64 on the host.

    Args:
        cost: Any finite costs, below zero too.
        a: Masses before; equal ones by default.
        b: Masses after, of the same sum.
        method: `simplex` (on spanning trees, compiled), `assignment` (scipy's shortest
            augmenting paths; equal masses of as many points on both sides), `highs`
            (scipy's linear programs), or the fastest that fits: the first one, where
            there is a compiler.

    Raises:
        InputError: If a value is negative, not finite, of the wrong shape, the masses
            differ, or the method does not fit.
        RuntimeError: If the solver fails.
    """
    cost, first, second = host_problem(cost, a, b)
    can_assign = len(first) == len(second) and is_even(first) and is_even(second)
    if method == "assignment" and not can_assign:
        raise InputError(
            "method 'assignment' needs as many points on both sides, of equal masses; "
            "method 'auto' takes any"
        )
    found = None
    if method in ("auto", "simplex"):
        try:
            found = solve_by_simplex(cost, first, second)
        except RuntimeError:  # costs and masses over too many decades
            if method == "simplex":
                raise
    if found is None and method == "simplex":
        raise InputError(
            "method 'simplex' needs a C++ compiler; 'auto' goes without one, slower"
        )
    if found is None and method != "highs" and can_assign:
        columns, f, g = solve_assignment(cost)
        found = np.arange(len(columns)), columns, first, f, g
    if found is None:
        found = _solve_by_highs(cost, first, second)
    rows, columns, masses, f, g = found
    value = float(masses @ cost[rows, columns])
    return ExactTransport(value, rows, columns, masses, f, g)


def _solve_by_highs(
    cost: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Solve the linear program with a sparse matrix; its duals are the potentials."""
    from scipy import sparse
    from scipy.optimize import linprog

    n, m = cost.shape
    system = sparse.vstack(
        [
            sparse.kron(sparse.eye_array(n), np.ones((1, m))),
            sparse.kron(np.ones((1, n)), sparse.eye_array(m)),
        ]
    ).tocsr()
    # The last equation follows from the others.
    sides = ("primal_feasibility_tolerance", "dual_feasibility_tolerance")
    found = linprog(
        cost.ravel(),
        A_eq=system[:-1],
        b_eq=np.concatenate([a, b])[:-1],
        method="highs",
        options=dict.fromkeys(sides, _HIGHS_TOLERANCE),
    )
    if not found.success:
        raise RuntimeError(f"HiGHS gave up: {found.message}")
    plan = found.x.reshape(n, m)
    rows, columns = np.nonzero(plan > 0)  # not what rounding leaves below
    g = np.append(found.eqlin.marginals[n:], 0.0)
    f = (cost - g[None, :]).min(1)  # feasible to the last bit
    return rows, columns, plan[rows, columns], f, g


def wasserstein(
    x: Float[Array | np.ndarray, "n j"],
    y: Float[Array | np.ndarray, "m j"],
    a: Float[Array | np.ndarray, " n"] | None = None,
    b: Float[Array | np.ndarray, " m"] | None = None,
    *,
    p: float = 1.0,
    norm: float = 2.0,
) -> float:
    r"""Give the exact $W_p$ of two clouds of points, in float64.

    $W_p = (\min_P \sum_{ij} P_{ij} \|x_i - y_j\|^p)^{1/p}$, a distance for p of 1 and
    more.

    Args:
        x: Points.
        y: Points.
        a: Weights of x of sum 1; equal ones by default.
        b: Weights of y.
        p: At least 1.
        norm: Order of the norm, 2 for Euclid's.

    Raises:
        InputError: As `solve_exact`, or for p below 1.
    """
    if p < 1:
        raise InputError(
            f"W_p is a distance for p of at least 1, not {p}; for smaller powers use "
            "solve_exact(power_cost(x, y, p))"
        )
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return solve_exact(power_cost(x, y, p, norm), a, b).value ** (1 / p)
