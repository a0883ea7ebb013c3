"""SimCLR on digits (Chen et al. 2020, arXiv:2002.05709): a loss that knows its step.

python docs/examples/simclr_digits.py --steps 600
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from sklearn.neighbors import KNeighborsClassifier

from jaxlab.core.model import from_linen
from jaxlab.core.recorded import record
from jaxlab.core.typing import Array, Batch, ModelState, Params
from jaxlab.data.batches import Source, training_batches
from jaxlab.data.images.augment import random_shift, to_unit_range
from jaxlab.data.images.find import find_images
from jaxlab.data.images.image_set import ImageData
from jaxlab.data.order import Order
from jaxlab.models.vision.feature_classifier import FeatureClassifier
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.engine import make_engine
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.state import init_state
from jaxlab.train.step import Context, LossResult, make_train_step, whole_batch


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = 0
    steps: int = 600  # updates
    batch_size: int = 256  # images an update, each seen in two views
    temperature: float = 0.5  # at the end; twice as high at the start
    max_shift: int = 2  # pixels
    learning_rate: float = 3e-3
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions()


SMOKE = Config(steps=3, batch_size=16)


def main(config: Config) -> dict[str, float]:
    """Train an encoder, and return its loss."""
    # One device: on a CPU of few cores, the several collectives of such a loss can wait
    # for each other's threads for ever.
    mesh = config.run.mesh or "data=1"
    engine = make_engine(mesh, config.run.engine, batch_size=config.batch_size)
    data = find_images("digits")
    network = record(FeatureClassifier, len(data.class_names))
    model = from_linen(network.network, method=FeatureClassifier.features)
    optimizer = optax.adam(config.learning_rate)

    @whole_batch  # each row is told apart from all others
    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, context: Context
    ) -> LossResult:
        views = [
            to_unit_range(random_shift(key, batch["image"], config.max_shift))
            for key in jax.random.split(context.key)
        ]
        found, _ = model.apply(params, {}, jnp.concatenate(views), train=True)
        squares = jnp.square(found.pooled).sum(-1, keepdims=True)
        z = found.pooled * jax.lax.rsqrt(squares + 1e-6)
        temperature = config.temperature * (2 - context.step / config.steps)
        return nt_xent(z, temperature), (model_state, {"temperature": temperature})

    key, image = jax.random.key(config.seed), np.zeros((1, *data.shape), np.float32)
    state = init_state(model, optimizer, key, engine.mesh, image)
    step, order = (
        make_train_step(loss_fn, optimizer),
        Order(len(data.train), config.batch_size),
    )
    untrained = neighbour_accuracy(network.network, state.params, data)
    with RunFolder("simclr_digits", config) as run:
        run.write_network(network)
        fitted = fit(
            engine.compile(step, state),
            state,
            training_batches(data.train, order, engine.mesh),
            steps=config.steps,
            batch_size=config.batch_size,
            run=run,
        )
        trained = neighbour_accuracy(network.network, fitted.state.params, data)
        return run.finish({"untrained": untrained, "trained": trained}, fitted.facts)


def nt_xent(z: Array, temperature: Array) -> Array:
    """Return the cross-entropy of each view's partner among all other views."""
    logits = z @ z.T / temperature - 1e9 * jnp.eye(len(z))
    partners = jnp.roll(jnp.arange(len(z)), len(z) // 2)
    return optax.softmax_cross_entropy_with_integer_labels(logits, partners).mean()


def neighbour_accuracy(
    module: FeatureClassifier, params: Params, data: ImageData
) -> float:
    """Tell how often an image has the class of its nearest training image."""
    apply = jax.jit(functools.partial(module.apply, method="features"))

    def features(source: Source) -> tuple[np.ndarray, np.ndarray]:
        rows = source.rows(np.arange(len(source)))
        found = apply({"params": params}, to_unit_range(jnp.asarray(rows["image"])))
        return np.asarray(found.pooled), rows["label"]

    nearest = KNeighborsClassifier(1, metric="cosine").fit(*features(data.train))
    return float(nearest.score(*features(data.test)))


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
