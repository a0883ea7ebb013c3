"""What a model of images wants of pixels, as its `preprocessor_config.json` tells."""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, UInt8
from jaxlab.interop.hf_config import read_json
from jaxlab.interop.weight_files import existing, file_in

__all__ = ["Preprocessing", "load_hf_preprocessing"]

_FILE = "preprocessor_config.json"
_CHANNELS = ("image_mean", "image_std")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How pixels become the inputs of a network.

    Networks of jaxlab are trained on [-1, 1] (`jaxlab.data.images.augment`), many of
    Hugging Face on other ranges: `signed` says whether this one is of the first kind.

    Attributes:
        size: Rows and columns of the images wanted; the caller resizes.
        mean: What is subtracted from the scaled channels.
        std: What they are divided by then.
        scale: What pixels of 0 to 255 are multiplied by first.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float

    @property
    def signed(self) -> bool:
        """Whether pixels become [-1, 1], as `to_unit_range` makes them."""
        ends = [(np.array([0, 255 * self.scale]) - m) / s for m, s in self._channels]
        return bool(np.allclose(ends, [-1, 1], atol=1e-6))

    def __call__(self, images: UInt8[Array, "b y x c"]) -> Float[Array, "b y x c"]:
        """Return the inputs of the network, float32.

        Raises:
            InputError: If the images have another size or other channels.
        """
        rows, columns, channels = images.shape[1:]
        if (rows, columns) != self.size or channels != len(self.mean):
            raise InputError(
                f"images of {rows} x {columns} pixels and {channels} channels: this "
                f"network wants {self.size[0]} x {self.size[1]} and {len(self.mean)}; "
                "resize them, or replace `size`"
            )
        mean, std = (
            np.array(part, np.float32)[None, None, None]
            for part in (self.mean, self.std)
        )
        scaled = images.astype(jnp.float32) * np.float32(self.scale)
        return (scaled - mean) / std

    @property
    def _channels(self) -> list[tuple[float, float]]:
        return list(zip(self.mean, self.std, strict=True))


def load_hf_preprocessing(source: str | os.PathLike[str]) -> Preprocessing:
    """Read the `preprocessor_config.json` of a model of images of transformers.

        vit, params = load_hf_vit(folder)
        preprocessing = load_hf_preprocessing(folder)
        logits = vit.apply({"params": params}, preprocessing(images))  # uint8

    Args:
        source: The folder that holds it, or the file itself.

    Raises:
        InputError: If it is not there or damaged, or an entry of it cannot be.
    """
    path = existing(source)
    file = path if path.is_file() else file_in(path, _FILE)
    config = read_json(file)
    is_scaled = config.get("do_rescale", True)  # older files do not say so
    (scale,) = _numbers(file, "rescale_factor", [config.get("rescale_factor", 1 / 255)])
    mean, std = [0.0] * 3, [1.0] * 3
    if config.get("do_normalize", True):
        mean, std = (_numbers(file, name, config.get(name)) for name in _CHANNELS)
    if len(mean) != len(std) or not mean or not min(*std, scale) > 0:
        raise InputError(
            f"image_mean {mean}, image_std {std} and rescale_factor {scale} of {file} "
            "do not fit together"
        )
    scale = scale if is_scaled else 1.0
    return Preprocessing(_size(file, config), tuple(mean), tuple(std), scale)


def _numbers(file: Path, name: str, values: Any) -> list[float]:
    if not isinstance(values, list) or not all(
        type(value) in (int, float) and math.isfinite(value) for value in values
    ):
        raise InputError(f"{name} {str(values)[:40]!r} of {file} must be numbers")
    return [float(value) for value in values]


def _size(file: Path, config: Mapping[str, Any]) -> tuple[int, int]:
    """Return rows and columns: of the crop, where there is one."""
    size = config.get("size")
    if config.get("do_center_crop"):
        size = config.get("crop_size", size)
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = [size.get("height", edge), size.get("width", edge)]
    sides: list[Any] = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(
            f"size {str(config.get('size'))[:40]!r} of {file} must be of pixels"
        )
    return sides[0], sides[1]
