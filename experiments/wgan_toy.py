"""GAN, WGAN, WGAN-GP and others in the plane (Gulrajani et al. 2017, arXiv:1704.00028).

python -m experiments.wgan_toy                        WGAN-GP on eight Gaussians
python -m experiments.wgan_toy --data 25gaussians     or swissroll
python -m experiments.wgan_toy --loss all             every loss, in one table
"""

import dataclasses
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import tyro

from jaxlab.core.config import fields
from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import from_linen
from jaxlab.core.pytree import num_elements
from jaxlab.core.typing import Array, Key, Metrics, ModelState, Params, Scalar
from jaxlab.data.critic_order import CriticSchedule
from jaxlab.data.points.toy import TOY_DATA, toy_batches
from jaxlab.evals.points import PointReport
from jaxlab.losses.adversarial import score_both
from jaxlab.losses.lipschitz import critic_of_rows
from jaxlab.models.gan.dense import PointCritic, PointGenerator
from jaxlab.plots.critic import side_by_side
from jaxlab.train import adversarial
from jaxlab.train.adversarial import Player, PlayerLossFn
from jaxlab.train.adversarial_recipes import (
    TOY_RECIPES,
    Recipe,
    RecipeName,
    find_recipe,
)
from jaxlab.train.comparison import train_all
from jaxlab.train.engine import compile_step
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import make_schedule
from jaxlab.train.printed_table import table_lines
from jaxlab.train.run_folder import RunFolder, RunOptions

Update: TypeAlias = tuple[Scalar, tuple[ModelState, Metrics]]
ALL: tuple[RecipeName, ...] = get_args(RecipeName)
SHOWN = ("exact_w1", "critic_w1", "critic_slope", "modes", "high_quality")


@dataclasses.dataclass(frozen=True)
class Config:
    data: Literal["8gaussians", "25gaussians", "swissroll"] = "8gaussians"
    seed: int = 0
    loss: RecipeName | Literal["all"] = "wgan-gp"
    steps: int = 4000  # updates of the generator
    batch_size: int = 128  # points of a critic's step, over all devices; paper: 256
    critic_steps: int = 0  # to each step of the generator; 0: the method's
    long_start: bool = False  # 100 critic steps at times, as WGAN's code
    learning_rate: float = 0.0  # falls linearly to 0; 0: the method's
    penalty_weight: float = 0.0  # 0: the method's
    width: int = 128  # of a layer; the paper's is 512
    generator_depth: int = 6  # layers: steep between the modes; the paper's has 3
    critic_depth: int = 3
    max_bias: float = 0.7  # of the first biases; the paper's is 0
    latent_dim: int = 2
    ema_decay: float = 0.99  # average of the generator to evaluate with; 0: off
    eval_every: int = 200  # updates between two moments that are measured and drawn
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions()


SMOKE = Config(
    steps=4,
    batch_size=16,
    critic_steps=2,
    width=16,
    generator_depth=2,
    critic_depth=2,
    eval_every=2,
)


def main(config: Config) -> dict[str, float]:
    """Train with one loss, or with all, and return the final metrics."""
    if config.loss == "all":
        return compare(config)
    with RunFolder("wgan_toy", config) as run:
        scores, facts = train(config, run)
        return run.finish(scores, **facts)


