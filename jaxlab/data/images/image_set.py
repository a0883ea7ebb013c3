"""What an image classification set is."""

import dataclasses

import numpy as np

from jaxlab.data.batches import Source

__all__ = ["ArraySource", "ImageData"]


@dataclasses.dataclass(frozen=True)
class ArraySource:
    """Examples held in memory.

    Attributes:
        image: uint8, `(n, y, x, c)`.
        label: int32, `(n,)`.
    """

    image: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self.image[index], "label": self.label[index]}


@dataclasses.dataclass(frozen=True)
class ImageData:
    """An image classification set.

    Attributes:
        name: As given on the command line.
        train: Examples to learn from.
        test: Examples held out.
        class_names: By label.
        shape: Rows, columns and channels of every image.
    """

    name: str
    train: Source
    test: Source
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"{self.name} ({len(self.train)} train, {len(self.test)} test, {size})"
