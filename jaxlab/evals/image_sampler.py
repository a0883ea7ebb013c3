"""Images of a generator, for scores and pictures."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.model import Model
from jaxlab.core.typing import Array, Float, Int, ModelState, Params, UInt8

__all__ = ["ImageSampler", "to_pixels"]

_BATCH = 256
_CALIBRATION_STEPS = 50  # the share of a batch in running statistics is a tenth


def to_pixels(images: Float[Array, "*b y x c"]) -> UInt8[Array, "*b y x c"]:
    """Map [-1, 1] to pixels 0..255, rounded: what `to_unit_range` maps back."""
    return jnp.round((jnp.clip(images, -1, 1) + 1) * 127.5).astype(jnp.uint8)


class ImageSampler:
    """Makes the images of the same latent rows for any parameters of a generator.

    So the pictures of two moments of a run can be laid side by side.
    """

    def __init__(
        self,
        generator: Model,
        latents: Float[Array | np.ndarray, "n d"],
        labels: Int[Array | np.ndarray, " m"],
    ) -> None:
        """Keep the latent rows.

        Args:
            generator: From latent rows and labels to images in [-1, 1].
            latents: One row an image.
            labels: One an image; generators without classes do not look at them.

        Raises:
            InputError: If there are none, or not as many labels.
        """
        if len(latents) != len(labels) or len(labels) == 0:
            raise InputError(
                f"{len(latents)} latent rows and {len(labels)} labels must be as many, "
                "and at least one"
            )
        self._latents, self._labels = np.asarray(latents), np.asarray(labels)
        size = min(_BATCH, len(labels))

        def batch(step: Array) -> tuple[Array, Array]:
            rows = (step * size + jnp.arange(size)) % len(labels)
            return jnp.asarray(self._latents)[rows], jnp.asarray(self._labels)[rows]

        @jax.jit
        def calibrate(params: Params, model_state: ModelState) -> ModelState:
            def body(step: Array, model_state: ModelState) -> ModelState:
                return generator.apply(params, model_state, *batch(step), train=True)[1]

            return jax.lax.fori_loop(0, _CALIBRATION_STEPS, body, model_state)

        @jax.jit
        def make(params: Params, model_state: ModelState, step: Array) -> Array:
            return to_pixels(generator.apply(params, model_state, *batch(step))[0])

        self._calibrate, self._make, self._size = calibrate, make, size

    def __call__(
        self, params: Params, model_state: ModelState
    ) -> UInt8[np.ndarray, "n y x c"]:
        """Make the images.

        Args:
            params: Of the generator, an average for example.
            model_state: Of the generator. Running statistics are of other parameters
                than an average's: they are taken anew, over batches of the latents.
        """
        if model_state:
            model_state = self._calibrate(params, model_state)
        count = -(-len(self._labels) // self._size)
        parts = [
            self._make(params, model_state, jnp.int32(step)) for step in range(count)
        ]
        return np.concatenate(list(map(np.asarray, parts)))[: len(self._labels)]
