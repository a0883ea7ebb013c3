"""Image sets that need no network: digits and npz files."""

import gzip
import importlib.util
import pathlib

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.files.npz import read_npz
from jaxlab.data.images.image_set import ArraySource, ImageSplits
from jaxlab.data.images.splits import SPLIT_NAMES

__all__ = ["digits", "npz_images"]

_CHANNELS = (1, 3, 4)
_MOST_TOLD = 5  # classes in one message


def digits() -> ImageSplits:
    """Give scikit-learn's 1797 handwritten digits, 8 x 8 pixels, one channel.

    Every fifth is held out: 1438 to learn from, 359 to test.

    References:
        Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI.
    """
    table = _digits_table()
    pixels = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = table[:, -1].astype(np.int32)
    is_test = np.arange(len(labels)) % 5 == 4
    return ImageSplits(
        "digits",
        ArraySource(pixels[~is_test], labels[~is_test]),
        None,
        ArraySource(pixels[is_test], labels[is_test]),
        tuple("0123456789"),
        (8, 8, 1),
    )


def _digits_table() -> np.ndarray:
    """Read 64 grey values (0 to 16) and a label a row, straight from the package."""
    # Importing sklearn.datasets takes two seconds; finding where it lies takes none.
    package = importlib.util.find_spec("sklearn")
    if package is not None and package.origin:
        file = pathlib.Path(package.origin).parent / "datasets/data/digits.csv.gz"
        if file.is_file():
            with gzip.open(file, "rt") as stream:
                return np.loadtxt(stream, np.uint8, delimiter=",")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.column_stack([images, labels]).astype(np.uint8)


def npz_images(path: pathlib.Path) -> ImageSplits:
    """Read an `.npz` file with `x_train, y_train, x_test, y_test`.

    And perhaps `x_valid, y_valid`, which may stand for the test, too. Other names of
    the splits (`x_val`) and MedMNIST's (`train_images, train_labels, ...`) are
    understood.

    Raises:
        InputError: If the file or an array is missing or has the wrong type or shape,
            or labels do not number the classes.
    """
    if not path.is_file():
        raise InputError(f"data {path}: no such file")
    arrays = read_npz(path)
    found = {kind: _split(arrays, kind, path) for kind in SPLIT_NAMES}
    train, valid, test = found["train"], found["valid"], found["test"]
    if train is None or (valid is None and test is None):
        raise InputError(
            f"data {path} holds {', '.join(sorted(arrays))}; it must hold x_train, "
            "y_train, x_test and y_test"
        )
    count = _num_classes(train.label, f"{path} (train)")
    for kind, source in (("valid", valid), ("test", test)):
        if source is None:
            continue
        if train.image.shape[1:] != source.image.shape[1:]:
            raise InputError(
                f"data {path}: train images are {train.image.shape[1:]}, {kind} images "
                f"{source.image.shape[1:]}; they must agree"
            )
        if source.label.max() >= count:
            raise InputError(
                f"data {path} ({kind}): label {source.label.max()} is of a class "
                f"without images to train on, which has labels 0 to {count - 1}"
            )
    names = tuple(map(str, range(count)))
    shape = train.image.shape[1:]
    return ImageSplits(str(path), train, valid, test, names, shape)


def _split(
    arrays: dict[str, np.ndarray], kind: str, path: pathlib.Path
) -> ArraySource | None:
    """Find the images and labels of a split, if the file has both."""
    pairs = [
        pair
        for name in SPLIT_NAMES[kind]
        for pair in (
            (f"x_{name}", f"y_{name}"),
            (f"{name}_images", f"{name}_labels"),
        )
        if any(array in arrays for array in pair)
    ]
    if not pairs:
        return None
    if len(pairs) > 1 or not all(array in arrays for array in pairs[0]):
        images, labels = pairs[0]
        raise InputError(
            f"data {path} holds {', '.join(sorted(arrays))}; it must hold x_train, "
            f"y_train, x_test and y_test, and for {kind} {images} and {labels} alone"
        )
    image, label = (arrays[array] for array in pairs[0])
    return _checked(image, label.reshape(-1), f"{path} ({kind})")


def _checked(image: np.ndarray, label: np.ndarray, where: str) -> ArraySource:
    if image.ndim == 3:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 4 or not image.size:
        raise InputError(
            f"data {where}: images are {image.dtype} {image.shape}; they must be uint8 "
            "(0 to 255; of floats in [0, 1] make (255 * x).round().astype('uint8')) of "
            "shape (n, rows, columns) or (n, rows, columns, channels)"
        )
    if image.shape[3] not in _CHANNELS:
        raise InputError(
            f"data {where}: images are {image.shape}, which would have "
            f"{image.shape[3]} channels; they must have 1, 3 or 4, last: of (n, "
            "channels, rows, columns) make x.transpose(0, 2, 3, 1)"
        )
    if label.dtype.kind not in "iu" or len(label) != len(image) or label.min() < 0:
        raise InputError(
            f"data {where}: labels are {label.dtype} {label.shape} for {len(image)} "
            "images; they must be class numbers from 0, one an image, as y.astype(int) "
            "makes of floats"
        )
    if label.max() > np.iinfo(np.int32).max:
        raise InputError(f"data {where}: label {label.max()} is no class number")
    return ArraySource(image, label.astype(np.int32))


def _num_classes(label: np.ndarray, where: str) -> int:
    """Count the classes; each number from 0 on has an image."""
    present = np.unique(label)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        shown = ", ".join(map(str, present[:_MOST_TOLD]))
        dots = ", ..." if len(present) > _MOST_TOLD else ""
        raise InputError(
            f"data {where}: the {len(present)} classes have labels {shown}{dots} up to "
            f"{present[-1]}, and none of them {gaps[0]}; number them from 0 without "
            "gaps, as numpy.unique(y, return_inverse=True)[1] does"
        )
    return len(present)
