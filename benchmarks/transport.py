"""Optimal transport: Sinkhorn beside ott-jax and POT, the exact solver beside POT.

python -m benchmarks.transport                      all sizes
python -m benchmarks.transport --sizes 200,1000     some
python -m benchmarks.transport --skip-exact

All get the same matrix in float64 and stop at the same error of the marginals, which is
then measured from the plan itself: L1, rows and columns together.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Candidate, report, take_turns
from jaxlab.core.mesh import use_cpu_devices
from jaxlab.transport.costs import power_cost
from jaxlab.transport.exact import solve_exact
from jaxlab.transport.geometry import PointCloud
from jaxlab.transport.sinkhorn import sinkhorn

MOST_STEPS = 100_000
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
    name: str, size: int, eps: float, p: float, tol: float, dtype: Any
) -> Callable[[], object]:
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    x, y = (jnp.asarray(points, dtype) for points in clouds(size))
    cost = power_cost(x, y, p)
    solver = Sinkhorn(threshold=tol, max_iterations=MOST_STEPS)
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


def sinkhorn_rows(size: int, share: float, p: float, tol: float, repeats: int) -> Any:
    eps = share * float(np.asarray(power_cost(*clouds(min(size, 500)), p)).mean())
    settings = (size, eps, p, tol)
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
    for method in ("sinkhorn_log", "sinkhorn_stabilized"):
        name = f"POT {method}"
        candidates[name] = functools.partial(of_pot, name, *settings, method)
    timings = take_turns(candidates, repeats)
    mine = timings["jaxlab float64"].median
    return [
        {
            "n": size,
            "p": p,
            "eps / mean cost": share,
            "solver": name,
            "seconds": timing.median,
            "times jaxlab float64": timing.median / mine,
            "steps": FOUND[name][1],
            "marginal error": FOUND[name][0],
        }
        for name, timing in timings.items()
    ]


def exact(size: int, m: int) -> Callable[[], object]:
    cost = np.asarray(power_cost(clouds(size)[0], clouds(m)[1]))
    return lambda: solve_exact(cost).value


def exact_of_pot(size: int, m: int) -> Callable[[], object]:
    import ot

    cost = np.asarray(power_cost(clouds(size)[0], clouds(m)[1]))
    weights = np.full(size, 1 / size), np.full(m, 1 / m)
    return lambda: ot.emd2(*weights, cost, numItermax=10_000_000)


def exact_rows(size: int, m: int, repeats: int) -> Any:
    timings = take_turns(
        {
            "jaxlab": functools.partial(exact, size, m),
            "POT emd2": functools.partial(exact_of_pot, size, m),
        },
        repeats,
    )
    mine = timings["jaxlab"].median
    return [
        {
            "n": size,
            "m": m,
            "solver": name,
            "seconds": timing.median,
            "times jaxlab": timing.median / mine,
        }
        for name, timing in timings.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="200,1000,3000,5000")
    parser.add_argument("--shares", default="0.05,0.01", help="eps / mean cost")
    parser.add_argument("--powers", default="1,2")
    parser.add_argument("--tol", type=float, default=1e-5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-exact", action="store_true")
    parser.add_argument("--skip-sinkhorn", action="store_true")
    options = parser.parse_args()
    use_cpu_devices("")
    jax.config.update("jax_enable_x64", True)
    sizes = [int(size) for size in options.sizes.split(",")]
    if not options.skip_exact:
        rows = []
        for size in sizes:
            for m in (size, size * 3 // 4):
                rows += exact_rows(size, m, options.repeats)
        report("transport", "Exact plan and potentials", rows, part="exact")
    if not options.skip_sinkhorn:
        rows = []
        for size in sizes:
            for power in map(float, options.powers.split(",")):
                for share in map(float, options.shares.split(",")):
                    rows += sinkhorn_rows(
                        size, share, power, options.tol, options.repeats
                    )
        report("transport", "Sinkhorn, equal tolerance", rows, part="sinkhorn")


if __name__ == "__main__":
    main()
