"""The `Model` pair: a network as two pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Key, ModelState, Params

__all__ = [
    "SPECTRAL",
    "ImageFeatures",
    "Model",
    "as_images",
    "choose_layers",
    "from_linen",
]

# The collection of a state that holds the vectors of spectral normalisation: the one
# state with which each row of a batch is still computed alone.
SPECTRAL = "spectral"


class ImageFeatures(NamedTuple):
    """What a network of images offers to probes, scores and perceptual losses.

    ViT, FeatureClassifier and Inception have a method
    `features(images, layers=(), *, train=False)`; the critics of GANs have none.

    Attributes:
        pooled: What the head reads, `(b, d)`.
        layers: The outputs of the layers asked for, each `(b, t, d)` of tokens or
            `(b, y, x, d)` of pixels.
    """

    pooled: Array
    layers: tuple[Array, ...] = ()


def as_images(images: Any, dtype: Any) -> Array:
    """Bring images to the type that a network computes with.

    Raises:
        InputError: If they are whole numbers, from which values of 0 to 255 would be
            taken for values of 0 to 1.
    """
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"images are {images.dtype}; a network takes floating-point values, mostly "
            "in [-1, 1]: convert them, as jaxlab.data.images.augment.to_unit_range does"
        )
    return jnp.asarray(images, dtype)


def choose_layers(outputs: list[Array], layers: tuple[int, ...]) -> tuple[Array, ...]:
    """Take the outputs of some layers, by number from 0, or from the last with -1.

    Raises:
        InputError: If there is no such layer.
    """
    count = len(outputs)
    for layer in layers:
        if not -count <= layer < count:
            raise InputError(f"layer {layer} is not one of the {count} from 0 on")
    return tuple(outputs[layer] for layer in layers)


class InitFn(Protocol):
    def __call__(
        self, key: Key[Array, ""], *inputs: Any, **options: Any
    ) -> tuple[Params, ModelState]: ...


class ApplyFn(Protocol):
    def __call__(
        self,
        params: Params,
        model_state: ModelState,
        *inputs: Any,
        key: Key[Array, ""] | None = None,
        train: bool = False,
        **options: Any,
    ) -> tuple[Any, ModelState]: ...


class Model(NamedTuple):
    """A network as a pair of pure functions.

    `init(key, *inputs)` gives `(params, model_state)`; `apply(params, model_state,
    *inputs, key=, train=)` gives `(outputs, model_state)`. `params` is what an
    optimiser updates; `model_state` is what apply itself updates while training (batch
    statistics, moving-average codebooks) and an empty dict for most models.

    Anything that offers these two functions is a Model: Linen through `from_linen`,
    plain functions, or a network of another library.
    """

    init: InitFn
    apply: ApplyFn


def from_linen(module: nn.Module, *, method: Callable[..., Any] | None = None) -> Model:
    """Make a `Model` of a Linen module whose call takes a keyword `train`.

    Hides Linen's `rngs=` and `mutable=`: the one key serves the random stream
    `dropout`, which all layers draw from (Linen folds the module's path into it), and
    a state changes only while training.

    Args:
        module: The network.
        method: Another method than `__call__` to apply, such as `ViT.features`.

    Returns:
        The pair of pure functions.
    """

    def init(
        key: Key[Array, ""], *inputs: Any, **options: Any
    ) -> tuple[Params, ModelState]:
        variables = dict(module.init(key, *inputs, train=False, **options))
        params = variables.pop("params", {})
        return params, variables

    def apply(
        params: Params,
        model_state: ModelState,
        *inputs: Any,
        key: Key[Array, ""] | None = None,
        train: bool = False,
        **options: Any,
    ) -> tuple[Any, ModelState]:
        variables = {"params": params, **model_state}
        rngs = {} if key is None else {"dropout": key}
        mutable = list(model_state) if train else []
        outputs, updated = module.apply(
            variables,
            *inputs,
            train=train,
            rngs=rngs,
            mutable=mutable,
            method=method,
            **options,
        )
        return outputs, {**model_state, **updated}

    return Model(init, apply)
