"""A classifier trained in one call and kept on disk: for features, not for records."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import warnings
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jaxlab.core.compilation import cache_folder
from jaxlab.core.distributed import is_main_process
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import Model
from jaxlab.core.progress import make_progress
from jaxlab.core.pytree import all_finite, flat_paths
from jaxlab.core.typing import (
    Array,
    Batch,
    Key,
    Metrics,
    ModelState,
    Params,
    PyTree,
    Scalar,
)
from jaxlab.data.batches import Source, evaluation_batches, training_batches
from jaxlab.data.images.augment import random_flip, random_shift, to_unit_range
from jaxlab.data.images.image_set import ImageData
from jaxlab.data.order import Order
from jaxlab.train.engine import compile_step
from jaxlab.train.evaluate import make_collector, means
from jaxlab.train.optim import adamw, warmup_cosine
from jaxlab.train.state import TrainState, init_state
from jaxlab.train.step import LossFn, Step, make_train_step

__all__ = ["Classifier", "ClassifierRecipe", "classifier_recipe", "train_classifier"]

_FORMAT = "1"  # of the files, and of what the program of a step does not show
_SAMPLED_ROWS = 512  # of each part of a data set, for its fingerprint
_LOG_EVERY = 20  # updates
_EVAL_BATCH = 256
_ACCURACY, _TRAINED = "accuracy", "trained"


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


def train_classifier(
    model: Model,
    data: ImageData,
    *,
    recipe: ClassifierRecipe | None = None,
    seed: int = 0,
    cache: bool = True,
    visible: bool = True,
) -> Classifier:
    """Train a classifier of images in [-1, 1], or read it if it was trained before.

    It is kept in the folder `classifiers` of `cache_folder()`, under a fingerprint of
    all that it depends on: the programs of its start and of a step (which hold model
    and recipe), a sample of the data, the seed, the devices and the version of JAX.
    The same arguments on the same machine give the same parameters, bit for bit.

    Args:
        model: From images to logits, with as many classes as the data.
        data: The images.
        recipe: By default `classifier_recipe(data)`.
        seed: Of the parameters, the order and the augmentation.
        cache: Whether to read and to keep it; several processes never do.
        visible: Show progress.

    Raises:
        InputError: If the recipe does not fit the data, or training diverged.
    """
    recipe = recipe or classifier_recipe(data)
    schedule = warmup_cosine(
        recipe.learning_rate, recipe.steps, min(recipe.steps // 10, recipe.steps - 1)
    )
    optimizer = adamw(schedule, weight_decay=recipe.weight_decay, clip_norm=1.0)
    step = make_train_step(_make_loss(model, recipe, data), optimizer)
    mesh = make_mesh(batch_size=recipe.batch_size)

    def start(key: Key[Array, ""]) -> TrainState:
        image = np.zeros((1, *data.shape), np.float32)
        return init_state(model, optimizer, key, mesh, image)

    if not cache or jax.process_count() > 1:
        return _train(model, data, recipe, seed, mesh, start, step, visible)
    shapes, name = _fingerprint(data, recipe, seed, mesh, start, step)
    file = cache_folder() / "classifiers" / f"{name}.npz"
    found = _load(file, shapes)
    if found is None:
        found = _train(model, data, recipe, seed, mesh, start, step, visible)
        _save(file, found)
    return found


def _make_loss(model: Model, recipe: ClassifierRecipe, data: ImageData) -> LossFn:
    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Scalar, tuple[ModelState, Metrics]]:
        shift_key, flip_key, key = jax.random.split(key, 3)
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
        targets = jax.nn.one_hot(batch["label"], num_classes)
        targets = optax.smooth_labels(targets, recipe.label_smoothing)
        loss = optax.softmax_cross_entropy(logits, targets).mean()
        accuracy = (logits.argmax(-1) == batch["label"]).mean()
        return loss, (model_state, {"accuracy": accuracy})

    return loss_fn


def _train(
    model: Model,
    data: ImageData,
    recipe: ClassifierRecipe,
    seed: int,
    mesh: Mesh,
    start: Callable[[Key[Array, ""]], TrainState],
    step: Step,
    visible: bool,
) -> Classifier:
    state = start(jax.random.key(seed))
    compiled = compile_step(step, state, mesh)
    order = Order(len(data.train), recipe.batch_size, seed)
    batches = training_batches(data.train, order, mesh)(0)
    visible = visible and is_main_process()
    progress = make_progress(0, recipe.steps, recipe.batch_size, visible=visible)
    try:
        for count in range(1, recipe.steps + 1):
            state, metrics = compiled(state, next(batches))
            progress.step(count)
            if count % _LOG_EVERY == 0 or count == recipe.steps:
                progress.log({f"train/{k}": float(v) for k, v in metrics.items()})
    finally:
        progress.close()
    if not all_finite(state.params):
        raise InputError(
            f"the classifier diverged with learning_rate {recipe.learning_rate}; give "
            "a lower one"
        )

    def per_example(state: TrainState, batch: Batch) -> dict[str, Array]:
        images = to_unit_range(batch["image"])
        logits, _ = model.apply(state.params, state.model_state, images)
        return {_ACCURACY: logits.argmax(-1) == batch["label"]}

    collect = make_collector(
        per_example, evaluation_batches(data.test, _EVAL_BATCH, mesh), mesh
    )
    accuracy = means(collect(state), _ACCURACY)[_ACCURACY]
    params, model_state = jax.tree.map(np.asarray, (state.params, state.model_state))
    return Classifier(params, model_state, accuracy)


def _fingerprint(
    data: ImageData,
    recipe: ClassifierRecipe,
    seed: int,
    mesh: Mesh,
    start: Callable[[Key[Array, ""]], TrainState],
    step: Step,
) -> tuple[PyTree, str]:
    """Give the shapes of parameters and model state, and a name for what makes them."""
    state = jax.eval_shape(start, jax.random.key(0))
    batch = {
        name: jax.ShapeDtypeStruct((recipe.batch_size, *rows.shape[1:]), rows.dtype)
        for name, rows in data.train.rows(np.arange(1)).items()
    }
    digest = hashlib.sha256()
    for part in (
        jax.jit(start).lower(jax.random.key(0)).as_text(),
        jax.jit(step).lower(state, batch).as_text(),
        f"{recipe} {seed} {dict(mesh.shape)} {jax.devices()[0].device_kind}",
        f"{jax.__version__} {_FORMAT}",
    ):
        digest.update(part.encode() + b"\0")
    for source in (data.train, data.test):
        _hash_source(digest.update, source)
    return (state.params, state.model_state), digest.hexdigest()[:32]


def _hash_source(update: Callable[[bytes], None], source: Source) -> None:
    size = len(source)
    index = np.unique(np.linspace(0, size - 1, min(size, _SAMPLED_ROWS)).astype(int))
    for name, rows in sorted(source.rows(index).items()):
        update(f"{name} {size} {rows.shape} {rows.dtype}".encode())
        update(np.ascontiguousarray(rows).tobytes())


def _save(file: pathlib.Path, classifier: Classifier) -> None:
    """Write all or nothing: beside the file first, then in its place."""
    trained = {_TRAINED: (classifier.params, classifier.model_state)}
    arrays = {_ACCURACY: np.float64(classifier.accuracy), **flat_paths(trained)}
    part = file.with_name(f"{file.stem}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            np.savez(stream, **arrays)
        part.replace(file)
    except OSError as error:  # trained all the same
        warnings.warn(f"the classifier was not kept: {error}", stacklevel=3)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _load(file: pathlib.Path, shapes: PyTree) -> Classifier | None:
    """Read a classifier; None if there is none, or none that is whole."""
    try:
        # Opened here, since np.load leaves a file open that is no whole archive.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    wanted = flat_paths({_TRAINED: shapes})
    if arrays.keys() != {_ACCURACY, *wanted} or any(
        (arrays[path].shape, arrays[path].dtype) != (leaf.shape, leaf.dtype)
        for path, leaf in wanted.items()
    ):
        return None
    leaves = [arrays[path] for path in wanted]
    params, model_state = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    return Classifier(params, model_state, float(arrays[_ACCURACY]))