def train(config: Config, run: RunFolder) -> tuple[dict[str, float], dict[str, Any]]:
    """Train, measure and draw; give the metrics and facts of the run."""
    mesh = make_mesh(config.run.mesh, batch_size=config.batch_size)
    recipe, report = recipe_of(config), make_report(config)
    generator, critic = map(from_linen, make_networks(config))
    schedule = make_schedule("linear", recipe.learning_rate, config.steps)
    optimizers = adversarial.make_optimizers(recipe)
    state = adversarial.init_adversarial_state(
        *(generator, critic, optimizers, jax.random.key(config.seed), mesh),
        *(jnp.zeros((1, config.latent_dim)), jnp.zeros((1, 2))),
        ema=config.ema_decay > 0,
    )
    step = adversarial.make_adversarial_step(
        *make_losses(config, recipe),
        optimizers,
        batch_size=config.batch_size,
        clip=recipe.clip,
        schedule=schedule,
        ema_decay=config.ema_decay,
    )
    turns = CriticSchedule.original if config.long_start else CriticSchedule
    points = (TOY_DATA[config.data], config.batch_size, turns(recipe.critic_steps))
    sizes = [num_elements(p.params) for p in (state.generator, state.critic)]
    run.say("{}: {:,} and {:,} parameters".format(config.loss, *sizes))
    run.say(f"{config.data}: W1 of two batches of the data {report.floor:.3g}")
    if run.checkpoints.latest_step() is None:
        report(state, run.path)  # the first picture
    state = fit(
        compile_step(step, state, mesh, engine=config.run.engine),
        state,
        toy_batches(*points, config.seed, mesh),
        steps=config.steps,
        batch_size=config.batch_size,
        run=run,
        evaluate=lambda state: report(state, run.path),
        eval_every=config.eval_every,
    )
    scores = report(state, run.path)
    report.draw(run.path)
    return scores, {"w1_of_data": report.floor}


def make_losses(config: Config, recipe: Recipe) -> tuple[PlayerLossFn, PlayerLossFn]:
    """Write out what the critic minimises, and what the generator does."""
    generator, critic = map(from_linen, make_networks(config))

    def critic_loss_fn(
        params: Params,
        state: ModelState,
        other: Player,
        real: Array,
        key: Key[Array, ""],
    ) -> Update:
        latent_key, place_key = jax.random.split(key)
        z = jax.random.normal(latent_key, (len(real), config.latent_dim))
        fake, _ = generator.apply(other.params, other.model_state, z, train=True)
        of_real, of_fake, new_state = score_both(critic, params, state, real, fake)
        loss = recipe.losses.critic(of_real, of_fake)
        metrics = {"critic_gap": of_real.mean() - of_fake.mean()}
        if recipe.penalty != "none":
            rows = critic_of_rows(critic, params, state)
            penalty = recipe.penalize(rows, real, fake, place_key)
            loss, metrics["penalty"] = loss + penalty, penalty
        return loss, (new_state, metrics)

    def generator_loss_fn(
        params: Params,
        state: ModelState,
        other: Player,
        real: Array,
        key: Key[Array, ""],
    ) -> Update:
        z = jax.random.normal(key, (len(real), config.latent_dim))
        fake, state = generator.apply(params, state, z, train=True)
        scores, _ = critic.apply(other.params, other.model_state, fake)
        return recipe.losses.generator(scores), (state, {})

    return critic_loss_fn, generator_loss_fn


def compare(config: Config) -> dict[str, float]:
    """Train with all losses, each in a folder of its own, and lay them side by side."""
    configs = {str(name): dataclasses.replace(config, loss=name) for name in ALL}
    with RunFolder("wgan_toy", config) as run:
        rows = train_all(run, configs, train, "test/exact_w1")
        report = make_report(configs[ALL[0]])
        stages = {name: report.stages(run.path / name)[-1] for name in configs}
        side_by_side(run.path, report.real, stages, report.extent)
        names = ["name", *(n for n in SHOWN if n in rows[0]), "seconds"]
        run.say("\n".join(table_lines([{n: row[n] for n in names} for row in rows])))
        scores = {row["name"]: row["exact_w1"] for row in rows}
        return run.finish(scores, losses=rows)


def make_networks(config: Config) -> tuple[PointGenerator, PointCritic]:
    """Make the two networks."""
    size, depth = fields(config, "width", "max_bias"), config.critic_depth
    return (
        PointGenerator(**size, depth=config.generator_depth),
        PointCritic(**size, depth=depth, spectral=recipe_of(config).spectral),
    )


def recipe_of(config: Config) -> Recipe:
    """Give the method, with the settings that the flags change."""
    changed = fields(config, "critic_steps", "learning_rate", "penalty_weight")
    return find_recipe(config.loss, recipes=TOY_RECIPES, **changed)


def make_report(config: Config) -> PointReport:
    """Make what measures and draws."""
    generator, critic = map(from_linen, make_networks(config))
    return PointReport(
        *(generator, critic),
        lambda key, count: jax.random.normal(key, (count, config.latent_dim)),
        config.data,
        seed=config.seed,
    )


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
