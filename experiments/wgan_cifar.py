"""GAN, WGAN, WGAN-GP and others on images (Goodfellow 2014; Gulrajani et al. 2017).

python -m experiments.wgan_cifar                     8x8 digits, minutes on two cores
python -m experiments.wgan_cifar --data cifar10 --model resnet --conditional acgan
"""

import dataclasses

import jax
import jax.numpy as jnp
import tyro

from jaxlab.core.model import SPECTRAL, from_linen
from jaxlab.core.precision import Precision, compute_dtype
from jaxlab.core.pytree import num_elements
from jaxlab.core.ranges import Count, Natural, NotNegative, Rate, Seed
from jaxlab.core.recorded import record
from jaxlab.core.typing import Batch, ModelState, Params
from jaxlab.data.batches import training_batches
from jaxlab.data.critic_order import CriticOrder, CriticSchedule
from jaxlab.data.fingerprint import fingerprint_sources
from jaxlab.data.images.augment import random_flip, to_unit_range
from jaxlab.data.images.find import find_images
from jaxlab.data.order import Order
from jaxlab.evals.feature_networks import find_features
from jaxlab.evals.images import ImageReport
from jaxlab.losses.adversarial import score_both, scores_of
from jaxlab.losses.labels import label_cross_entropy
from jaxlab.losses.lipschitz import critic_of_rows
from jaxlab.models.gan.make import Gan, ImageGan, make_gan
from jaxlab.models.gan.parts import Conditional
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.adversarial import (
    Player,
    PlayerLossFn,
    init_adversarial_state,
    make_adversarial_step,
    make_optimizers,
)
from jaxlab.train.adversarial_recipes import Recipe, RecipeName, find_recipe
from jaxlab.train.engine import make_engine
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import make_schedule
from jaxlab.train.step import Context, LossResult


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "digits"  # cifar10, mnist, a TFDS set, .npz, folder
    image_size: Natural = 0  # pixels a side to resize to; 0: as stored
    seed: Seed = 0
    loss: RecipeName = "wgan-gp"
    model: ImageGan = "mlp"
    conditional: Conditional = "none"
    class_weight: NotNegative = 0.1  # of the generator's class loss (acgan)
    width: Count = 1024  # channels, as the model counts them
    latent_dim: Count = 128
    steps: Count = 3000  # updates of the generator
    batch_size: Count = 64  # images an update of the critic, over all devices
    critic_steps: Natural = 3  # to each step of the generator; 0: the method's
    long_start: bool = False  # 100 critic steps at times, as WGAN's code
    learning_rate: NotNegative = 2e-3  # falls linearly to 0; 0: the method's
    penalty_weight: NotNegative = 1.0  # 0: the method's
    ema_decay: Rate = 0.999  # average of the generator to evaluate with; 0: off
    flip: bool = False  # mirror half of the images
    features: str = ""  # file of Inception's weights; empty: a classifier trained here
    num_samples: Count = 10_000  # images to score, at most as many as are held out
    precision: Precision = "float32"  # of the networks
    eval_every: Natural = 500  # updates
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions()


PAPER = Config(  # of WGAN-GP on CIFAR-10; the recipe of any data but digits
    data="cifar10",
    model="cnn",
    width=128,
    steps=100_000,
    critic_steps=0,
    learning_rate=0.0,
    penalty_weight=0.0,
    flip=True,
    eval_every=2000,
)
SMOKE = Config(model="cnn", width=8, steps=4, eval_every=2)


