"""GAN, WGAN, WGAN-GP and others on images (Goodfellow 2014; Gulrajani et al. 2017).

python -m experiments.wgan_cifar                     8x8 digits, minutes on two cores
python -m experiments.wgan_cifar --data cifar10 --model resnet --conditional acgan
"""

import dataclasses
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
import tyro

from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import SPECTRAL, from_linen
from jaxlab.core.precision import Precision, compute_dtype
from jaxlab.core.pytree import num_elements
from jaxlab.core.typing import Array, Batch, Key, Metrics, ModelState, Params, Scalar
from jaxlab.data.batches import training_batches
from jaxlab.data.critic_order import CriticOrder, CriticSchedule
from jaxlab.data.images.augment import random_flip, to_unit_range
from jaxlab.data.images.find import find_images
from jaxlab.data.order import Order
from jaxlab.evals.feature_networks import find_features
from jaxlab.evals.images import ImageReport
from jaxlab.losses.adversarial import score_both, scores_of
from jaxlab.losses.lipschitz import critic_of_rows
from jaxlab.models.gan.make import Gan, ImageGan, make_gan
from jaxlab.models.gan.parts import Conditional
from jaxlab.train import adversarial
from jaxlab.train.adversarial import Player, PlayerLossFn
from jaxlab.train.adversarial_recipes import Recipe, RecipeName, find_recipe
from jaxlab.train.engine import compile_step
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import make_schedule
from jaxlab.train.run_folder import RunFolder, RunOptions

Update: TypeAlias = tuple[Scalar, tuple[ModelState, Metrics]]


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "digits"  # cifar10, mnist, a TFDS set, .npz, folder
    image_size: int = 0  # pixels a side to resize to; 0: as stored
    seed: int = 0
    loss: RecipeName = "wgan-gp"
    model: ImageGan = "mlp"
    conditional: Conditional = "none"
    class_weight: float = 0.1  # of the generator's class loss (acgan)
    width: int = 1024  # channels, as the model counts them
    latent_dim: int = 128
    steps: int = 3000  # updates of the generator
    batch_size: int = 64  # images an update of the critic, over all devices
    critic_steps: int = 3  # to each step of the generator; 0: the method's
    long_start: bool = False  # 100 critic steps at times, as WGAN's code
    learning_rate: float = 2e-3  # falls linearly to 0; 0: the method's
    penalty_weight: float = 1.0  # 0: the method's
    ema_decay: float = 0.999  # average of the generator to evaluate with; 0: off
    flip: bool = False  # mirror half of the images
    features: str = ""  # file of Inception's weights; empty: a classifier trained here
    num_samples: int = 10_000  # images to score, at most as many as are held out
    precision: Precision = "float32"  # of the networks
    eval_every: int = 500  # updates
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions()


PAPER = Config(  # of WGAN-GP on CIFAR-10; any data but digits start from it
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
    mesh = make_mesh(config.run.mesh, batch_size=config.batch_size)
    data = find_images(config.data, config.run.data_dir, image_size=config.image_size)
    recipe = find_recipe(
        config.loss,
        penalty_weight=config.penalty_weight,
        critic_steps=config.critic_steps,
        learning_rate=config.learning_rate,
    )
    gan = make_gan(
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
    generator, critic = from_linen(gan.generator), from_linen(gan.critic)
    schedule = make_schedule("linear", recipe.learning_rate, config.steps)
    optimizers = adversarial.make_optimizers(recipe)
    latents, images = (jnp.zeros(s) for s in ((1, gan.latent_dim), (1, *data.shape)))
    state = adversarial.init_adversarial_state(
        *(generator, critic, optimizers, jax.random.key(config.seed), mesh),
        *(latents, images, jnp.zeros(1, jnp.int32)),
        ema=config.ema_decay > 0,
    )
    step = adversarial.make_adversarial_step(
        *make_losses(config, recipe, gan),
        optimizers,
        batch_size=config.batch_size,
        clip=recipe.clip,
        schedule=schedule,
        ema_decay=config.ema_decay,
    )
    turns = CriticSchedule.original if config.long_start else CriticSchedule
    rows = Order(len(data.train), config.batch_size, config.seed)
    order = CriticOrder(rows, turns(recipe.critic_steps))
    with RunFolder("wgan_cifar", config) as run:
        features = find_features(config.features, data)
        report = ImageReport(
            *(generator, critic, gan.sample_latents, data, order, features),
            num_samples=config.num_samples,
            sees_labels=config.conditional == "projection",
        )
        sizes = [num_elements(p.params) for p in (state.generator, state.critic)]
        run.say(
            "{} of {:,} and {:,} parameters on {}".format(config.model, *sizes, data)
        )
        run.say(f"features: {features}")
        start = report(state, run.path)
        state = fit(
            compile_step(step, state, mesh, engine=config.run.engine),
            state,
            training_batches(data.train, order, mesh, config.run.stream_workers),
            steps=config.steps,
            batch_size=config.batch_size,
            run=run,
            evaluate=lambda state: report(state, run.path),
            eval_every=config.eval_every,
        )
        facts = {"features": features.name, "features_accuracy": features.accuracy}
        return run.finish(report.last(state, run.path, start), **facts)


def make_losses(
    config: Config, recipe: Recipe, gan: Gan
) -> tuple[PlayerLossFn, PlayerLossFn]:
    """Write out what the critic minimises, and what the generator does."""
    generator, critic = from_linen(gan.generator), from_linen(gan.critic)
    is_acgan = config.conditional == "acgan"

    def critic_loss_fn(
        params: Params,
        state: ModelState,
        other: Player,
        batch: Batch,
        key: Key[Array, ""],
    ) -> Update:
        keys = jax.random.split(key, 6)
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
            loss += class_loss(of_real, labels)
            metrics["accuracy"] = (of_real[1].argmax(-1) == labels).mean()
        return loss, (new_state, metrics)

    def generator_loss_fn(
        params: Params,
        state: ModelState,
        other: Player,
        batch: Batch,
        key: Key[Array, ""],
    ) -> Update:
        labels, keys = batch["label"], jax.random.split(key)
        z = gan.sample_latents(keys[0], len(labels))
        fake, state = generator.apply(params, state, z, labels, train=True)
        moves = SPECTRAL not in other.model_state  # its vectors are the critic's
        out, _ = critic.apply(
            other.params, other.model_state, fake, labels, key=keys[1], train=moves
        )
        loss = recipe.losses.generator(scores_of(out))
        if is_acgan:
            loss += config.class_weight * class_loss(out, labels)
        return loss, (state, {})

    return critic_loss_fn, generator_loss_fn


def class_loss(out: tuple[Array, Array], labels: Array) -> Scalar:
    """Give the cross-entropy of the classes that a critic names."""
    return optax.softmax_cross_entropy_with_integer_labels(out[1], labels).mean()


if __name__ == "__main__":
    recipes = {"digits": Config(), "*": PAPER}
    launch(main, Config(), smoke=SMOKE, recipes=recipes, description=__doc__)
