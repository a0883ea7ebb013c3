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
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import tyro
from jax.sharding import Mesh

from jaxlab.core.mesh import process_rows
from jaxlab.core.model import Model, from_linen
from jaxlab.core.printed_table import table_lines
from jaxlab.core.ranges import Count, Natural, NotNegative, Positive, Seed, Share
from jaxlab.core.recorded import record
from jaxlab.core.typing import Array, Batch, ModelState, Params
from jaxlab.data.order import Order
from jaxlab.data.points.two_samples import TwoSamples, find_two_samples
from jaxlab.evals import two_samples as report
from jaxlab.evals.duality_examples import one_potential, worked_example
from jaxlab.losses.adversarial import wasserstein_critic
from jaxlab.losses.lipschitz import critic_of_rows, gradient_penalty
from jaxlab.models.gan.dense import PointCritic
from jaxlab.plots.transport import estimate_curves, sinkhorn_curve
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.engine import make_engine
from jaxlab.train.evaluate import once_per_state
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import keep_within, warmup_cosine
from jaxlab.train.state import TrainState, init_state
from jaxlab.train.step import Context, LossFn, LossResult, make_train_step

PENALISED = ("wgan-gp", "wgan-lp")


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "line"  # plane, gaussians, toy, two toy sets as ring:swissroll, a .npz
    points: Count = 256  # of each sample
    seed: Seed = 0
    steps: Count = 3000  # updates of the critic
    batch_size: Count = 256  # points of each sample an update
    loss: Literal["wgan-lp", "wgan-gp", "wgan-clip", "sn"] = "wgan-lp"
    penalty: Positive = 300.0  # weight of the gradient penalty at the end
    penalty_start: Positive = (
        0.1  # and at the start, when slopes still change their sign
    )
    rise_rate: Share = 0.5  # share of the steps in which the weight rises
    clip_limit: Positive = 0.01  # of every parameter (wgan-clip)
    width: Count = 64
    depth: Count = 3
    learning_rate: NotNegative = 5e-3  # falls along a cosine
    eval_every: Natural = 150  # updates
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions(log_every=50)


SMOKE = Config(points=32, steps=6, batch_size=16, width=16, depth=1, eval_every=3)


def main(config: Config) -> dict[str, float]:
    """Solve, train, evaluate, draw, and return the final metrics."""
    engine = make_engine(
        config.run.mesh, config.run.engine, batch_size=config.batch_size
    )
    data = find_two_samples(config.data, config.points, config.seed)
    recorded = record(
        PointCritic,
        width=config.width,
        depth=config.depth,
        spectral=config.loss == "sn",
    )
    critic = from_linen(recorded.network)
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

    key = jax.random.key(config.seed)
    state = init_state(critic, optimizer, key, engine.mesh, data.x[:1])
    step = make_train_step(make_loss(config, critic), optimizer, schedule)
    with RunFolder("wasserstein_duality", config) as run:
        run.write_network(recorded)
        facts: dict[str, Any] = {"routes": worked_example(run)}
        facts["costs"] = one_potential(run)
        exact = report.best_plan(data.x, data.y)
        facts["distances"] = [report.compare_distances(data.x, data.y, exact)]
        facts["entropies"] = report.compare_entropies(data.x, data.y, exact)
        run.say("\n".join([str(data), *table_lines(facts["distances"])]))
        run.say("\n".join(table_lines(facts["entropies"])))
        sinkhorn_curve(run.path / "sinkhorn.png", facts["entropies"], exact.value)
        report.draw_plan(run.path / "plan.png", data.x, data.y, exact)
        fitted = fit(
            engine.compile(step, state),
            state,
            make_batches(config, data, engine.mesh),
            steps=config.steps,
            batch_size=2 * config.batch_size,  # points of both
            run=run,
            evaluate=evaluate,
            eval_every=config.eval_every,
        )
        metrics, facts = evaluate(fitted.state), fitted.facts | facts
        run.write_summary(metrics, facts)
        estimate_curves(run.path / "estimate.png", read_metrics(run.path))
        potential = trained(fitted.state)
        file = run.path / "potential.png"
        report.draw_potentials(file, data.x, data.y, exact, potential)
        return run.finish(metrics, facts)


def make_loss(config: Config, critic: Model) -> LossFn:
    """Make the loss of the dual: minus E f(x) - E f(y), and what holds f's slope.

    The weight of the penalty rises along an exponential: the two-sided one is a wall
    between the slopes -1 and 1, and high from the start holds each on its first side.
    """

    def weight(step: Array) -> Array:
        rise = jnp.minimum(1.0, step / max(config.rise_rate * config.steps, 1.0))
        return config.penalty_start ** (1 - rise) * config.penalty**rise

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, context: Context
    ) -> LossResult:
        x, y = batch["x"], batch["y"]
        both = jnp.concatenate([x, y])
        scores, new_state = critic.apply(params, model_state, both, train=True)
        loss = wasserstein_critic(scores[: len(x)], scores[len(x) :])
        metrics = {"estimate": -loss}
        if config.loss in PENALISED:
            rows = critic_of_rows(critic, params, model_state)
            one_sided = config.loss == "wgan-lp"
            penalty = gradient_penalty(
                rows, x, y, context.key, weight=1.0, one_sided=one_sided
            )
            loss, metrics["penalty"] = loss + weight(context.step) * penalty, penalty
        return loss, (new_state, metrics)

    return loss_fn


def make_batches(
    config: Config, data: TwoSamples, mesh: Mesh
) -> Callable[[int], Iterator[Batch]]:
    """Make batches of both samples, in two orders: lines between them are new ones."""
    seeds = config.seed, (config.seed + 1) % 2**32
    orders = [Order(len(data.x), config.batch_size, seed) for seed in seeds]
    share = process_rows(config.batch_size, mesh)

    def batches(start: int) -> Iterator[Batch]:
        for step in itertools.count(start):
            of_x, of_y = (order(step)[share] for order in orders)
            yield {"x": data.x[of_x], "y": data.y[of_y]}

    return batches


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
