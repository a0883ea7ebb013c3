"""ViT on CIFAR-10 or any image set (Dosovitskiy et al. 2021, arXiv:2010.11929).

python -m experiments.vit_cifar                  CIFAR-10, ViT-Ti/4
python -m experiments.vit_cifar --data digits    8x8 digits, a minute on two cores
"""

import dataclasses

import jax
import numpy as np
import tyro

from jaxlab.core.model import from_linen
from jaxlab.core.precision import Precision, compute_dtype
from jaxlab.core.pytree import num_elements
from jaxlab.core.ranges import Count, Natural, NotNegative, Rate, Seed
from jaxlab.core.recorded import record
from jaxlab.core.typing import Array, Batch, ModelState, Params
from jaxlab.data.batches import training_batches
from jaxlab.data.fingerprint import fingerprint_sources
from jaxlab.data.images.augment import random_flip, random_shift, to_unit_range
from jaxlab.data.images.find import find_images
from jaxlab.data.order import Order
from jaxlab.losses.labels import label_cross_entropy
from jaxlab.models.vision.vit import TENSOR_RULES, ViT
from jaxlab.nn.image_tokens import Stem
from jaxlab.plots.images import predictions
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.engine import make_engine
from jaxlab.train.evaluate import make_collector, means
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.optim import adamw, warmup_cosine
from jaxlab.train.state import TrainState, eval_params, init_state
from jaxlab.train.step import Context, LossResult, make_train_step


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "cifar10"  # digits, cifar10, cifar100, mnist, a TFDS set, .npz, folder
    image_size: Natural = 0  # pixels a side to resize to; 0: as stored
    valid_rate: Rate = 0.1  # share of the training rows that choose; 0: keep the last
    seed: Seed = 0
    steps: Count = 20_000  # updates
    batch_size: Count = 128  # images an update, over all devices
    learning_rate: NotNegative = 1e-3  # peak, after warm-up
    warmup_rate: Rate = 0.05  # share of the steps
    weight_decay: NotNegative = 0.05
    label_smoothing: Rate = 0.1
    max_shift: Natural = 4  # pixels of random shift
    flip: bool = True  # mirror half of the images
    stem: Stem = "patch"  # conv: two 3x3 convolutions before the patches
    patch_size: Count = 4  # pixels
    width: Count = 192
    depth: Count = 12
    num_heads: Count = 3
    drop_path_rate: Rate = 0.1  # stochastic depth of the last block
    accumulate_steps: Count = 1  # parts of a batch, to save memory
    ema_decay: Rate = 0.0  # average of the parameters to evaluate with; 0: off
    precision: Precision = "float32"  # of the computation
    eval_every: Natural = 1000  # updates
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions()


DIGITS = Config(
    data="digits",
    steps=1200,
    batch_size=64,
    learning_rate=3e-3,
    weight_decay=1.0,
    max_shift=1,
    flip=False,
    stem="conv",
    patch_size=2,
    width=64,
    depth=2,
    num_heads=4,
    eval_every=200,
)
SMOKE = dataclasses.replace(DIGITS, steps=6, depth=1, stem="patch", eval_every=3)


def main(config: Config) -> dict[str, float]:
    """Train, evaluate, draw, and return the final metrics."""
    options = config.run
    engine = make_engine(options.mesh, options.engine, batch_size=config.batch_size)
    data = find_images(
        config.data,
        options.data_dir,
        image_size=config.image_size,
        valid_rate=config.valid_rate,
    )
    recorded = record(
        ViT,
        num_classes=len(data.class_names),
        patch_size=config.patch_size,
        width=config.width,
        depth=config.depth,
        num_heads=config.num_heads,
        stem=config.stem,
        drop_path_rate=config.drop_path_rate,
        dtype=compute_dtype(config.precision),
    )
    vit = from_linen(recorded.network)
    warmup_steps = int(config.warmup_rate * config.steps)
    schedule = warmup_cosine(config.learning_rate, config.steps, warmup_steps)
    optimizer = adamw(schedule, weight_decay=config.weight_decay, clip_norm=1.0)

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, context: Context
    ) -> LossResult:
        shift_key, flip_key, key = jax.random.split(context.key, 3)
        images = random_shift(shift_key, batch["image"], config.max_shift)
        images = to_unit_range(random_flip(flip_key, images) if config.flip else images)
        logits, model_state = vit.apply(
            params, model_state, images, key=key, train=True
        )
        loss = label_cross_entropy(logits, batch["label"], config.label_smoothing)
        accuracy = (logits.argmax(-1) == batch["label"]).mean()
        return loss.mean(), (model_state, {"accuracy": accuracy})

    def per_example(state: TrainState, batch: Batch) -> dict[str, Array]:
        images, labels = to_unit_range(batch["image"]), batch["label"]
        logits, _ = vit.apply(eval_params(state), state.model_state, images)
        loss, guess = label_cross_entropy(logits, labels), logits.argmax(-1)
        return {
            "loss": loss,
            "accuracy": guess == labels,
            "label": labels,
            "prediction": guess,
        }

    key, image = jax.random.key(config.seed), np.zeros((1, *data.shape), np.float32)
    ema = config.ema_decay > 0
    state = init_state(
        vit, optimizer, key, engine.mesh, image, rules=TENSOR_RULES, ema=ema
    )
    step = make_train_step(
        loss_fn, optimizer, schedule, config.accumulate_steps, config.ema_decay
    )
    order = Order(len(data.train), config.batch_size, config.seed)
    # What cannot be read is told before training.
    held_out = {
        name: make_collector(per_example, source, engine.mesh)
        for name, source in data.held_out.items()
    }
    valid = held_out.get("valid")
    with RunFolder("vit_cifar", config) as run:
        run.say(f"ViT of {num_elements(state.params):,} parameters on {data}")
        run.say(data.layout)
        run.write_network(
            recorded,
            preprocessing={"shape": data.shape, "range": (-1, 1)},
            class_names=data.class_names,
            data=fingerprint_sources(data.train, *data.held_out.values()),
        )
        fitted = fit(
            engine.compile(step, state),
            state,
            training_batches(data.train, order, engine.mesh, options.stream_workers),
            steps=config.steps,
            batch_size=config.batch_size,
            run=run,
            evaluate=None
            if valid is None
            else lambda state: means(valid(state), "loss", "accuracy"),
            eval_every=config.eval_every,
            best="accuracy",
            held_out="valid",
        )
        values = held_out["test"](fitted.chosen)
        scores = means(values, "loss", "accuracy")
        run.write_summary(scores, fitted.facts | data.facts)
        predictions(
            run.path,
            values["label"],
            values["prediction"],
            lambda chosen: data.test.rows(chosen)["image"],
            data.class_names,
        )
        return run.finish(scores, fitted.facts | data.facts)


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, recipes={"digits": DIGITS}, description=__doc__)
