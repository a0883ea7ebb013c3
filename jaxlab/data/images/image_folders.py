"""Folders of image files, one folder a class.

The rule: folders named `train` (or `training`), `valid` (`val`, `validation`,
`validate`, `dev`, `eval`, `evaluation`) and `test` (`testing`), in any case, are
splits; the folders in a split, or in the whole folder where it has no splits, are
classes. A split is never a class. Hidden files, what archives and file systems add
(`__MACOSX`, `@eaDir`), and classes without an image are left out; links are followed.
"""

import collections
import dataclasses
import os
import pathlib

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.progress import counted
from jaxlab.data.images.decode import decode_image, stored_channels
from jaxlab.data.images.image_set import ImageSplits
from jaxlab.data.images.splits import split_kind

__all__ = ["FolderSource", "folder_images"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
_SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm"}
_NO_CLASSES = {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN"}
_STRAYS = "images outside of a class"
_MOST_HEADS = 20_000  # files whose heads are read before all else
_MOST_TOLD = 3  # damaged images in one message
_MOST_COUNTED = 20  # classes in one line


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Image files, decoded when they are asked for.

    Attributes:
        paths: Of the files.
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


@dataclasses.dataclass
class _Found:
    """What lies below a folder of classes: files by class, and what is left out."""

    classes: dict[str, list[pathlib.Path]] = dataclasses.field(default_factory=dict)
    left_out: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )

    @property
    def files(self) -> list[pathlib.Path]:
        return [file for files in self.classes.values() for file in files]


def folder_images(path: pathlib.Path, image_size: int = 0) -> ImageSplits:
    """Read a folder with one folder of images a class.

    `PATH/train/CLASS/*`, and beside it perhaps `PATH/valid/CLASS/*` and
    `PATH/test/CLASS/*`, see this module; or `PATH/CLASS/*`. Classes are numbered in the
    order of their names. Of a folder without `valid` and `test`, every tenth image, in
    the order of the names, is held out to test with. Images lie in turn of each class.
    They are in colour if one of them is.

    Raises:
        InputError: If the folder is not laid out like that, an image cannot be read, or
            sizes differ and no `image_size` is given.
    """
    if not path.is_dir():
        raise InputError(f"data {path}: no such folder")
    splits = {kind: found for kind, found in _splits(path).items() if found.files}
    if "train" not in splits:
        raise InputError(
            f"data {path}: no images to train on; lay them out as train/CLASS/*.png, "
            "or as CLASS/*.png"
        )
    train = splits["train"]
    names = tuple(name for name, files in train.classes.items() if files)
    for kind, found in splits.items():
        with_images = {name for name, files in found.classes.items() if files}
        if unknown := sorted(with_images - set(names)):
            raise InputError(
                f"data {path}: the split {kind} has the classes {', '.join(unknown)}, "
                "of which there are no images to train on"
            )
    rows = {kind: _numbered(found, names) for kind, found in splits.items()}
    layout = _told(splits, names)
    if len(rows) == 1:
        whole = rows["train"]
        rows["test"] = whole[9::10]
        rows["train"] = [row for i, row in enumerate(whole) if i % 10 != 9]
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


def _splits(path: pathlib.Path) -> dict[str, _Found]:
    """Look into the folder of each split, or into the whole folder as the only one."""
    named = {folder.name: split_kind(folder.name) for folder in _folders(path)}
    if not any(named.values()):
        return {"train": _look(path)}
    shown = ", ".join(name for name, kind in named.items() if kind)
    splits: dict[str, _Found] = {}
    for name, kind in named.items():
        found = _look(path / name)
        if kind in splits:
            raise InputError(
                f"data {path} has several folders of one split, {kind}: {shown}; keep "
                "one of them there"
            )
        if kind:
            _check_split(path / name, found)
            splits[kind] = found
        elif found.files or found.left_out[_STRAYS]:
            raise InputError(
                f"data {path} has the splits {shown}, and beside them {name}, which "
                "would not be read; move it into a split if it is a class, else away"
            )
    if "train" not in splits:
        raise InputError(
            f"data {path} has the splits {shown} and no train; name the images to "
            "train on so, as train/CLASS/*.png"
        )
    return splits


def _check_split(path: pathlib.Path, found: _Found) -> None:
    """Refuse a folder named as a split that may be something else."""
    if found.left_out[_STRAYS] and not found.files:
        raise InputError(
            f"data {path} is named as a split, but has images and no folder a class; "
            f"lay them out as {path.name}/CLASS/*.png, or, if it is a class itself, "
            f"all classes as train/{path.name}/*.png"
        )
    if found.classes and all(map(split_kind, found.classes)):
        raise InputError(
            f"data {path} is named as a split, and so are the folders in it, "
            f"{', '.join(found.classes)}; give the folder whose folders are the splits"
        )


def _folders(path: pathlib.Path) -> list[pathlib.Path]:
    return [entry for entry in _entries(path) if entry.is_dir()]


def _entries(path: pathlib.Path) -> list[pathlib.Path]:
    """Return what lies in a folder, sorted, without what nobody put there."""
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise InputError(f"data {path} cannot be read: {error.strerror}") from None
    kept = (n for n in names if not n.startswith(".") and n not in _NO_CLASSES)
    return [path / name for name in kept]


def _look(root: pathlib.Path) -> _Found:
    """Find the images below each folder of a folder."""
    found = _Found()
    for entry in _entries(root):
        if entry.is_dir():
            seen: set[tuple[int, int]] = set()
            files = _images(entry, found.left_out, seen)
            found.classes[entry.name] = sorted(files, key=lambda file: file.parts)
            found.left_out[f"the empty class {entry.name}"] += not files
        elif entry.suffix.lower() in _SUFFIXES:
            found.left_out[_STRAYS] += 1
    return found


def _images(
    folder: pathlib.Path,
    left_out: collections.Counter[str],
    seen: set[tuple[int, int]],
) -> list[pathlib.Path]:
    """Find the images in a folder and those below it, each folder once."""
    stat = folder.stat()
    if (stat.st_dev, stat.st_ino) in seen:  # links may lead around in a circle
        return []
    seen.add((stat.st_dev, stat.st_ino))
    files = []
    for entry in _entries(folder):
        if entry.is_dir():
            files += _images(entry, left_out, seen)
        elif entry.suffix.lower() in _SUFFIXES:
            if entry.is_file():
                files.append(entry)
            else:
                left_out["links to nothing"] += 1
    return files


def _numbered(found: _Found, names: tuple[str, ...]) -> list[tuple[pathlib.Path, int]]:
    return [
        (file, label)
        for label, name in enumerate(names)
        for file in found.classes.get(name, ())
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


def _told(splits: dict[str, _Found], names: tuple[str, ...]) -> str:
    """Say in a line which classes there are, and what is left out."""
    counts = [len(splits["train"].classes[name]) for name in names]
    pairs = zip(names, counts, strict=True)
    told = "classes: " + ", ".join(f"{name} {count}" for name, count in pairs)
    if len(names) > _MOST_COUNTED:
        told = f"{len(names)} classes of {min(counts)} to {max(counts)} images"
    left_out: collections.Counter[str] = collections.Counter()
    for found in splits.values():
        left_out += found.left_out  # drops those of which there are none
    parts = [
        what if what.startswith("the ") else f"{count} {what}"
        for what, count in left_out.items()
    ]
    return "; ".join([told, f"left out: {', '.join(parts)}"] if parts else [told])
