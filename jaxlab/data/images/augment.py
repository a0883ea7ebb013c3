"""Augmentation inside the jitted step: pure functions of a key and images."""

import jax
import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Key, Num

__all__ = ["random_flip", "random_shift", "to_unit_range"]


def to_unit_range(images: Num[Array, "b y x c"]) -> Float[Array, "b y x c"]:
    """Map pixels 0..255 to [-1, 1], float32."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def random_shift(
    key: Key[Array, ""], images: Num[Array, "b y x c"], max_shift: int
) -> Num[Array, "b y x c"]:
    """Shift each image by up to `max_shift` pixels along both axes, filling with 0.

    The same as padding with zeros and taking a random crop (the usual CIFAR recipe
    pads 4).
    """
    if max_shift < 0:
        raise InputError(f"max_shift {max_shift} must be 0 or more pixels")
    batch, rows, columns, channels = images.shape
    edge = (max_shift, max_shift)
    padded = jnp.pad(images, ((0, 0), edge, edge, (0, 0)))
    offsets = jax.random.randint(key, (batch, 2), 0, 2 * max_shift + 1)

    def crop(image: Array, offset: Array) -> Array:
        start = (offset[0], offset[1], 0)
        return jax.lax.dynamic_slice(image, start, (rows, columns, channels))

    return jax.vmap(crop)(padded, offsets)


def random_flip(
    key: Key[Array, ""], images: Num[Array, "b y x c"]
) -> Num[Array, "b y x c"]:
    """Mirror each image left to right with probability one half."""
    flips = jax.random.bernoulli(key, 0.5, (len(images), 1, 1, 1))
    return jnp.where(flips, images[:, :, ::-1], images)
