"""As many sources as targets, of equal masses: an assignment and its potentials."""

import numpy as np

from jaxlab.core.typing import Float

__all__ = ["potentials_of_assignment", "solve_assignment"]


def solve_assignment(
    cost: Float[np.ndarray, "n n"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the column of each row, and optimal potentials f and g.

    By scipy (Jonker and Volgenant 1987, Crouse 2016), which keeps the potentials to
    itself.
    """
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(cost)
    return columns, *potentials_of_assignment(cost, columns)


def potentials_of_assignment(
    cost: Float[np.ndarray, "n n"], columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Recover potentials from an optimal assignment.

    Tight on the assignment, f_i + g_col(i) = C_i,col(i), and feasible: then
    g_j <= g_col(i) + C_ij - C_i,col(i) for all i, lengths of ways in a graph without
    negative cycles. Its shortest ways from anywhere (Bellman 1958) are such a g.
    """
    chosen = cost[np.arange(len(cost)), columns]
    resolution = 4e-16 * max(1e-300, float(abs(cost).max()))
    g = np.zeros(len(cost))
    for _ in range(len(cost)):
        f = chosen - g[columns]
        shorter = (cost - f[:, None]).min(0)
        if (shorter >= g - resolution).all():
            break
        g = np.minimum(g, shorter)
    f = (cost - g[None, :]).min(1)
    return f, g
