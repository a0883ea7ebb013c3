"""Two small problems that show what the dual of optimal transport is."""

from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.printed_table import table_lines
from jaxlab.plots.transport import plan_matrix
from jaxlab.runs.run_folder import RunFolder
from jaxlab.transport import duality, linear_programs
from jaxlab.transport.costs import power_cost
from jaxlab.transport.exact import solve_exact

__all__ = ["one_potential", "worked_example"]

_PLACES = np.arange(4.0)
_BEFORE, _AFTER = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])


def worked_example(run: RunFolder) -> list[dict[str, Any]]:
    """Find one distance by five routes; show what makes both programs agree."""
    cost = power_cost(_PLACES[:, None], _PLACES[:, None])
    problem = (cost, _BEFORE, _AFTER)
    exact = solve_exact(*problem)
    routes = {
        "sum of |F - G|": float(abs(np.cumsum(_BEFORE) - np.cumsum(_AFTER)).sum()),
        "primal program": linear_programs.solve_primal_program(*problem)[0],
        "dual program": linear_programs.solve_dual_program(*problem)[0],
        "exact solver": exact.value,
        "one potential, g = -f": duality.kantorovich_rubinstein(*problem)[0],
    }
    rows = [{"route": n, "W1": w, "off 1 by": abs(w - 1)} for n, w in routes.items()]
    title = "worked example: [.1 .2 .3 .4] to [.4 .3 .2 .1] on 0, 1, 2, 3"
    run.say("\n".join([title, *table_lines(rows)]))
    gap = duality.duality_gap(*problem, exact.plan, exact.f, exact.g)
    slack = duality.complementary_slackness(cost, exact.plan, exact.f, exact.g)
    run.say(f"  duality gap {gap:.1g}, largest P_ij (C_ij - f_i - g_j) {slack:.1g}")
    for budget in (1.0, 0.99):  # a plan, or potentials that forbid it
        _, potentials = linear_programs.plan_within(budget, *problem)
        found = "there is one"
        if potentials is not None:
            bound = _BEFORE @ potentials[0] + _AFTER @ potentials[1]
            found = f"no: by potentials that were found, each costs {bound:.4g} or more"
        run.say(f"  Farkas: a plan of cost {budget} or less? {found}")
    plan_matrix(run.path / "worked_example.png", exact.plan, _PLACES, _PLACES, "W1 = 1")
    return rows


def one_potential(run: RunFolder) -> list[dict[str, Any]]:
    """Show what one potential, g = -f, loses where the cost is no metric."""
    rows = []
    for power in (1.0, 2.0):
        cost = power_cost(_PLACES[:, None], _PLACES[:, None], power)
        problem = (cost, _BEFORE, _AFTER)
        one, _ = duality.kantorovich_rubinstein(*problem, needs_metric=False)
        primal = linear_programs.solve_primal_program(*problem)[0]
        dual = linear_programs.solve_dual_program(*problem)[0]
        values = {"primal": primal, "dual, f and g": dual, "g = -f": one}
        rows.append({"cost": f"|x - y|^{power:.0f}", **values})
    run.say("\n".join(["g = -f needs a metric", *table_lines(rows)]))
    try:
        duality.check_metric(cost)
    except InputError as error:
        run.say(f"  {error}")
    return rows
