"""Which folders hold the classes and the splits of an image set.

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
import re

from jaxlab.core.errors import InputError
from jaxlab.data.images.splits import split_kind

__all__ = ["Classes", "describe_layout", "find_layout"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
_SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm"}
_NO_CLASSES = {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN"}
_STRAYS = "images outside of a class"
_BROKEN = "links to nothing"
_MOST_SHOWN = 20  # classes in one line


@dataclasses.dataclass
class Classes:
    """What lies below a folder of classes.

    Attributes:
        files_of: The image files of each class, sorted.
        left_out: What was not taken, and how often.
    """

    files_of: dict[str, list[pathlib.Path]] = dataclasses.field(default_factory=dict)
    left_out: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )

    @property
    def files(self) -> list[pathlib.Path]:
        """All of them, class by class."""
        return [file for files in self.files_of.values() for file in files]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes that have images."""
        return tuple(name for name, files in self.files_of.items() if files)


def find_layout(path: pathlib.Path) -> dict[str, Classes]:
    """Look into the folder of each split, or into the whole folder as `train`.

    Returns:
        What lies in each split that has images, `train` first.

    Raises:
        InputError: If a split may be another one or a class, there is nothing to train
            on, or a class that the training images lack.
    """
    named = {}
    for entry in _entries(path):
        if entry.is_dir():
            named[entry.name] = split_kind(entry.name)
        elif split_kind(entry.name) and not entry.exists():
            raise InputError(f"data {entry} is a link to nothing; mend or remove it")
    if not any(named.values()):
        _check_names(path, list(named))
        return _checked(path, {"train": _look(path)})
    shown = ", ".join(name for name, kind in named.items() if kind)
    splits: dict[str, Classes] = {}
    for name in sorted(named, key=lambda name: not named[name]):  # splits first
        kind, found = named[name], _look(path / name)
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
    return _checked(path, splits)


def _check_names(path: pathlib.Path, names: list[str]) -> None:
    """Refuse folders such as `seg_train` and `test2017`, which are no classes."""
    kinds = {
        kind
        for name in names
        for word in re.split(r"[^a-z]+", name.lower())
        if (kind := split_kind(word))
    }
    if len(kinds) > 1:
        raise InputError(
            f"data {path} has the folders {', '.join(names)}, of which some look like "
            f"splits; name them {', '.join(sorted(kinds))}, or put them into a folder "
            "train if all are classes"
        )


def _checked(path: pathlib.Path, splits: dict[str, Classes]) -> dict[str, Classes]:
    """Leave out empty splits; see that the others have the classes to train on."""
    train = splits["train"]
    if not train.files:
        raise InputError(
            f"data {path}: no images to train on; lay them out as train/CLASS/*.png, "
            "or as CLASS/*.png"
        )
    for kind, found in splits.items():
        if unknown := sorted(set(found.names) - set(train.names)):
            raise InputError(
                f"data {path}: the split {kind} has the classes {', '.join(unknown)}, "
                "of which there are no images to train on"
            )
    return {"train": train} | {k: found for k, found in splits.items() if found.files}


def _check_split(path: pathlib.Path, found: Classes) -> None:
    """Refuse a folder named as a split that may be something else."""
    if found.left_out[_STRAYS] and not found.files:
        raise InputError(
            f"data {path} is named as a split, but has images and no folder a class; "
            f"lay them out as {path.name}/CLASS/*.png, or, if it is a class itself, "
            f"all classes as train/{path.name}/*.png"
        )
    if found.files_of and all(map(split_kind, found.files_of)):
        raise InputError(
            f"data {path} is named as a split, and so are the folders in it, "
            f"{', '.join(found.files_of)}; give the folder whose folders are the splits"
        )


def _entries(path: pathlib.Path) -> list[pathlib.Path]:
    """Return what lies in a folder, sorted, without what nobody put there."""
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise InputError(f"data {path} cannot be read: {error.strerror}") from None
    kept = (n for n in names if not n.startswith(".") and n not in _NO_CLASSES)
    return [path / name for name in kept]


def _look(root: pathlib.Path) -> Classes:
    """Find the images below each folder of a folder."""
    found, whole = Classes(), root.resolve()
    above = {_identity(folder) for folder in (whole, *whole.parents)}
    for entry in _entries(root):
        if entry.is_dir():
            files = _images(entry, found.left_out, set(above))
            found.files_of[entry.name] = sorted(files, key=lambda file: file.parts)
            found.left_out[f"the empty class {entry.name}"] += not files
        elif entry.suffix.lower() in _SUFFIXES:
            found.left_out[_STRAYS if entry.exists() else _BROKEN] += 1
        elif not entry.exists():
            found.left_out[_BROKEN] += 1
    return found


def _identity(folder: pathlib.Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _images(
    folder: pathlib.Path,
    left_out: collections.Counter[str],
    seen: set[tuple[int, int]],
) -> list[pathlib.Path]:
    """Find the images in a folder and those below it, but for folders seen before."""
    if _identity(folder) in seen:  # links may lead around in a circle
        return []
    seen.add(_identity(folder))
    files = []
    for entry in _entries(folder):
        if entry.is_dir():
            files += _images(entry, left_out, seen)
        elif entry.suffix.lower() in _SUFFIXES:
            if entry.is_file():
                files.append(entry)
            else:
                left_out[_BROKEN] += 1
    return files


def describe_layout(splits: dict[str, Classes]) -> str:
    """Say in a line how many training images a class has, and what is left out."""
    train = splits["train"]
    names, counts = train.names, [len(train.files_of[name]) for name in train.names]
    pairs = zip(names, counts, strict=True)
    told = "classes: " + ", ".join(f"{name} {count}" for name, count in pairs)
    if len(names) > _MOST_SHOWN:
        told = f"{len(names)} classes of {min(counts)} to {max(counts)} images"
    left_out: collections.Counter[str] = collections.Counter()
    for found in splits.values():
        left_out += found.left_out  # drops those of which there are none
    parts = [
        what if what.startswith("the ") else f"{count} {what}"
        for what, count in left_out.items()
    ]
    return "; ".join([told, f"left out: {', '.join(parts)}"] if parts else [told])
