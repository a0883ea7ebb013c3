"""CIFAR and MNIST straight from their official archives, checksums verified.

TFDS cannot build these sets without TensorFlow, and offline it retries for minutes.
"""

import dataclasses
import gzip
import hashlib
import pathlib
import pickle
import tarfile
from collections.abc import Callable

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.data.array_files import cached_arrays
from jaxlab.data.download import download
from jaxlab.data.images.image_set import ArraySource, ImageSplits

__all__ = ["ARCHIVES", "Archive", "archive_images"]

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Archive:
    """Files that hold one data set, and how to read them.

    Attributes:
        files: Name and SHA-256 of each.
        url: The folder they are published in.
        read: Makes `x_train, y_train, x_test, y_test, class_names` of their paths.
    """

    files: dict[str, str]
    url: str
    read: Callable[[list[pathlib.Path]], Arrays]


def archive_images(name: str, data_dir: pathlib.Path) -> ImageSplits:
    """Read a set from its archive in `data_dir`, downloading it if need be.

    Args:
        name: `cifar10`, `cifar100` or `mnist`.
        data_dir: Searched itself, and its folders `downloads`, `downloads/manual` and
            `NAME`; downloads go to `downloads`.

    Raises:
        InputError: If the archive is damaged, or absent and not to be had.
    """
    versions = ARCHIVES[name]
    archive, paths = _find(name, versions, data_dir)
    key = (
        f"{name}-"
        + hashlib.sha256("".join(archive.files.values()).encode()).hexdigest()
    )
    arrays = cached_arrays(key[:40], lambda: _read_verified(archive, paths))
    train = ArraySource(arrays["x_train"], arrays["y_train"])
    test = ArraySource(arrays["x_test"], arrays["y_test"])
    names = tuple(map(str, arrays["class_names"]))
    return ImageSplits(name, train, None, test, names, train.image.shape[1:])


def _find(
    name: str, versions: list[Archive], data_dir: pathlib.Path
) -> tuple[Archive, list[pathlib.Path]]:
    folders = [data_dir, data_dir / "downloads", data_dir / "downloads" / "manual"]
    folders.append(data_dir / name)
    for archive in versions:
        for folder in folders:
            paths = [folder / file for file in archive.files]
            if all(path.is_file() for path in paths):
                return archive, paths
    archive = versions[0]
    target = data_dir / "downloads"
    try:
        paths = [
            download(f"{archive.url}/{file}", target / file) for file in archive.files
        ]
    except OSError as error:
        choices = " or ".join(" and ".join(version.files) for version in versions)
        raise InputError(
            f"data {name!r} is not in {data_dir} and cannot be downloaded ({error}); "
            f"put {choices} from {archive.url} into {data_dir}, or give the folder of "
            "a prepared TFDS set by --data-dir or TFDS_DATA_DIR, or use --data digits, "
            "which needs no files"
        ) from None
    return archive, paths


def _read_verified(archive: Archive, paths: list[pathlib.Path]) -> Arrays:
    for path, wanted in zip(paths, archive.files.values(), strict=True):
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != wanted:
            raise InputError(
                f"{path} is damaged or not the official file: SHA-256 {found}, must be "
                f"{wanted}; delete it and fetch it again from {archive.url}"
            )
    return archive.read(paths)


def _images(pixels: np.ndarray) -> np.ndarray:
    """Planes of red, green and blue to `(n, y, x, c)`."""
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _joined(train: list[Arrays], test: list[Arrays], names: list[str]) -> Arrays:
    arrays = {"class_names": np.array(names)}
    for split, parts in (("train", train), ("test", test)):
        for short in ("x", "y"):
            arrays[f"{short}_{split}"] = np.concatenate([part[short] for part in parts])
    return arrays


