"""Image sets prepared by TensorFlow Datasets, read without TensorFlow."""

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.progress import counted
from jaxlab.data.array_files import cached_arrays, files_key
from jaxlab.data.images.decode import decode_image
from jaxlab.data.images.image_set import ArraySource, ImageSplits
from jaxlab.data.images.splits import split_kind

__all__ = ["TfdsSource", "tfds_images"]

_NAME = re.compile(r"[a-zA-Z]\w*(/[\w.+-]+)?")  # any other name is a path
_KEEP_IN_MEMORY = 2 * 2**30  # bytes of decoded images
_READ_AT_ONCE = 1000  # records
_FORMAT = 2  # of decoded images that are kept: raised when they are decoded otherwise
# What array_record and what it reads with (Riegeli) raise for damaged files.
_UNREADABLE = (RuntimeError, OSError, ValueError, IndexError)


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """One split of a TFDS set; images stay compressed until they are asked for.

    Attributes:
        records: Those of TFDS.
        files: Name of each file, its first record, and how many from there on.
        image_key: Name of the feature that is the image.
        label_key: Name of the feature that is the class.
        size: As for `find_images`.
        shape: Rows, columns and channels of every image.
        num_classes: Labels lie below.
    """

    records: Any
    files: tuple[tuple[str, int, int], ...]
    image_key: str
    label_key: str
    size: int
    shape: tuple[int, int, int]
    num_classes: int

    def __len__(self) -> int:
        return len(self.records)

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        images = np.empty((len(index), *self.shape), np.uint8)
        labels = np.empty(len(index), np.int32)
        done = 0
        parts = np.array_split(index, max(-(-len(index) // _READ_AT_ONCE), 1))
        for part in counted(parts, len(parts), "reading images, in thousands"):
            for row, record in zip(part, self._read(part), strict=True):
                images[done], labels[done] = self._decoded(int(row), record)
                done += 1
        return {"image": images, "label": labels}

    def _read(self, index: np.ndarray) -> list[dict[str, Any]]:
        try:
            return self.records.__getitems__([int(row) for row in index])
        except _UNREADABLE as error:
            if len(index) > 1:  # find out which
                return [self._read(index[[i]])[0] for i in range(len(index))]
            raise _damaged(self._place(int(index[0])), error) from None

    def _decoded(self, row: int, record: dict[str, Any]) -> tuple[np.ndarray, int]:
        label = record[self.label_key]
        try:
            if not 0 <= label < self.num_classes:
                raise InputError(
                    f"its label {label} is none of the {self.num_classes} classes"
                )
            image = decode_image(record[self.image_key], self.size, self.shape[2])
            if image.shape != self.shape:
                raise InputError(f"its image is {image.shape}, not {self.shape}")
        except InputError as error:
            raise InputError(f"{self._place(row)} cannot be used: {error}") from None
        return image, label

    def _place(self, row: int) -> str:
        """Say in which file a record lies."""
        for file, start, count in self.files:
            if row < count:
                return f"{file}, record {start + row},"
            row -= count
        return f"record {row}"


def _damaged(place: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{place} cannot be read: {reason}; prepare the set again")


def tfds_images(
    name: str, data_dir: pathlib.Path, image_size: int = 0
) -> ImageSplits | None:
    """Open a TFDS set with an image and a class label, prepared on disk.

    A set without the splits `validation` and `test` gives its last tenth up to test
    with. Sets that fit (2 GB) are decoded once and cached; larger ones are read as they
    are needed.

    Args:
        name: Its TFDS name, `NAME` or `NAME/CONFIG`.
        data_dir: The TFDS folder.
        image_size: As for `images.find_images`.

    Returns:
        The data, or None if no such set is prepared there.

    Raises:
        InputError: If it is there and cannot be used.
    """
    if not _NAME.fullmatch(name) or not (data_dir / name).is_dir():
        return None
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    try:
        builder = read_only_builder.builder_from_files(name, data_dir=str(data_dir))
    except tfds.core.DatasetNotFoundError:
        return None
    except Exception as error:  # TFDS raises anything for damaged descriptions
        place = f"the description of data {name!r} in {data_dir / name}"
        raise _damaged(place, error) from None
    image_key, label_key = _feature_keys(builder, tfds)
    shape = _image_shape(name, builder.info.features[image_key].shape, image_size)
    names = tuple(builder.info.features[label_key].names)
    decoders = {image_key: tfds.decode.SkipDecoding()}
    folder = pathlib.Path(builder.data_path)

    def source(split: str) -> TfdsSource:
        try:
            files = tuple(
                (str(part.filename), int(part.skip), int(part.take))
                for part in builder.info.splits[split].file_instructions
            )
            records = builder.as_data_source(split, decoders=decoders)
            return TfdsSource(
                records, files, image_key, label_key, image_size, shape, len(names)
            )
        except NotImplementedError:
            raise InputError(
                f"data {name!r} in {data_dir} is in the format "
                f"{builder.info.file_format.value}, which only TensorFlow reads; "
                "prepare it in the format array_record"
            ) from None
        except _UNREADABLE as error:
            raise _damaged(f"data {folder}", error) from None

    sources: dict[str, Any] = {
        kind: split and source(split)
        for kind, split in _splits(name, builder.info.splits).items()
    }
    count = sum(len(each) for each in sources.values() if each is not None)
    if count * int(np.prod(shape)) <= _KEEP_IN_MEMORY:
        sources = {kind: _decoded(each, folder) for kind, each in sources.items()}
    return ImageSplits(
        name, sources["train"], sources["valid"], sources["test"], names, shape
    )


def _decoded(source: TfdsSource | None, folder: pathlib.Path) -> ArraySource | None:
    if source is None:
        return None
    key = files_key(folder.iterdir(), _FORMAT, source.files, source.size)
    return ArraySource(
        **cached_arrays(key, lambda: source.rows(np.arange(len(source))))
    )


def _feature_keys(builder: Any, tfds: Any) -> tuple[str, str]:
    features = builder.info.features
    images = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    labels = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    if not images or not labels:
        raise InputError(
            f"data {builder.name!r} has the features {', '.join(features)}; an image "
            "set needs one Image and one ClassLabel"
        )
    return images[0], "label" if "label" in labels else labels[0]


def _image_shape(name: str, shape: tuple, image_size: int) -> tuple[int, int, int]:
    rows, columns, channels = shape
    if image_size:
        rows = columns = image_size
    if rows is None or columns is None:
        raise InputError(
            f"the images of {name!r} have different sizes; give --image-size"
        )
    if channels not in (None, 1, 3):
        raise InputError(
            f"the images of {name!r} have {channels} channels; they must have 1 or 3"
        )
    return rows, columns, channels or 3


def _splits(name: str, splits: Any) -> dict[str, str | None]:
    """Return which split of the set is which; its last tenth is the test if need be."""
    named: dict[str, str | None] = {"train": None, "valid": None, "test": None}
    for split in splits:
        kind = split_kind(split)
        if kind and named[kind]:
            raise InputError(
                f"data {name!r} has two splits for {kind}, {named[kind]} and {split}; "
                "prepare it with one of them"
            )
        if kind:
            named[kind] = split
    train = named["train"]
    if train is None:
        raise InputError(f"data {name!r} has the splits {', '.join(splits)}, no train")
    if named["valid"] is None and named["test"] is None:
        return named | {"train": f"{train}[:90%]", "test": f"{train}[90%:]"}
    return named
