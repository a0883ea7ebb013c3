"""What an image classification set is."""

import dataclasses
from typing import Any

import numpy as np

from jaxlab.data.batches import Source

__all__ = ["ArraySource", "ImageData", "ImageSplits"]


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
class ImageSplits:
    """An image classification set as it lies on disk.

    Attributes:
        name: As given on the command line.
        train: Examples to learn from.
        valid: Those that the set names for validation, if it does.
        test: Those that it names for the test; one of the two is always there.
        class_names: By label.
        shape: Rows, columns and channels of every image.
        layout: What was found where, in a line; empty for sets that are known.
    """

    name: str
    train: Source
    valid: Source | None
    test: Source | None
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    layout: str = ""


@dataclasses.dataclass(frozen=True)
class ImageData:
    """An image classification set.

    Attributes:
        name: As given on the command line.
        train: Examples to learn from.
        test: Examples held out, to report; none of them chooses anything.
        class_names: By label.
        shape: Rows, columns and channels of every image.
        valid: Examples held out, to choose a checkpoint by; None: nothing is chosen.
        layout: What was found where and what is held out, in a line.
    """

    name: str
    train: Source
    test: Source
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    valid: Source | None = None
    layout: str = ""

    @property
    def held_out(self) -> dict[str, Source]:
        """What is not trained on: `test`, and `valid` before it if there is any."""
        valid = {} if self.valid is None else {"valid": self.valid}
        return valid | {"test": self.test}

    @property
    def facts(self) -> dict[str, Any]:
        """The figures for a run's summary."""
        held_out = {name: len(source) for name, source in self.held_out.items()}
        rows = {"train": len(self.train), "valid": 0} | held_out
        return {"sets": rows}

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        valid = "" if self.valid is None else f"{len(self.valid)} valid, "
        return (
            f"{self.name} ({len(self.train)} train, {valid}{len(self.test)} test, "
            f"{size})"
        )