def _read_cifar_python(paths: list[pathlib.Path]) -> Arrays:
    parts: dict[str, list[Arrays]] = {"train": [], "test": []}
    names: list[str] = []
    with tarfile.open(paths[0]) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            stream = tar.extractfile(member)
            if stream is None or not member.name.split("/")[-1].startswith(
                ("data_batch", "test", "train", "meta", "batches.meta")
            ):
                continue
            # Pickles may run code; these bytes have the official checksum.
            content = pickle.load(stream, encoding="latin1")
            if "data" not in content:
                names = content.get("fine_label_names") or content["label_names"]
                continue
            labels = content.get("fine_labels") or content["labels"]
            split = "test" if "test" in member.name.split("/")[-1] else "train"
            pixels = np.asarray(content["data"], np.uint8)
            parts[split].append({"x": _images(pixels), "y": np.array(labels, np.int32)})
    return _joined(parts["train"], parts["test"], names)


def _read_cifar_binary(paths: list[pathlib.Path]) -> Arrays:
    parts: dict[str, list[Arrays]] = {"train": [], "test": []}
    names: list[str] = []
    with tarfile.open(paths[0]) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            stream = tar.extractfile(member)
            file = member.name.split("/")[-1]
            if stream is None:
                continue
            if file in ("batches.meta.txt", "fine_label_names.txt"):
                names = stream.read().decode().split()
            elif file.endswith(".bin"):
                # CIFAR-100 writes a coarse label before the fine one.
                label_bytes = 1 if "batch" in file else 2
                records = np.frombuffer(stream.read(), np.uint8)
                records = records.reshape(-1, label_bytes + 3072)
                labels = records[:, label_bytes - 1].astype(np.int32)
                split = "test" if file.startswith("test") else "train"
                parts[split].append(
                    {"x": _images(records[:, label_bytes:]), "y": labels}
                )
    return _joined(parts["train"], parts["test"], names)


def _read_mnist(paths: list[pathlib.Path]) -> Arrays:
    arrays = {"class_names": np.array(list("0123456789"))}
    names = ("x_train", "y_train", "x_test", "y_test")
    for name, path in zip(names, paths, strict=True):
        with gzip.open(path) as stream:
            data = stream.read()
        if name.startswith("x"):
            arrays[name] = np.frombuffer(data, np.uint8, offset=16).reshape(
                -1, 28, 28, 1
            )
        else:
            arrays[name] = np.frombuffer(data, np.uint8, offset=8).astype(np.int32)
    return arrays


_CIFAR_URL = "https://www.cs.toronto.edu/~kriz"
_MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist"

# The first version of each set is the one that is downloaded.
ARCHIVES: dict[str, list[Archive]] = {
    "cifar10": [
        Archive(
            {
                "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d6"
                "8f9f25eb1ed8d9ddda3db29a59bca1dd"
            },
            _CIFAR_URL,
            _read_cifar_binary,
        ),
        Archive(
            {
                "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f3"
                "9262c83c16fe9348329d7fe0b5c001ce"
            },
            _CIFAR_URL,
            _read_cifar_python,
        ),
    ],
    "cifar100": [
        Archive(
            {
                "cifar-100-binary.tar.gz": "58a81ae192c23a4be8b1804d68e518ed"
                "807d710a4eb253b1f2a199162a40d8ec"
            },
            _CIFAR_URL,
            _read_cifar_binary,
        ),
        Archive(
            {
                "cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051"
                "d648de2e7d6b014e1ef29b855ba677a7"
            },
            _CIFAR_URL,
            _read_cifar_python,
        ),
    ],
    "mnist": [
        Archive(
            {
                "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea37026"
                "5605f56be210a4024d2ca8f203523609",
                "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cc"
                "a23d567ec52cac8be1a0730e8010255c",
                "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e3"
                "3eeafee792b84584aec276f5a2dbc4e6",
                "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd"
                "2371eca3ffa0defaefb259924204aec6",
            },
            _MNIST_URL,
            _read_mnist,
        )
    ],
}
