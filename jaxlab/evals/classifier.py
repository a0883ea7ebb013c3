"""A classifier of images trained in one call: for its features, not for records."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import tempfile
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from jaxlab.core.compilation import cache_folder
from jaxlab.core.errors import InputError
from jaxlab.core.model import Model, from_linen
from jaxlab.core.pytree import all_finite, fingerprint_json
from jaxlab.core.recorded import Recorded
from jaxlab.core.typing import Array, Batch, ModelState, Params
from jaxlab.data.batches import training_batches
from jaxlab.data.fingerprint import fingerprint_sources
from jaxlab.data.images.augment import random_flip, random_shift, to_unit_range
from jaxlab.data.images.image_set import ImageData
from jaxlab.data.order import Order
from jaxlab.evals.open_run import open_run
from jaxlab.losses.labels import label_cross_entropy
from jaxlab.runs.run_files import FORMAT
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.engine import make_engine
from jaxlab.train.evaluate import make_collector, means
from jaxlab.train.loop import NonFiniteError, fit
from jaxlab.train.optim import adamw, warmup_cosine
from jaxlab.train.state import TrainState, init_state
from jaxlab.train.step import Context, LossFn, LossResult, make_train_step

__all__ = ["Classifier", "ClassifierRecipe", "classifier_recipe", "train_classifier"]

_FORMAT = 2  # of what is trained: raised when the same configuration trains another


@dataclasses.dataclass(frozen=True)
class ClassifierRecipe:
    """How to train a classifier of images, with AdamW and a cosine.

    Attributes:
        steps: Updates.
        batch_size: Images an update.
        learning_rate: Largest, after a tenth of the steps.
        weight_decay: Of kernels, decoupled.
        label_smoothing: Share of the target that is spread over all classes.
        max_shift: Pixels of random shift.
        flip: Mirror half of the images.
    """

    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 1e-2
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    max_shift: int = 0
    flip: bool = False


def classifier_recipe(data: ImageData) -> ClassifierRecipe:
    """Choose a recipe by the size of a data set; only colour images are mirrored."""
    is_colour = data.shape[2] > 1
    if len(data.train) < 10_000:
        return ClassifierRecipe(flip=is_colour)
    steps = 5000 if is_colour else 1500
    return ClassifierRecipe(steps, max_shift=1, flip=is_colour)


class Classifier(NamedTuple):
    """A trained classifier.

    Attributes:
        params: NumPy arrays.
        model_state: What the network keeps besides; empty for most.
        accuracy: Share of the test images that it names right.
    """

    params: Params
    model_state: ModelState
    accuracy: float


@dataclasses.dataclass(frozen=True)
class _Config:
    """All that a classifier depends on; the name of its folder is made of it."""

    data: str  # fingerprint
    maker: str  # of the network
    fields: dict[str, Any]  # of the network
    recipe: ClassifierRecipe
    seed: int
    device: str  # whose rounding it has
    jax: str = jax.__version__
    format: tuple[int, int] = (_FORMAT, FORMAT)
    run: RunOptions = RunOptions()

    @property
    def name(self) -> str:
        """The data's fingerprint, and that of the rest."""
        fields = {**dataclasses.asdict(self), "run": None}
        return f"{self.data}-{fingerprint_json(fields)}"


def train_classifier(
    network: Recorded[nn.Module],
    data: ImageData,
    *,
    recipe: ClassifierRecipe | None = None,
    seed: int = 0,
    folder: pathlib.Path | None = None,
    resume_path: pathlib.Path | None = None,
    is_visible: bool = True,
) -> Classifier:
    """Train a classifier of images in [-1, 1], or open it if it was trained before.

    Nothing is chosen: all training images are trained on, the last state is kept, and
    the test images are looked at once, at the end.

    It is a run like any other. Its folder is named by a fingerprint of the data and of
    all else that it depends on; in it lie its learning curves and its parameters.

    Args:
        network: From images to logits, with as many classes as the data; see `record`.
        data: The images.
        recipe: How to train; by default `classifier_recipe(data)`.
        seed: Seed of the parameters, the order and the augmentation.
        folder: Where the run's folder lies, shared by all processes; by default the
            folder `classifiers` of `cache_folder()`.
        resume_path: What `--run-dir` must name to go on after Ctrl-C; by default the
            run's own folder.
        is_visible: Whether to show progress.

    Raises:
        InputError: If the recipe does not fit the data, or training diverged.
    """
    config = _Config(
        data=fingerprint_sources(data.train, data.test),
        maker=network.maker,
        fields=network.fields,
        recipe=recipe or classifier_recipe(data),
        seed=seed,
        device=f"{jax.devices()[0].device_kind} x {jax.device_count()}",
    )
    path = (folder or cache_folder() / "classifiers") / config.name
    found = _open(path, network)
    if found is not None:
        return found
    options = dataclasses.replace(config.run, run_dir=str(path))
    config = dataclasses.replace(config, run=options)
    try:
        run = RunFolder(
            "classifier",
            config,
            resume_path=resume_path or path,
            is_visible=is_visible,
        )
    except InputError as error:  # not writable, or another process is at it
        warnings.warn(f"the classifier is not kept: {error}", stacklevel=2)
        with tempfile.TemporaryDirectory() as temporary:
            options = dataclasses.replace(options, run_dir=f"{temporary}/run")
            config = dataclasses.replace(config, run=options)
            run = RunFolder("classifier", config, is_visible=is_visible)
            return _train(network, data, config, run)
    return _train(network, data, config, run)


