"""Wasserstein distances, primal and dual (Kantorovich 1942; Villani 2009).

A worked example by five routes, what a cost must be for one potential to do, and a
neural critic that converges to the exact W1 of two samples.

python -m experiments.wasserstein_duality                       on a line
python -m experiments.wasserstein_duality --data plane          a ring and a blob
python -m experiments.wasserstein_duality --data 8gaussians:25gaussians
python -m experiments.wasserstein_duality --loss wgan-clip      or wgan-gp, sn
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax.sharding import Mesh

from jaxlab.core.config import fields
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh, process_rows
from jaxlab.core.model import Model, from_linen
from jaxlab.core.typing import Array, Batch, Key, Metrics, ModelState, Params, Scalar
from jaxlab.data.order import Order
from jaxlab.data.points.two_samples import TwoSamples, find_two_samples
from jaxlab.evals import two_samples as report
from jaxlab.losses.adversarial import wasserstein_critic
from jaxlab.losses.lipschitz import critic_of_rows, gradient_penalty
from jaxlab.models.gan.dense import PointCritic
from jaxlab.plots.transport import estimate_curves, plan_matrix, sinkhorn_curve
from jaxlab.train.engine import compile_step
from jaxlab.train.evaluate import once_per_state
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import keep_within, warmup_cosine
from jaxlab.train.printed_table import table_lines
from jaxlab.train.run_folder import RunFolder, RunOptions, read_metrics
from jaxlab.train.state import TrainState, init_state
from jaxlab.train.step import LossFn, make_train_step
from jaxlab.transport import duality, linear_programs
from jaxlab.transport.costs import power_cost
from jaxlab.transport.exact import solve_exact

PLACES = np.arange(4.0)
PENALISED = ("wgan-gp", "wgan-lp")
BEFORE, AFTER = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "line"  # plane, gaussians, toy, two toy sets as ring:swissroll, a .npz
    points: int = 256  # of each sample
    seed: int = 0
    steps: int = 3000  # updates of the critic
    batch_size: int = 256  # points of each sample an update
    loss: Literal["wgan-lp", "wgan-gp", "wgan-clip", "sn"] = "wgan-lp"
    penalty: float = 300.0  # weight of the gradient penalty at the end
    penalty_start: float = 0.1  # and at the start, when slopes still change their sign
    rise_rate: float = 0.5  # share of the steps in which the weight rises
    clip_limit: float = 0.01  # of every parameter (wgan-clip)
    width: int = 64
    depth: int = 3
    learning_rate: float = 5e-3  # falls along a cosine
    eval_every: int = 150  # updates
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions(log_every=50)


SMOKE = Config(points=32, steps=6, batch_size=16, width=16, depth=1, eval_every=3)


def main(config: Config) -> dict[str, float]:
    """Solve, train, evaluate, draw, and return the final metrics."""
    mesh = make_mesh(config.run.mesh, batch_size=config.batch_size)
    data = find_two_samples(config.data, config.points, config.seed)
    size = fields(config, "width", "depth")
    critic = from_linen(PointCritic(**size, spectral=config.loss == "sn"))
    schedule = warmup_cosine(config.learning_rate, config.steps)
    optimizer = optax.adam(schedule, b1=0.9, b2=0.99)
    if config.loss == "wgan-clip":
        optimizer = optax.chain(optimizer, keep_within(config.clip_limit))

    def scores(params: Params, model_state: ModelState, x: Array) -> Array:
        return critic.apply(params, model_state, x)[0]

    def trained(state: TrainState) -> jax.tree_util.Partial:
        on_host = jax.device_get((state.params, state.model_state))
        return jax.tree_util.Partial(scores, *jax.tree.map(jnp.asarray, on_host))

    @once_per_state
    def evaluate(state: TrainState) -> dict[str, float]:
        return report.measure_critic(trained(state), data.x, data.y, jax.random.key(0))

    key, batches = jax.random.key(config.seed), make_batches(config, data, mesh)
    state = init_state(critic, optimizer, key, mesh, data.x[:1])
    step = make_train_step(make_loss(config, critic), optimizer, schedule)
    with RunFolder("wasserstein_duality", config) as run:
        facts = {"routes": worked_example(run), "costs": one_potential(run)}
        exact = report.best_plan(data.x, data.y)
        facts["distances"] = [report.compare_distances(data.x, data.y, exact)]
        facts["entropies"] = report.compare_entropies(data.x, data.y, exact)
        run.say("\n".join([str(data), *table_lines(facts["distances"])]))
        run.say("\n".join(table_lines(facts["entropies"])))
        sinkhorn_curve(run.path / "sinkhorn.png", facts["entropies"], exact.value)
        report.draw_plan(run.path / "plan.png", data.x, data.y, exact)
        compiled = compile_step(step, state, mesh, engine=config.run.engine)
        sizes = fields(config, "steps", "eval_every")
        sizes["batch_size"] = 2 * config.batch_size  # points of both
        state = fit(compiled, state, batches, run=run, evaluate=evaluate, **sizes)
        estimate_curves(run.path / "estimate.png", read_metrics(run.path))
        found = (data.x, data.y, exact, trained(state))
        report.draw_potentials(run.path / "potential.png", *found)
        return run.finish(evaluate(state), **facts)


def make_loss(config: Config, critic: Model) -> LossFn:
    """Make the loss of the dual: minus E f(x) - E f(y), and what holds f's slope."""

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Scalar, tuple[ModelState, Metrics]]:
        x, y = batch["x"], batch["y"]
        both = jnp.concatenate([x, y])
        scores, new_state = critic.apply(params, model_state, both, train=True)
        loss = wasserstein_critic(scores[: len(x)], scores[len(x) :])
        metrics = {"estimate": -loss}
        if config.loss in PENALISED:
            rows = critic_of_rows(critic, params, model_state)
            one_sided = config.loss == "wgan-lp"
            penalty = gradient_penalty(rows, x, y, key, weight=1.0, one_sided=one_sided)
            loss, metrics["penalty"] = loss + batch["weight"].mean() * penalty, penalty
        return loss, (new_state, metrics)

    return loss_fn


