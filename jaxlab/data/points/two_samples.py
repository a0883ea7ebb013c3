"""Two samples of one size to compare, as pure functions of (name, size, seed)."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError, local_path, meant
from jaxlab.core.files.npz import read_npz
from jaxlab.core.typing import Array, Float, Key
from jaxlab.data.points.toy import TOY_DATA

__all__ = ["GAUSSIANS", "SAMPLERS", "Gaussian", "TwoSamples", "find_two_samples"]


class Gaussian(NamedTuple):
    """A Gaussian in the plane.

    Attributes:
        mean: (2,).
        root: A with covariance A A' (2, 2).
    """

    mean: np.ndarray
    root: np.ndarray

    def sample(self, key: Key[Array, ""], n: int) -> Float[Array, "n 2"]:
        """Draw points."""
        noise = jax.random.normal(key, (n, 2))
        # Not rounded first, as accelerators do by default.
        spread = jnp.matmul(noise, jnp.asarray(self.root).T, precision="highest")
        return jnp.asarray(self.mean)[None] + spread


def _gaussian(mean: list[float], root: list[list[float]]) -> Gaussian:
    return Gaussian(np.array(mean, np.float32), np.array(root, np.float32))


# Of the pair `gaussians`: a slanted one, and a smaller one that slants the other way.
GAUSSIANS = (
    _gaussian([-1.0, 0.0], [[0.8, 0.0], [0.5, 0.4]]),
    _gaussian([1.0, 0.5], [[0.5, 0.0], [-0.4, 0.2]]),
)
# Not in the middle of the ring.
_BLOB = _gaussian([0.5, 0.3], [[0.5, 0.0], [0.0, 0.5]])


def _two_humps(key: Key[Array, ""], n: int) -> Float[Array, "n 1"]:
    """Draw of N(-2, 0.5^2) and N(1.5, 0.7^2), as often."""
    side_key, noise_key = jax.random.split(key)
    is_left = jax.random.bernoulli(side_key, 0.5, (n, 1))
    noise = jax.random.normal(noise_key, (n, 1))
    return jnp.where(is_left, -2.0 + 0.5 * noise, 1.5 + 0.7 * noise)


def _one_hump(key: Key[Array, ""], n: int) -> Float[Array, "n 1"]:
    """Draw of N(0, 1)."""
    return jax.random.normal(key, (n, 1))


def _ring(key: Key[Array, ""], n: int) -> Float[Array, "n 2"]:
    """Draw of a circle of radius 2 with noise 0.15."""
    angle_key, noise_key = jax.random.split(key)
    angles = jax.random.uniform(angle_key, (n,), maxval=2 * jnp.pi)
    circle = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
    return 2 * circle + 0.15 * jax.random.normal(noise_key, (n, 2))


SAMPLERS: dict[str, Callable[[Array, int], Array]] = {
    "one": _one_hump,
    "two": _two_humps,
    "blob": _BLOB.sample,
    "ring": _ring,
    "gaussian1": GAUSSIANS[0].sample,
    "gaussian2": GAUSSIANS[1].sample,
    **TOY_DATA,
}
_PAIRS = {
    "line": "two:one",
    "plane": "ring:blob",
    "gaussians": "gaussian1:gaussian2",
    "toy": "8gaussians:25gaussians",
}


@dataclasses.dataclass(frozen=True)
class TwoSamples:
    """As many points of two measures, each of the same weight.

    Attributes:
        name: As given.
        x: Points of the first (n, j), float32.
        y: Points of the second (n, j), float32.
    """

    name: str
    x: np.ndarray
    y: np.ndarray

    def __str__(self) -> str:
        count, features = self.x.shape
        return f"{self.name} (two samples of {count} points, {features}-D)"


def find_two_samples(name: str, n: int, seed: int) -> TwoSamples:
    """Draw or read two samples.

    Args:
        name: `line` (two humps, one hump), `plane` (a ring, a blob), `gaussians`, `toy`
            or any two of `SAMPLERS` as `8gaussians:25gaussians`, or an `.npz` file with
            arrays x and y of rows.
        n: Points of each; of a file, at most so many from its start.
        seed: Of the draw.

    Raises:
        InputError: If there is no such pair, or the arrays of a file do not fit.
    """
    if n < 2:
        raise InputError(f"{n} points of each sample are too few; take 2 or more")
    if name.endswith(".npz"):
        return TwoSamples(name, *_read(local_path("data", name), n))
    first, _, second = _PAIRS.get(name, name).partition(":")
    if not {first, second} <= SAMPLERS.keys():
        close = meant(name, (*_PAIRS, *SAMPLERS))
        raise InputError(
            f"no two samples {name!r}{close}; take one of {', '.join(_PAIRS)}, two of "
            f"{', '.join(SAMPLERS)} as ring:swissroll, or a file .npz with x and y"
        )
    keys = jax.random.split(jax.random.key(seed))
    x, y = (
        np.asarray(SAMPLERS[part](key, n))
        for part, key in zip((first, second), keys, strict=True)
    )
    if x.shape != y.shape:
        raise InputError(
            f"points of {first} have {x.shape[1]} coordinates, those of {second} "
            f"{y.shape[1]}; compare samples of one space"
        )
    return TwoSamples(name, x, y)


def _read(path: pathlib.Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise InputError(f"there is no file {path}; give one with arrays x and y")
    arrays = read_npz(path)
    if not {"x", "y"} <= arrays.keys():
        raise InputError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; it must hold x and y, "
            "rows of points"
        )
    x, y = (_as_points(path, part, arrays[part]) for part in "xy")
    if x.shape[1:] != y.shape[1:] or min(x.size, y.size) == 0:
        raise InputError(
            f"x and y of {path} have shapes {x.shape} and {y.shape}; they must be rows "
            "of as many coordinates"
        )
    if (count := min(n, len(x), len(y))) < 2:
        raise InputError(
            f"{path} has {len(x)} points x and {len(y)} y; it must hold 2 or more of "
            "each"
        )
    return x[:count], y[:count]


def _as_points(path: pathlib.Path, part: str, rows: np.ndarray) -> np.ndarray:
    """Give float32 (n, d)."""
    if rows.dtype.kind not in "biuf" or not rows.ndim:
        raise InputError(
            f"{part} of {path} is {rows.dtype} {rows.shape}; it must hold numbers, one "
            "or more a row"
        )
    with np.errstate(over="ignore"):  # told below
        rows = rows.reshape(len(rows), -1 if rows.size else 0).astype(np.float32)
    if len(bad := np.flatnonzero(~np.isfinite(rows).all(1))):
        raise InputError(
            f"{part} of {path} is not finite in float32 in row {bad[0]}; mend the row "
            "or leave it out"
        )
    return rows
