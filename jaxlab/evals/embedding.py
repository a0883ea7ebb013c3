"""Networks that embed images, for the scores of `sample_scores`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.model import Model
from jaxlab.core.typing import Array, Float, ModelState, Params, UInt8
from jaxlab.data.images.augment import to_unit_range
from jaxlab.metrics.sample_scores import Features

__all__ = ["image_features"]


def image_features(
    name: str,
    model: Model,
    params: Params,
    model_state: ModelState | None = None,
    *,
    prepare: Callable[
        [UInt8[Array, "b y x c"]], Float[Array, "b u v w"]
    ] = to_unit_range,
) -> Features:
    """Make `Features` of a network, jitted; one compilation for each size of batch.

    Of a classifier that `train_classifier` trained, for example, with
    `model = from_linen(module, method=FeatureClassifier.embed)`.

    Args:
        name: Part of the scores' names; see `Features`.
        model: From prepared images to features (b, d) and logits (b, v).
        params: Its parameters.
        model_state: Its state, if it has any.
        prepare: What makes inputs of uint8 images; by default numbers in [-1, 1].

    Returns:
        What embeds uint8 images (b, y, x, c): float32 features and class
        probabilities. It raises InputError for images of another dtype, since numbers
        in [-1, 1] would be embedded too, and wrongly.
    """

    @jax.jit
    def embed(params: Params, model_state: ModelState, images: Any) -> tuple:
        (features, logits), _ = model.apply(params, model_state, prepare(images))
        logits = logits.astype(jnp.float32)
        return features.astype(jnp.float32), jax.nn.softmax(logits)

    params, model_state = jax.tree.map(jnp.asarray, (params, model_state or {}))

    def checked(images: Any) -> tuple[Any, Any]:
        if not isinstance(images, jax.Array):
            images = np.asarray(images)
        if images.dtype != np.uint8:
            raise InputError(
                f"images of dtype {images.dtype} cannot be embedded; round them to "
                "uint8 first, as those of the data are"
            )
        return embed(params, model_state, images)

    return Features(name, checked)
