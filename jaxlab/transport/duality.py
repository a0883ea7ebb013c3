"""What holds of plans and potentials, as functions that check it."""

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.transport.exact import solve_exact

__all__ = [
    "c_transform",
    "check_metric",
    "complementary_slackness",
    "duality_gap",
    "is_dual_feasible",
    "is_feasible",
    "kantorovich_rubinstein",
    "lipschitz_constant",
    "metric_closure",
]

_Matrix = Float[Array | np.ndarray, "n m"]
_Square = Float[Array | np.ndarray, "n n"]
_Rows = Float[Array | np.ndarray, " n"]
_Columns = Float[Array | np.ndarray, " m"]


def is_feasible(plan: _Matrix, a: _Rows, b: _Columns, atol: float = 1e-9) -> bool:
    """Tell whether a plan is one: no mass below zero, row sums a, column sums b."""
    return bool(
        (plan >= -atol).all()
        and (abs(plan.sum(1) - a) <= atol).all()
        and (abs(plan.sum(0) - b) <= atol).all()
    )


def is_dual_feasible(cost: _Matrix, f: _Rows, g: _Columns, atol: float = 1e-9) -> bool:
    """Tell whether f_i + g_j <= C_ij everywhere, up to `atol`."""
    return bool((f[:, None] + g[None, :] <= cost + atol).all())


def duality_gap(
    cost: _Matrix, a: _Rows, b: _Columns, plan: _Matrix, f: _Rows, g: _Columns
) -> float:
    """Give <P, C> - <a, f> - <b, g>: not below 0 for a feasible pair, 0 for the best.

    So a small gap proves that both are near the optimum, whoever found them.
    """
    return float((plan * cost).sum() - (a @ f + b @ g))


def complementary_slackness(
    cost: _Matrix, plan: _Matrix, f: _Rows, g: _Columns
) -> float:
    """Give the largest P_ij (C_ij - f_i - g_j) in size: 0 at the optimum.

    Mass moves only where the potentials are tight; the sum of all is the gap.
    """
    return float(abs(plan * (cost - f[:, None] - g[None, :])).max())


def c_transform(cost: _Matrix, f: _Rows) -> Float[Array | np.ndarray, " m"]:
    """Give the largest g that f allows: g_j = min_i C_ij - f_i.

    With `power_cost(y, z)` and g of the points y it extends the potential to any
    points z; for a metric cost the extension is 1-Lipschitz.
    """
    return (cost - f[:, None]).min(0)


def lipschitz_constant(f: _Rows, cost: _Square) -> float:
    """Give the largest |f_i - f_j| / C_ij, over points at a distance."""
    cost, f = np.asarray(cost, np.float64), np.asarray(f, np.float64)
    rise = abs(f[:, None] - f[None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.where(rise == 0, 0, rise / cost)
    return float(slopes.max())


def check_metric(cost: _Square, rtol: float = 1e-9) -> None:
    """Refuse a cost that is not a (pseudo)metric on its points.

    Raises:
        InputError: Naming the points of one axiom that does not hold.
    """
    cost = np.asarray(cost, np.float64)
    atol = rtol * float(abs(cost).max())
    if (abs(cost.diagonal()) > atol).any():
        worst = abs(cost.diagonal()).argmax()
        raise InputError(
            f"the cost is no metric: from point {worst} to itself it is "
            f"{cost[worst, worst]:.6g}, "
            "not 0; use the dual with two potentials"
        )
    if (abs(cost - cost.T) > atol).any():
        i, j = np.unravel_index(abs(cost - cost.T).argmax(), cost.shape)
        raise InputError(
            f"the cost is no metric: {cost[i, j]:.6g} from point {i} to {j}, "
            f"{cost[j, i]:.6g} back; use the dual with two potentials"
        )
    for k, (to, back) in enumerate(zip(cost.T, cost, strict=True)):
        excess = cost - to[:, None] - back[None, :]
        if excess.max() > atol:
            i, j = np.unravel_index(excess.argmax(), cost.shape)
            raise InputError(
                f"the cost is no metric: {cost[i, j]:.6g} from point {i} to {j}, but "
                f"{cost[i, k] + cost[k, j]:.6g} by way of {k}; use the dual with two "
                "potentials, or metric_closure(cost)"
            )


def metric_closure(cost: _Square) -> Float[np.ndarray, "n n"]:
    """Give the costs of the cheapest ways over any number of points.

    The largest cost below this one that fulfils the triangle inequality (Floyd 1962).
    """
    ways = np.array(cost, np.float64)
    np.fill_diagonal(ways, np.minimum(ways.diagonal(), 0))
    for k in range(len(ways)):
        ways = np.minimum(ways, ways[:, k, None] + ways[None, k, :])
    return ways


def kantorovich_rubinstein(
    cost: _Square,
    a: _Rows,
    b: Float[Array | np.ndarray, " n"],
    *,
    needs_metric: bool = True,
) -> tuple[float, Float[np.ndarray, " n"]]:
    r"""Solve $\max_f \sum_i (a_i - b_i) f_i$ over $f_i - f_j \le C_{ij}$.

    Both measures live on the same points; of two clouds take all points, with zero
    weights where a measure has none. This is the dual with g = -f. For a metric that
    costs nothing: any optimal g gives $f = \min_j C_{ij} - g_j$, 1-Lipschitz by the
    triangle inequality, and its own transform is -f. For another cost the maximum is
    the transport cost of `metric_closure(cost)`, below that of the cost.

    Args:
        cost: Between the points.
        a: Masses before.
        b: Masses after.
        needs_metric: False also takes a cost that is no metric, to see what is lost.

    Returns:
        The value and f.

    Raises:
        InputError: If the cost is no metric, or the measures do not fit.

    References:
        Kantorovich and Rubinstein 1958; Villani 2009, "Optimal Transport", remark 6.5.
    """
    if needs_metric:
        check_metric(cost)
    else:
        cost = metric_closure(cost)
    found = solve_exact(cost, a, b)
    f = np.asarray(c_transform(np.asarray(cost, np.float64).T, found.g))
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return float(difference @ f), f
