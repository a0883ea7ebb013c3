"""GAN, WGAN, WGAN-GP and others in the plane (Gulrajani et al. 2017, arXiv:1704.00028).

python -m experiments.wgan_toy                        WGAN-GP on eight Gaussians
python -m experiments.wgan_toy --data 25gaussians     or swissroll
python -m experiments.wgan_toy --loss all             every loss, in one table
"""

import dataclasses
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import tyro

from jaxlab.core.model import from_linen
from jaxlab.core.printed_table import table_lines
from jaxlab.core.pytree import num_elements
from jaxlab.core.ranges import Count, Natural, NotNegative, Rate, Seed
from jaxlab.core.recorded import Recorded, record
from jaxlab.core.typing import Array, ModelState, Params
from jaxlab.data.critic_order import CriticSchedule
from jaxlab.data.points.toy import TOY_DATA, toy_batches
from jaxlab.evals.points import PointReport
from jaxlab.losses.adversarial import score_both
from jaxlab.losses.lipschitz import critic_of_rows
from jaxlab.models.gan.make import Gan, make_point_gan
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.adversarial import (
    Player,
    init_adversarial_state,
    make_adversarial_step,
    make_optimizers,
)
from jaxlab.train.adversarial_recipes import (
    TOY_RECIPES,
    Recipe,
    RecipeName,
    find_recipe,
)
from jaxlab.train.comparison import Trained, train_all
from jaxlab.train.engine import make_engine
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import make_schedule
from jaxlab.train.step import Context, LossResult

ALL: tuple[RecipeName, ...] = get_args(RecipeName)
SHOWN = ("exact_w1", "critic_w1", "critic_slope", "modes", "high_quality")


@dataclasses.dataclass(frozen=True)
class Config:
    data: Literal["8gaussians", "25gaussians", "swissroll"] = "8gaussians"
    seed: Seed = 0
    loss: RecipeName | Literal["all"] = "wgan-gp"
    steps: Count = 4000  # updates of the generator
    batch_size: Count = 128  # points of a critic's step, over all devices; paper: 256
    critic_steps: Natural = 0  # to each step of the generator; 0: the method's
    long_start: bool = False  # 100 critic steps at times, as WGAN's code
    learning_rate: NotNegative = 0.0  # falls linearly to 0; 0: the method's
    penalty_weight: NotNegative = 0.0  # 0: the method's
    width: Count = 128  # of a layer; the paper's is 512
    generator_depth: Count = 6  # layers: steep between the modes; the paper's has 3
    critic_depth: Count = 3
    max_bias: NotNegative = 0.7  # of the first biases; the paper's is 0
    latent_dim: Count = 2
    ema_decay: Rate = 0.99  # average of the generator to evaluate with; 0: off
    eval_every: Natural = 200  # updates between two moments that are measured and drawn
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
        metrics, facts, fitted = train(config, run)
        return run.finish(metrics, fitted.facts | facts)


def train(config: Config, run: RunFolder) -> Trained:
    """Train, measure and draw."""
    options = config.run
    engine = make_engine(options.mesh, options.engine, batch_size=config.batch_size)
    recipe, recorded = recipe_of(config), make_networks(config)
    run.write_network(recorded)
    gan = recorded.network
    generator, critic = from_linen(gan.generator), from_linen(gan.critic)

    def critic_loss_fn(
        params: Params, state: ModelState, other: Player, real: Array, context: Context
    ) -> LossResult:
        latent_key, place_key = jax.random.split(context.key)
        z = gan.sample_latents(latent_key, len(real))
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
        params: Params, state: ModelState, other: Player, real: Array, context: Context
    ) -> LossResult:
        z = gan.sample_latents(context.key, len(real))
        fake, state = generator.apply(params, state, z, train=True)
        scores, _ = critic.apply(other.params, other.model_state, fake)
        return recipe.losses.generator(scores), (state, {})

    optimizers = make_optimizers(recipe)
    key, ema = jax.random.key(config.seed), config.ema_decay > 0
    z, x = jnp.zeros((1, gan.latent_dim)), jnp.zeros((1, 2))
    state = init_adversarial_state(
        generator, critic, optimizers, key, engine.mesh, z, x, ema=ema
    )
    step = make_adversarial_step(
        critic_loss_fn,
        generator_loss_fn,
        optimizers,
        batch_size=config.batch_size,
        clip=recipe.clip,
        schedule=make_schedule("linear", recipe.learning_rate, config.steps),
        ema_decay=config.ema_decay,
    )
    turns = CriticSchedule.original if config.long_start else CriticSchedule
    batches = toy_batches(
        TOY_DATA[config.data],
        config.batch_size,
        turns(recipe.critic_steps),
        config.seed,
        engine.mesh,
    )
    report = make_report(config)
    size = num_elements((state.generator.params, state.critic.params))
    run.say(f"{config.loss} of {size:,} parameters on {config.data}")
    run.say(f"W1 of two batches of the data {report.floor:.3g}")
    if run.checkpoints.latest_step() is None:
        report(state, run.path)  # the first picture
    fitted = fit(
        engine.compile(step, state),
        state,
        batches,
        steps=config.steps,
        batch_size=config.batch_size,
        run=run,
        evaluate=lambda state: report(state, run.path),
        eval_every=config.eval_every,
    )
    metrics, facts = report(fitted.state, run.path), {"w1_of_data": report.floor}
    run.write_summary(metrics, fitted.facts | facts)
    report.draw(run.path)
    return Trained(metrics, facts, fitted)


def compare(config: Config) -> dict[str, float]:
    """Train with all losses, each in a folder of its own, and lay them side by side."""
    configs = {str(name): dataclasses.replace(config, loss=name) for name in ALL}
    with RunFolder("wgan_toy", config) as run:
        rows = train_all(run, configs, train, "test/exact_w1")
        report = make_report(configs[ALL[0]])
        report.compare(run.path, configs)
        names = ["name", *(n for n in SHOWN if n in rows[0]), "seconds"]
        run.say("\n".join(table_lines([{n: row[n] for n in names} for row in rows])))
        return run.finish({r["name"]: r["exact_w1"] for r in rows}, {"losses": rows})


def recipe_of(config: Config) -> Recipe:
    """Return the method, with the settings that the flags change."""
    return find_recipe(
        config.loss,
        recipes=TOY_RECIPES,
        critic_steps=config.critic_steps,
        learning_rate=config.learning_rate,
        penalty_weight=config.penalty_weight,
    )


def make_networks(config: Config) -> Recorded[Gan]:
    """Make the two networks."""
    return record(
        make_point_gan,
        width=config.width,
        generator_depth=config.generator_depth,
        critic_depth=config.critic_depth,
        latent_dim=config.latent_dim,
        max_bias=config.max_bias,
        spectral=recipe_of(config).spectral,
    )


def make_report(config: Config) -> PointReport:
    """Make what measures and draws."""
    return PointReport(make_networks(config).network, config.data, seed=config.seed)


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
