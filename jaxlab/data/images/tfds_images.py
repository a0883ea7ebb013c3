"""Image sets prepared by TensorFlow Datasets, read without TensorFlow."""

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.data.array_files import cached_arrays, files_key
from jaxlab.data.images.decode import decode_image
from jaxlab.data.images.image_set import ArraySource, ImageData

__all__ = ["TfdsSource", "tfds_images"]

_NAME = re.compile(r"[a-zA-Z]\w*(/[\w.+-]+)?")  # any other name is a path
_KEEP_IN_MEMORY = 2 * 2**30  # bytes of decoded images


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """One split of a TFDS set; images stay compressed until they are asked for."""

    records: Any
    image_key: str
    label_key: str
    size: int
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.records)

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        records = self.records.__getitems__([int(i) for i in index])
        images = [
            decode_image(record[self.image_key], self.size, self.shape[2])
            for record in records
        ]
        labels = [record[self.label_key] for record in records]
        return {"image": np.stack(images), "label": np.array(labels, np.int32)}


def tfds_images(
    name: str, data_dir: pathlib.Path, image_size: int = 0
) -> ImageData | None:
    """Open a TFDS set with an image and a class label, prepared on disk.

    A set without a test split gives its last tenth up as one. Sets that fit (2 GB) are
    decoded once and cached; larger ones are read as they are needed.

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
    image_key, label_key = _feature_keys(builder, tfds)
    shape = _image_shape(name, builder.info.features[image_key].shape, image_size)
    train_split, test_split = _splits(name, builder.info.splits)
    decoders = {image_key: tfds.decode.SkipDecoding()}

    def source(split: str) -> TfdsSource:
        try:
            records = builder.as_data_source(split, decoders=decoders)
        except NotImplementedError:
            raise InputError(
                f"data {name!r} in {data_dir} is in the format "
                f"{builder.info.file_format.value}, which only TensorFlow reads; "
                "prepare it in the format array_record"
            ) from None
        return TfdsSource(records, image_key, label_key, image_size, shape)

    folder = pathlib.Path(builder.data_path)
    train, test = source(train_split), source(test_split)
    if (len(train) + len(test)) * int(np.prod(shape)) <= _KEEP_IN_MEMORY:
        train, test = (  # type: ignore[assignment]
            _decoded(split, folder, which)
            for split, which in ((train, train_split), (test, test_split))
        )
    names = tuple(builder.info.features[label_key].names)
    return ImageData(name, train, test, names, shape)


def _decoded(source: TfdsSource, folder: pathlib.Path, split: str) -> ArraySource:
    key = files_key(folder.iterdir(), split, source.size)
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
    return rows, columns, channels or 3


def _splits(name: str, splits: Any) -> tuple[str, str]:
    if "train" not in splits:
        raise InputError(f"data {name!r} has the splits {', '.join(splits)}, no train")
    for test in ("test", "validation"):
        if test in splits:
            return "train", test
    return "train[:90%]", "train[90%:]"
