"""Transport as a pair of linear programs, and the alternative behind their duality.

Slow and plain: to see and to check. `jaxlab.transport.exact` is for use.
"""

from typing import NamedTuple

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.transport.measures import check_numbers, host_problem

__all__ = [
    "Farkas",
    "farkas_alternative",
    "is_certificate",
    "is_solution",
    "plan_within",
    "solve_dual_program",
    "solve_primal_program",
    "transport_system",
]

_Matrix = Float[Array | np.ndarray, "n m"]
_Rows = Float[Array | np.ndarray, " n"]
_Columns = Float[Array | np.ndarray, " m"]


def transport_system(n: int, m: int) -> Float[np.ndarray, "n_plus_m nm"]:
    """Give A of zeros and ones with `A @ plan.ravel()` = row sums, then column sums."""
    rows = np.kron(np.eye(n), np.ones((1, m)))
    columns = np.kron(np.ones((1, n)), np.eye(m))
    return np.concatenate([rows, columns])


def solve_primal_program(
    cost: _Matrix, a: _Rows | None = None, b: _Columns | None = None
) -> tuple[float, Float[np.ndarray, "n m"]]:
    """Solve for the plan by scipy's HiGHS: min c'x over A x = [a; b], x >= 0.

    Returns:
        The value and the plan.
    """
    from scipy.optimize import linprog

    cost, a, b = host_problem(cost, a, b)
    system = transport_system(*cost.shape)
    # One equation follows from the others; rounded sums could contradict it.
    found = linprog(
        cost.ravel(), A_eq=system[:-1], b_eq=np.concatenate([a, b])[:-1], method="highs"
    )
    return float(found.fun), found.x.reshape(cost.shape)


def solve_dual_program(
    cost: _Matrix, a: _Rows | None = None, b: _Columns | None = None
) -> tuple[float, Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """Solve for the potentials by scipy's HiGHS: max [a; b]'y over A'y <= c.

    Returns:
        The value, f and g, of which g's last is 0: a constant may go from one to the
        other.
    """
    from scipy.optimize import linprog

    cost, a, b = host_problem(cost, a, b)
    system = transport_system(*cost.shape)[:-1]
    found = linprog(
        -np.concatenate([a, b])[:-1],
        A_ub=system.T,
        b_ub=cost.ravel(),
        bounds=(None, None),
        method="highs",
    )
    potentials = np.append(found.x, 0.0)
    return float(-found.fun), potentials[: len(a)], potentials[len(a) :]


class Farkas(NamedTuple):
    """Which of the two holds for (A, b): the one that is not None.

    `solution` is x >= 0 with A x = b; `certificate` is y with A'y >= 0 and b'y < 0,
    a plane that parts b from the cone of A's columns.
    """

    solution: np.ndarray | None
    certificate: np.ndarray | None


def farkas_alternative(
    A: Float[Array | np.ndarray, "n m"], b: Float[Array | np.ndarray, " n"]
) -> Farkas:
    """Solve A x = b, x >= 0, or prove that there is no solution.

    Exactly one of the two exists (Farkas 1902). The proof comes from the least sum of
    |A x - b| over x >= 0: where that is above zero, its dual variables are the plane.

    Raises:
        InputError: If a value is not finite.
    """
    from scipy.optimize import linprog

    A, b = np.asarray(A, np.float64), np.asarray(b, np.float64)
    check_numbers(A=A, b=b)
    n, m = A.shape
    scale = max(1.0, float(np.abs(b).max()))
    # A x + over - under = b; an artificial unknown costs 1.
    system = np.concatenate([A, np.eye(n), -np.eye(n)], axis=1)
    objective = np.concatenate([np.zeros(m), np.ones(2 * n)])
    found = linprog(objective, A_eq=system, b_eq=b, method="highs")
    if found.fun <= 1e-9 * scale:
        return Farkas(found.x[:m], None)
    return Farkas(None, -found.eqlin.marginals)


def is_solution(
    A: Float[Array | np.ndarray, "n m"],
    b: Float[Array | np.ndarray, " n"],
    x: Float[Array | np.ndarray, " m"],
    atol: float = 1e-9,
) -> bool:
    """Tell whether x >= 0 and A x = b, up to `atol`."""
    return bool((x >= -atol).all() and (abs(A @ x - b) <= atol).all())


def is_certificate(
    A: Float[Array | np.ndarray, "n m"],
    b: Float[Array | np.ndarray, " n"],
    y: Float[Array | np.ndarray, " n"],
    atol: float = 1e-9,
) -> bool:
    """Tell whether A'y >= 0 up to `atol`, while b'y is below `-atol`."""
    if y.shape != b.shape:
        raise InputError(f"y has shape {y.shape}, b {b.shape}; they must be equal")
    return bool((A.T @ y >= -atol).all() and b @ y < -atol)


def plan_within(
    budget: float, cost: _Matrix, a: _Rows | None = None, b: _Columns | None = None
) -> tuple[
    Float[np.ndarray, "n m"] | None,
    tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]] | None,
]:
    r"""Find a plan that costs no more than the budget, or potentials that forbid it.

    How Farkas gives strong duality: with the cost as one more equation,
    $\langle P, C \rangle + s = $ budget, a certificate $(y, w)$ has $w > 0$, and
    $(f, g) = -y / w$ are feasible potentials of a value above the budget. So every
    value below the best plan's is reached by the dual.

    Returns:
        The plan and None, or None and (f, g).
    """
    cost, a, b = host_problem(cost, a, b)
    n, m = cost.shape
    system = np.zeros((n + m + 1, n * m + 1))
    system[:-1, :-1] = transport_system(n, m)
    system[-1] = np.append(cost.ravel(), 1.0)
    found = farkas_alternative(system, np.concatenate([a, b, [budget]]))
    if found.certificate is None:
        assert found.solution is not None
        return found.solution[:-1].reshape(n, m), None
    y = -found.certificate[:-1] / found.certificate[-1]
    return None, (y[:n], y[n:])
