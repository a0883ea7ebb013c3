"""Points in the plane on which generators are tried, as pure functions of a key.

Those of the toy script of Gulrajani et al. 2017,
https://github.com/igul222/improved_wgan_training, `gan_toy.py`.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxlab.core.mesh import batch_sharding
from jaxlab.core.typing import Array, Float, Key

__all__ = [
    "EIGHT_GAUSSIANS",
    "TOY_DATA",
    "TOY_MIXTURES",
    "TWENTY_FIVE_GAUSSIANS",
    "Mixture",
    "eight_gaussians",
    "sample_mixture",
    "swiss_roll",
    "toy_batches",
    "twenty_five_gaussians",
]


class Mixture(NamedTuple):
    """Round Gaussians of equal share and size.

    Attributes:
        centers: Their means (modes, 2), float32.
        sigma: The standard deviation of each in each coordinate.
    """

    centers: np.ndarray
    sigma: float


def _ring(radius: float, count: int) -> np.ndarray:
    angles = 2 * np.pi * np.arange(count) / count
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _grid(step: float, count: int) -> np.ndarray:
    places = step * (np.arange(count) - (count - 1) / 2)
    return np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)


# The script divides by about the standard deviation of the whole.
EIGHT_GAUSSIANS = Mixture((_ring(2.0, 8) / 1.414).astype(np.float32), 0.02 / 1.414)
TWENTY_FIVE_GAUSSIANS = Mixture(
    (_grid(2.0, 5) / 2.828).astype(np.float32), 0.05 / 2.828
)


def sample_mixture(
    mixture: Mixture, key: Key[Array, ""], n: int
) -> Float[Array, "n 2"]:
    """Draw points, each of a mode drawn at random."""
    mode_key, noise_key = jax.random.split(key)
    modes = jax.random.randint(mode_key, (n,), 0, len(mixture.centers))
    noise = jax.random.normal(noise_key, (n, 2))
    return jnp.asarray(mixture.centers)[modes] + mixture.sigma * noise


def eight_gaussians(key: Key[Array, ""], n: int) -> Float[Array, "n 2"]:
    """Draw of eight Gaussians (0.02) on a circle of radius 2, all over 1.414."""
    return sample_mixture(EIGHT_GAUSSIANS, key, n)


def twenty_five_gaussians(key: Key[Array, ""], n: int) -> Float[Array, "n 2"]:
    """Draw of 25 Gaussians (0.05) on a grid of step 2, all over 2.828.

    The script draws a data set with equally many points of each; here each point's mode
    is drawn.
    """
    return sample_mixture(TWENTY_FIVE_GAUSSIANS, key, n)


def swiss_roll(key: Key[Array, ""], n: int) -> Float[Array, "n 2"]:
    r"""Draw of a spiral, $t (\cos t, \sin t)$ and noise 0.25, all over 7.5.

    t is uniform in $[1.5 \pi, 4.5 \pi)$: the columns 0 and 2 of scikit-learn's
    `make_swiss_roll(noise=0.25)`.
    """
    angle_key, noise_key = jax.random.split(key)
    t = 1.5 * jnp.pi * (1 + 2 * jax.random.uniform(angle_key, (n,)))
    spiral = t[:, None] * jnp.stack([jnp.cos(t), jnp.sin(t)], axis=1)
    return (spiral + 0.25 * jax.random.normal(noise_key, (n, 2))) / 7.5


TOY_DATA: dict[str, Callable[[Array, int], Array]] = {
    "8gaussians": eight_gaussians,
    "25gaussians": twenty_five_gaussians,
    "swissroll": swiss_roll,
}
TOY_MIXTURES = {"8gaussians": EIGHT_GAUSSIANS, "25gaussians": TWENTY_FIVE_GAUSSIANS}

_BATCHES = 0x746F79  # sets the keys of batches apart from others of the same seed


def toy_batches(
    sample: Callable[[Array, int], Array],
    batch_size: int,
    schedule: Callable[[int], int],
    seed: int,
    mesh: Mesh,
) -> Callable[[int], Iterator[Array]]:
    """Draw batches of fresh points on the devices, for `make_adversarial_step`.

    Args:
        sample: One of `TOY_DATA`, or its like.
        batch_size: Points of a step of the critic, over all devices.
        schedule: Its steps before each step of the generator (`CriticSchedule`).
        seed: Batch t is a function of it and t, on any mesh.
        mesh: The mesh that the points are laid over.

    Returns:
        A function from a step to the batches from that step on.
    """
    base = jax.random.fold_in(jax.random.key(seed), _BATCHES)

    def draw(step: Array, count: int) -> Array:
        return sample(jax.random.fold_in(base, step), count)

    compiled = jax.jit(draw, static_argnums=1, out_shardings=batch_sharding(mesh))

    def batches(start: int) -> Iterator[Array]:
        for step in itertools.count(start):
            yield compiled(np.uint32(step), batch_size * schedule(step))

    return batches
