"""Folders of image files, one folder a class.

Which folders are classes and which are splits says `folder_layout`.
"""

import collections
import dataclasses
import pathlib

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.progress import counted
from jaxlab.data.images.decode import decode_image, stored_channels
from jaxlab.data.images.folder_layout import Classes, describe_layout, find_layout
from jaxlab.data.images.image_set import ImageSplits

__all__ = ["FolderSource", "folder_images"]

_MOST_HEADS = 20_000  # files whose heads are read before all else
_MOST_TOLD = 3  # damaged images in one message


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Image files, decoded when they are asked for.

    Attributes:
        paths: Paths of the image files.
        label: int32, one a file.
        size: As for `find_images`.
        shape: Rows, columns and channels of every image.
    """

    paths: tuple[str, ...]
    label: np.ndarray
    size: int
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        images = np.empty((len(index), *self.shape), np.uint8)
        wrong: list[str] = []
        for place, row in enumerate(counted(index, len(index), "reading images")):
            try:
                images[place] = self._image(self.paths[row])
            except InputError as error:
                wrong.append(str(error))
            if len(wrong) == _MOST_TOLD:
                break
        if wrong:
            raise InputError("; ".join(wrong))
        return {"image": images, "label": self.label[index]}

    def _image(self, path: str) -> np.ndarray:
        # A set of grey images does not take the colour from one that is not.
        image = _read_image(path, self.size, 3 if self.shape[2] == 3 else 0)
        if image.shape[2] != self.shape[2]:
            raise InputError(
                f"image {path} is in colour, those that were looked at first are grey; "
                "make it grey, or leave it out"
            )
        if image.shape != self.shape:
            raise InputError(
                f"image {path} is {image.shape}, the first one {self.shape}; give "
                "--image-size to bring all to one size"
            )
        return image


def _read_image(path: str, size: int, channels: int = 0) -> np.ndarray:
    try:
        return decode_image(pathlib.Path(path).read_bytes(), size, channels)
    except (InputError, OSError) as error:
        raise InputError(f"{path}: {error}") from None


def folder_images(path: pathlib.Path, image_size: int = 0) -> ImageSplits:
    """Read a folder with one folder of images a class.

    `PATH/train/CLASS/*`, and beside it perhaps `PATH/valid/CLASS/*` and
    `PATH/test/CLASS/*`; or `PATH/CLASS/*`. Classes are numbered in the
    order of their names. Of a folder without `valid` and `test`, every tenth image, in
    the order of the names, is held out to test with. Images lie in turn of each class.
    They are in colour if one of them is.

    Raises:
        InputError: If the folder is not laid out like that, an image cannot be read, or
            sizes differ and no `image_size` is given.
    """
    if not path.is_dir():
        raise InputError(f"data {path}: no such folder")
    splits = find_layout(path)
    names, layout = splits["train"].names, describe_layout(splits)
    rows = {kind: _numbered(found, names) for kind, found in splits.items()}
    if len(rows) == 1:
        whole = rows["train"]
        rows["test"], rows["train"] = _every_tenth(whole)
        layout += "; test: every tenth image"
        if not rows["test"]:
            raise InputError(
                f"data {path}: {len(whole)} images are too few to hold out every "
                "tenth; lay them out as train/CLASS/*.png and test/CLASS/*.png"
            )
    shape = _shape([file for files in rows.values() for file, _ in files], image_size)
    sources = {
        kind: FolderSource(
            tuple(str(file) for file, _ in files),
            np.array([label for _, label in files], np.int32),
            image_size,
            shape,
        )
        for kind, files in ((kind, _in_turn(files)) for kind, files in rows.items())
    }
    return ImageSplits(
        str(path),
        sources["train"],
        sources.get("valid"),
        sources.get("test"),
        names,
        shape,
        layout,
    )


def _every_tenth(
    rows: list[tuple[pathlib.Path, int]],
) -> tuple[list[tuple[pathlib.Path, int]], list[tuple[pathlib.Path, int]]]:
    """Take every tenth row, but for the only image of a class; give the others too."""
    count = collections.Counter(label for _, label in rows)
    taken = {i for i in range(9, len(rows), 10) if count[rows[i][1]] > 1}
    left = [row for i, row in enumerate(rows) if i not in taken]
    return [rows[i] for i in sorted(taken)], left


def _numbered(found: Classes, names: tuple[str, ...]) -> list[tuple[pathlib.Path, int]]:
    return [
        (file, label)
        for label, name in enumerate(names)
        for file in found.files_of.get(name, ())
    ]


def _in_turn(
    rows: list[tuple[pathlib.Path, int]],
) -> list[tuple[pathlib.Path, int]]:
    """Sort rows so that the classes take turns: the first few show all of them."""
    count: collections.Counter[int] = collections.Counter()
    ranks = []
    for _, label in rows:
        ranks.append((count[label], label))
        count[label] += 1
    return [rows[i] for i in sorted(range(len(rows)), key=ranks.__getitem__)]


def _shape(files: list[pathlib.Path], image_size: int) -> tuple[int, int, int]:
    """Read the size of the first image, and whether any of them is in colour."""
    heads = files[:: -(-len(files) // _MOST_HEADS)]
    channels, wrong = {1}, []
    for file in counted(heads, len(heads), "looking at images"):
        try:
            channels.add(stored_channels(file))
        except InputError as error:
            wrong.append(f"{file}: {error}")
    if wrong:
        rest = f"; and {len(wrong) - _MOST_TOLD} more" * (len(wrong) > _MOST_TOLD)
        raise InputError(
            f"{len(wrong)} of {len(heads)} images cannot be read, mend them or leave "
            f"them out: {'; '.join(wrong[:_MOST_TOLD])}{rest}"
        )
    return _read_image(str(files[0]), image_size, max(channels)).shape
