"""Image sets that need no network: digits, npz files, folders of images."""

import dataclasses
import gzip
import importlib.util
import pathlib

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.data.array_files import read_npz
from jaxlab.data.images.decode import decode_image
from jaxlab.data.images.image_set import ArraySource, ImageData

__all__ = ["FolderSource", "digits", "folder_images", "npz_images"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def digits() -> ImageData:
    """Give scikit-learn's 1797 handwritten digits, 8 x 8 pixels, one channel.

    Every fifth is held out: 1438 to learn from, 359 to test.

    References:
        Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI.
    """
    table = _digits_table()
    pixels = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = table[:, -1].astype(np.int32)
    is_test = np.arange(len(labels)) % 5 == 4
    return ImageData(
        "digits",
        ArraySource(pixels[~is_test], labels[~is_test]),
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


def npz_images(path: pathlib.Path) -> ImageData:
    """Read an `.npz` file with `x_train, y_train, x_test, y_test`.

    MedMNIST's names (`train_images, train_labels, ...`) are understood too.

    Raises:
        InputError: If the file or an array is missing or has the wrong type or shape.
    """
    if not path.is_file():
        raise InputError(f"data {path}: no such file")
    arrays = read_npz(path)
    sources = {}
    for split in ("train", "test"):
        image = arrays.get(f"x_{split}", arrays.get(f"{split}_images"))
        label = arrays.get(f"y_{split}", arrays.get(f"{split}_labels"))
        if image is None or label is None:
            raise InputError(
                f"data {path} holds {', '.join(sorted(arrays))}; it must hold x_train, "
                "y_train, x_test and y_test"
            )
        sources[split] = _checked(image, label.reshape(-1), f"{path} ({split})")
    train, test = sources["train"], sources["test"]
    if train.image.shape[1:] != test.image.shape[1:]:
        raise InputError(
            f"data {path}: train images are {train.image.shape[1:]}, test images "
            f"{test.image.shape[1:]}; they must agree"
        )
    count = int(max(train.label.max(), test.label.max())) + 1
    names = tuple(map(str, range(count)))
    return ImageData(str(path), train, test, names, train.image.shape[1:])


def _checked(image: np.ndarray, label: np.ndarray, where: str) -> ArraySource:
    if image.ndim == 3:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 4 or not len(image):
        raise InputError(
            f"data {where}: images are {image.dtype} {image.shape}; they must be uint8 "
            "(0 to 255) of shape (n, rows, columns) or (n, rows, columns, channels)"
        )
    if label.dtype.kind not in "iu" or len(label) != len(image) or label.min() < 0:
        raise InputError(
            f"data {where}: labels are {label.dtype} {label.shape} for {len(image)} "
            "images; they must be class numbers from 0, one an image"
        )
    return ArraySource(image, label.astype(np.int32))


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Image files, decoded when they are asked for."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    size: int
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        images = [self._image(self.paths[i]) for i in index]
        labels = [self.labels[i] for i in index]
        return {"image": np.stack(images), "label": np.array(labels, np.int32)}

    def _image(self, path: str) -> np.ndarray:
        # A set of grey images does not take the colour from one that is not.
        image = _read_image(path, self.size, 3 if self.shape[2] == 3 else 0)
        if image.shape != self.shape:
            raise InputError(
                f"image {path} is {image.shape}, the first one {self.shape}; give "
                "--image-size to bring all to one size"
            )
        return image


def _read_image(path: str, size: int, channels: int = 0) -> np.ndarray:
    try:
        return decode_image(pathlib.Path(path).read_bytes(), size, channels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def folder_images(path: pathlib.Path, image_size: int = 0) -> ImageData:
    """Read a folder with one folder of images a class.

    `PATH/train/CLASS/*` and `PATH/test/CLASS/*` (or `val`); or `PATH/CLASS/*` or
    `PATH/train/CLASS/*` alone, of which every tenth image, in the order of the names,
    is held out.

    Raises:
        InputError: If the folder is not laid out like that, or sizes differ and no
            `image_size` is given.
    """
    if not path.is_dir():
        raise InputError(f"data {path}: no such folder")
    tests = [path / name for name in ("test", "val", "validation")]
    test = next((folder for folder in tests if folder.is_dir()), None)
    # A folder `train` without folders in it is a class: of vehicles, say.
    train = path / "train"
    root = train if train.is_dir() and _class_names(train) else path
    names = _class_names(root)
    files = _files(root, names)
    if root == train and test is not None:
        train_files, test_files = files, _files(test, names)
        if unknown := set(_class_names(test)) - set(names):
            raise InputError(
                f"data {test} has the classes {', '.join(sorted(unknown))}, which are "
                f"not in {train}"
            )
    else:
        train_files = [file for i, file in enumerate(files) if i % 10 != 9]
        test_files = files[9::10]
    if not train_files or not test_files:
        raise InputError(
            f"data {path}: {len(train_files)} images to train on and {len(test_files)} "
            "to test on; lay them out as train/CLASS/*.png and test/CLASS/*.png"
        )
    rows, columns, _ = _read_image(train_files[0][0], image_size).shape
    # One grey file among colour ones must not make the set grey: look at a sample.
    sample = train_files[:: max(len(train_files) // 100, 1)]
    channels = max(_read_image(file, image_size).shape[2] for file, _ in sample)
    shape = (rows, columns, channels)

    def source(files: list[tuple[str, int]]) -> FolderSource:
        paths, labels = zip(*files, strict=True)
        return FolderSource(paths, labels, image_size, shape)

    return ImageData(str(path), source(train_files), source(test_files), names, shape)


def _class_names(path: pathlib.Path) -> tuple[str, ...]:
    folders = [folder.name for folder in path.iterdir() if folder.is_dir()]
    return tuple(sorted(name for name in folders if not name.startswith(".")))


def _files(path: pathlib.Path, names: tuple[str, ...]) -> list[tuple[str, int]]:
    return [
        (str(file), label)
        for label, name in enumerate(names)
        for file in sorted((path / name).rglob("*"))
        if file.suffix.lower() in _SUFFIXES
    ]