def make_batches(
    config: Config, data: TwoSamples, mesh: Mesh
) -> Callable[[int], Iterator[Batch]]:
    """Make batches of both samples, in two orders: lines between them are new ones.

    The weight of the penalty rises along an exponential: the two-sided one is a wall
    between the slopes -1 and 1, and high from the start holds each on its first side.
    """
    used = ("penalty", "penalty_start") if config.loss in PENALISED else ()
    for name, value in fields(config, *used).items():
        if not 0 < value < math.inf:
            raise InputError(f"{name} {value} must be above 0; --loss sn takes none")
    if not 0 <= config.rise_rate <= 1:
        raise InputError(f"rise_rate {config.rise_rate} must lie in [0, 1]")
    seeds = config.seed, (config.seed + 1) % 2**32
    orders = [Order(len(data.x), config.batch_size, seed) for seed in seeds]
    share = process_rows(config.batch_size, mesh)

    def batches(start: int) -> Iterator[Batch]:
        for step in itertools.count(start):
            of_x, of_y = (order(step)[share] for order in orders)
            rise = min(1.0, step / max(config.rise_rate * config.steps, 1.0))
            weight = config.penalty_start ** (1 - rise) * config.penalty**rise
            weights = np.full(len(of_x), weight if used else 0.0, np.float32)
            yield {"x": data.x[of_x], "y": data.y[of_y], "weight": weights}

    return batches


def worked_example(run: RunFolder) -> list[dict[str, Any]]:
    """Find one distance by five routes; show what makes both programs agree."""
    cost = power_cost(PLACES[:, None], PLACES[:, None])
    problem = (cost, BEFORE, AFTER)
    exact = solve_exact(*problem)
    routes = {
        "sum of |F - G|": float(abs(np.cumsum(BEFORE) - np.cumsum(AFTER)).sum()),
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
            bound = BEFORE @ potentials[0] + AFTER @ potentials[1]
            found = f"no: by potentials that were found, each costs {bound:.4g} or more"
        run.say(f"  Farkas: a plan of cost {budget} or less? {found}")
    plan_matrix(run.path / "worked_example.png", exact.plan, PLACES, PLACES, "W1 = 1")
    return rows


def one_potential(run: RunFolder) -> list[dict[str, Any]]:
    """Show what one potential, g = -f, loses where the cost is no metric."""
    rows = []
    for power in (1.0, 2.0):
        cost = power_cost(PLACES[:, None], PLACES[:, None], power)
        problem = (cost, BEFORE, AFTER)
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


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