def main(config: Config) -> dict[str, float]:
    """Train, score, draw, and return the final metrics."""
    options = config.run
    engine = make_engine(options.mesh, options.engine, batch_size=config.batch_size)
    data = find_images(config.data, options.data_dir, image_size=config.image_size)
    recipe = find_recipe(
        config.loss,
        penalty_weight=config.penalty_weight,
        critic_steps=config.critic_steps,
        learning_rate=config.learning_rate,
    )
    recorded = record(
        make_gan,
        config.model,
        data.shape,
        width=config.width,
        latent_dim=config.latent_dim,
        conditional=config.conditional,
        num_classes=len(data.class_names),
        spectral=recipe.spectral,
        # A penalised critic has to score each row alone.
        norm="layer" if config.model == "dcgan" and recipe.penalty != "none" else None,
        dtype=compute_dtype(config.precision),
    )
    gan = recorded.network
    generator, critic = from_linen(gan.generator), from_linen(gan.critic)
    key, optimizers = jax.random.key(config.seed), make_optimizers(recipe)
    z, image = jnp.zeros((1, gan.latent_dim)), jnp.zeros((1, *data.shape))
    label, ema = jnp.zeros(1, jnp.int32), config.ema_decay > 0
    state = init_adversarial_state(
        generator, critic, optimizers, key, engine.mesh, z, image, label, ema=ema
    )
    step = make_adversarial_step(
        *make_losses(config, recipe, gan),
        optimizers,
        batch_size=config.batch_size,
        clip=recipe.clip,
        schedule=make_schedule("linear", recipe.learning_rate, config.steps),
        ema_decay=config.ema_decay,
    )
    turns = CriticSchedule.original if config.long_start else CriticSchedule
    rows = Order(len(data.train), config.batch_size, config.seed)
    order = CriticOrder(rows, turns(recipe.critic_steps))
    with RunFolder("wgan_cifar", config) as run:
        run.write_network(
            recorded,
            preprocessing={"shape": data.shape, "range": (-1, 1)},
            class_names=data.class_names,
            data=fingerprint_sources(data.train, data.test),
        )
        features = find_features(config.features, data, run.path)
        report = ImageReport(gan, data, order, features, num_samples=config.num_samples)
        size = num_elements((state.generator.params, state.critic.params))
        run.say(f"{config.model} of {size:,} parameters on {data}, features {features}")
        run.say(data.layout)
        start = report(state, run.path)
        fitted = fit(
            engine.compile(step, state),
            state,
            training_batches(data.train, order, engine.mesh, options.stream_workers),
            steps=config.steps,
            batch_size=config.batch_size,
            run=run,
            evaluate=lambda state: report(state, run.path),
            eval_every=config.eval_every,
        )
        facts = {"features": features.name, "features_accuracy": features.accuracy}
        facts |= fitted.facts | data.facts
        last = report.last(fitted.state, run.path, start)
        run.write_summary(last, facts)
        report.draw(run.path)
        return run.finish(last, facts)


def make_losses(
    config: Config, recipe: Recipe, gan: Gan
) -> tuple[PlayerLossFn, PlayerLossFn]:
    """Write out what the critic minimises, and what the generator does."""
    is_acgan = config.conditional == "acgan"
    generator, critic = from_linen(gan.generator), from_linen(gan.critic)

    def critic_loss_fn(
        params: Params, state: ModelState, other: Player, batch: Batch, context: Context
    ) -> LossResult:
        keys = jax.random.split(context.key, 6)
        images, labels = batch["image"], batch["label"]
        real = to_unit_range(random_flip(keys[0], images) if config.flip else images)
        real += jax.random.uniform(keys[1], real.shape, maxval=1 / 128)  # no steps
        z = gan.sample_latents(keys[2], len(real))
        fake, _ = generator.apply(
            other.params, other.model_state, z, labels, train=True
        )
        of_real, of_fake, new_state = score_both(
            critic, params, state, real, fake, labels, key=keys[3]
        )
        real_scores, fake_scores = scores_of(of_real), scores_of(of_fake)
        loss = recipe.losses.critic(real_scores, fake_scores)
        metrics = {"critic_gap": real_scores.mean() - fake_scores.mean()}
        if recipe.penalty != "none":
            rows = critic_of_rows(critic, params, state, key=keys[5], labels=labels)
            penalty = recipe.penalize(rows, real, fake, keys[4])
            loss, metrics["penalty"] = loss + penalty, penalty
        if is_acgan:
            loss += label_cross_entropy(of_real[1], labels).mean()
            metrics["accuracy"] = (of_real[1].argmax(-1) == labels).mean()
        return loss, (new_state, metrics)

    def generator_loss_fn(
        params: Params, state: ModelState, other: Player, batch: Batch, context: Context
    ) -> LossResult:
        labels, keys = batch["label"], jax.random.split(context.key)
        z = gan.sample_latents(keys[0], len(labels))
        fake, state = generator.apply(params, state, z, labels, train=True)
        moves = SPECTRAL not in other.model_state  # its vectors are the critic's
        out, _ = critic.apply(
            other.params, other.model_state, fake, labels, key=keys[1], train=moves
        )
        loss = recipe.losses.generator(scores_of(out))
        if is_acgan:
            loss += config.class_weight * label_cross_entropy(out[1], labels).mean()
        return loss, (state, {})

    return critic_loss_fn, generator_loss_fn


if __name__ == "__main__":
    launch(
        main,
        Config(),
        smoke=SMOKE,
        recipes={"digits": Config(), "paper": PAPER},
        by_data={"digits": "digits", "*": "paper"},
        description=__doc__,
    )