def _open(path: pathlib.Path, network: Recorded[nn.Module]) -> Classifier | None:
    """Open a finished run; one that is damaged is put aside, to be trained anew."""
    file = path / "summary.json"
    if not file.exists():
        return None
    try:
        summary = json.loads(file.read_text())
        run = open_run(path, makers={network.maker: lambda **fields: network.network})
        accuracy = float(summary["metrics"]["accuracy"])
        params, state = jax.tree.map(np.asarray, (run.params, run.model_state))
        return Classifier(params, state, accuracy)
    except (InputError, OSError, ValueError, TypeError, KeyError) as error:
        aside = path.with_name(f"{path.name}.damaged")
        warnings.warn(
            f"the classifier in {path} is trained again, since it cannot be read "
            f"({error}); what is there is put aside as {aside.name}",
            stacklevel=3,
        )
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(OSError):
            path.rename(aside)
        return None


def _train(
    network: Recorded[nn.Module],
    data: ImageData,
    config: _Config,
    run: RunFolder,
) -> Classifier:
    recipe = config.recipe
    model, warmup = from_linen(network.network), recipe.steps // 10
    schedule = warmup_cosine(
        recipe.learning_rate, recipe.steps, min(warmup, recipe.steps - 1)
    )
    optimizer = adamw(schedule, weight_decay=recipe.weight_decay, clip_norm=1.0)
    engine = make_engine("", batch_size=recipe.batch_size)
    key, image = jax.random.key(config.seed), np.zeros((1, *data.shape), np.float32)
    state = init_state(model, optimizer, key, engine.mesh, image)
    step = make_train_step(_make_loss(model, recipe, data), optimizer)
    order = Order(len(data.train), recipe.batch_size, config.seed)

    def per_example(state: TrainState, batch: Batch) -> dict[str, Array]:
        images = to_unit_range(batch["image"])
        logits, _ = model.apply(state.params, state.model_state, images)
        return {"accuracy": logits.argmax(-1) == batch["label"]}

    collect = make_collector(per_example, data.test, engine.mesh)
    with run:
        run.write_network(
            network,
            preprocessing={"shape": data.shape, "range": (-1, 1)},
            class_names=data.class_names,
        )
        try:
            fitted = fit(
                engine.compile(step, state),
                state,
                training_batches(data.train, order, engine.mesh),
                steps=recipe.steps,
                batch_size=recipe.batch_size,
                run=run,
                evaluate=lambda state: means(collect(state), "accuracy"),
            )
            has_diverged = not all_finite(fitted.state.params)
        except NonFiniteError:
            has_diverged = True
        if not has_diverged:
            metrics = run.finish(means(collect(fitted.state), "accuracy"), fitted.facts)
    if has_diverged:
        with contextlib.suppress(OSError):
            shutil.rmtree(run.path)
        raise InputError(
            f"the classifier diverged with learning_rate {recipe.learning_rate}; give "
            "a lower one"
        )
    params, model_state = jax.tree.map(
        np.asarray, (fitted.state.params, fitted.state.model_state)
    )
    return Classifier(params, model_state, metrics["accuracy"])


def _make_loss(model: Model, recipe: ClassifierRecipe, data: ImageData) -> LossFn:
    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, context: Context
    ) -> LossResult:
        shift_key, flip_key, key = jax.random.split(context.key, 3)
        images = batch["image"]
        if recipe.max_shift:
            images = random_shift(shift_key, images, recipe.max_shift)
        if recipe.flip:
            images = random_flip(flip_key, images)
        logits, model_state = model.apply(
            params, model_state, to_unit_range(images), key=key, train=True
        )
        num_classes = len(data.class_names)
        if logits.shape[-1] != num_classes:
            raise InputError(
                f"the model has {logits.shape[-1]} outputs, but {data.name} has "
                f"{num_classes} classes; make it with num_classes={num_classes}"
            )
        loss = label_cross_entropy(logits, batch["label"], recipe.label_smoothing)
        accuracy = (logits.argmax(-1) == batch["label"]).mean()
        return loss.mean(), (model_state, {"accuracy": accuracy})

    return loss_fn
