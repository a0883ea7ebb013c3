"""Optimal transport: Sinkhorn beside ott-jax and POT, the exact solver beside POT.

python -m benchmarks.transport                                  some minutes
python -m benchmarks.transport --skip-exact --sizes 5000        other sizes
python -m benchmarks.transport --all-peers                      their other settings too

The exact solvers get the same costs and masses. Sinkhorn's get the same matrix and stop
at the same error of the marginals, which is then measured from the plan itself: L1,
rows and columns together. What counts is the least of several times.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Candidate, report, timed
from jaxlab.core.mesh import use_cpu_devices
from jaxlab.transport.costs import power_cost
from jaxlab.transport.exact import solve_exact
from jaxlab.transport.geometry import PointCloud
from jaxlab.transport.sinkhorn import sinkhorn

MOST_STEPS = 20_000
LONG = 5.0  # seconds
FOUND: dict[str, tuple[Any, int]] = {}  # the plan's marginal error and steps, by name


def clouds(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(size, 2)), rng.normal(size=(size, 2)) * 0.5 + 1


def keep(name: str, plan: Any, steps: Any) -> None:
    plan = np.asarray(plan, np.float64)
    even = 1 / len(plan)
    error = abs(plan.sum(0) - even).sum() + abs(plan.sum(1) - even).sum()
    FOUND[name] = (float(error), int(steps))


def ours(
    name: str, size: int, eps: float, p: float, tol: float, dtype: Any, is_cloud: bool
) -> Callable[[], object]:
    x, y = (jnp.asarray(points, dtype) for points in clouds(size))
    cost: Any = PointCloud(x, y, p) if is_cloud else power_cost(x, y, p)

    def call() -> object:
        return jax.block_until_ready(sinkhorn(cost, eps=eps, tol=tol).value)

    found = sinkhorn(cost, eps=eps, tol=tol)
    keep(name, found.plan, found.iterations)
    return call


def of_ott(
    name: str, size: int, eps: float, p: float, tol: float, dtype: Any, how: str = ""
) -> Callable[[], object]:
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear import acceleration
    from ott.solvers.linear.sinkhorn import Sinkhorn

    x, y = (jnp.asarray(points, dtype) for points in clouds(size))
    cost = power_cost(x, y, p)
    further: dict[str, Any] = {
        "": {},
        "kernel": {"lse_mode": False},
        "momentum": {"momentum": acceleration.Momentum(value=1.5)},
        "kernel, adaptive": {
            "lse_mode": False,
            "momentum": acceleration.Momentum(start=100),
        },
        "Anderson": {"anderson": acceleration.AndersonAcceleration(memory=5)},
    }[how]
    solver = Sinkhorn(threshold=tol, max_iterations=MOST_STEPS, **further)
    solve = jax.jit(lambda c: solver(LinearProblem(Geometry(c, epsilon=eps))))

    def call() -> object:
        return jax.block_until_ready(solve(cost).reg_ot_cost)

    found = solve(cost)
    keep(name, found.matrix, found.n_iters)
    return call


def of_pot(
    name: str, size: int, eps: float, p: float, tol: float, method: str
) -> Callable[[], object]:
    import ot

    cost = np.asarray(power_cost(*clouds(size), p))
    even = np.full(size, 1 / size)
    # Its threshold is of the 2-norm of the columns' error.
    threshold = tol / np.sqrt(size)

    def call() -> Any:
        return ot.sinkhorn(
            even,
            even,
            cost,
            eps,
            method,
            numItermax=MOST_STEPS,
            stopThr=threshold,
            log=True,
            warn=False,
        )

    plan, log = call()
    keep(name, plan, log.get("niter", log.get("n_iter", -1)))  # named by the method
    return call


def least_times(candidates: dict[str, Candidate], repeats: int) -> dict[str, float]:
    """Take turns, but those that have taken long already sit out: they are minutes."""
    calls = {name: build() for name, build in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            if sum(times[name]) < LONG:
                times[name].append(timed(call)[1])
    return {name: min(taken) for name, taken in times.items()}


def sinkhorn_rows(
    size: int, share: float, p: float, options: argparse.Namespace
) -> list[dict[str, Any]]:
    eps = share * float(np.asarray(power_cost(*clouds(min(size, 500)), p)).mean())
    settings = (size, eps, p, options.tol)
    both = {"float64": jnp.float64, "float32": jnp.float32}
    candidates: dict[str, Candidate] = {}
    for kind, dtype in both.items():
        name = f"jaxlab {kind}"
        candidates[name] = functools.partial(ours, name, *settings, dtype, False)
    name = "jaxlab float32 by blocks"
    candidates[name] = functools.partial(ours, name, *settings, jnp.float32, True)
    for kind, dtype in both.items():
        name = f"ott-jax {kind}"
        candidates[name] = functools.partial(of_ott, name, *settings, dtype)
    more = ("kernel", "momentum", "kernel, adaptive", "Anderson")
    for how in more if options.all_peers else more[1:3]:
        name = f"ott-jax float64, {how}"
        candidates[name] = functools.partial(
            of_ott, name, *settings, jnp.float64, how=how
        )
    # The plain one is POT's fastest where it can be used at all; from a thousand points
    # on the stabilized one does not see that it has converged, and goes on.
    methods = ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized")
    for method in methods if options.all_peers else methods[:1]:
        name = f"POT {method}"
        candidates[name] = functools.partial(of_pot, name, *settings, method)
    seconds = least_times(candidates, options.repeats)
    mine = seconds["jaxlab float64"]
    return [
        {
            "n": size,
            "p": p,
            "eps_over_mean_cost": share,
            "solver": name,
            "seconds": taken,
            "times_jaxlab": taken / mine,  # of its seconds in float64
            "steps": FOUND[name][1],
            "marginal_error": FOUND[name][0],
        }
        for name, taken in seconds.items()
    ]


Problem = tuple[np.ndarray, np.ndarray, np.ndarray]


def exact_problem(size: int, m: int, costs: str, masses: str) -> Problem:
    rng = np.random.default_rng(1)
    if costs == "random":
        cost = rng.random((size, m))
    else:
        p = {"|x - y|": 1.0, "|x - y|^2": 2.0}[costs]
        cost = np.asarray(power_cost(clouds(size)[0], clouds(m)[1], p))
    if masses == "equal":
        return cost, np.full(size, 1 / size), np.full(m, 1 / m)
    a, b = rng.random(size), rng.random(m)
    return cost, a / a.sum(), b / b.sum()


Values = dict[str, float]


def exact(problem: Problem, values: Values) -> Callable[[], object]:
    def call() -> None:
        values["jaxlab"] = solve_exact(*problem).value

    return call


def exact_of_pot(problem: Problem, values: Values) -> Callable[[], object]:
    import ot

    cost, a, b = problem

    def call() -> None:
        values["POT"] = float(ot.emd2(a, b, cost, numItermax=100_000_000))

    return call


def exact_rows(
    size: int, m: int, costs: str, masses: str, repeats: int
) -> list[dict[str, Any]]:
    problem = exact_problem(size, m, costs, masses)
    values: Values = {}
    seconds = least_times(
        {
            "jaxlab": functools.partial(exact, problem, values),
            "POT emd2": functools.partial(exact_of_pot, problem, values),
        },
        repeats,
    )
    return [
        {
            "n": size,
            "m": m,
            "costs": costs,
            "masses": masses,
            "jaxlab_seconds": seconds["jaxlab"],
            "pot_seconds": seconds["POT emd2"],
            "times_pot": seconds["POT emd2"] / seconds["jaxlab"],
            "values_differ_by": abs(values["jaxlab"] - values["POT"]),
        }
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="200,1000", help="of Sinkhorn's problems")
    parser.add_argument("--exact-sizes", default="200,1000,3000")
    parser.add_argument("--shares", default="0.05,0.01", help="eps / mean cost")
    parser.add_argument("--powers", default="1,2")
    parser.add_argument("--tol", type=float, default=1e-5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--all-peers", action="store_true")
    parser.add_argument("--skip-exact", action="store_true")
    parser.add_argument("--skip-sinkhorn", action="store_true")
    options = parser.parse_args()
    use_cpu_devices("")
    jax.config.update("jax_enable_x64", True)
    if not options.skip_exact:
        run_exact(options)
    if not options.skip_sinkhorn:
        run_sinkhorn(options)


def run_exact(options: argparse.Namespace) -> None:
    title = "Exact plan and potentials"
    for size in map(int, options.exact_sizes.split(",")):
        rows: list[dict[str, Any]] = []
        for m in (size, size * 3 // 4):
            for costs in ("|x - y|", "|x - y|^2", "random"):
                for masses in ("equal", "general"):
                    rows += exact_rows(size, m, costs, masses, options.repeats)
        report("transport", title, rows, part=f"exact, n = {size}")


def run_sinkhorn(options: argparse.Namespace) -> None:
    title = "Sinkhorn, equal tolerance"
    for size in map(int, options.sizes.split(",")):
        rows: list[dict[str, Any]] = []
        for power in map(float, options.powers.split(",")):
            for share in map(float, options.shares.split(",")):
                rows += sinkhorn_rows(size, share, power, options)
                report("transport", title, rows, part=f"sinkhorn, n = {size}")


if __name__ == "__main__":
    main()
