"""The official archives, in miniature: three training records and two of test."""

import gzip
import hashlib
import io
import pickle
import socket
import tarfile
import time
import urllib.request

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.images import archives as module
from jaxlab.data.images.archives import ARCHIVES, Archive, archive_images
from jaxlab.data.images.find import find_images

COARSE = ["beasts", "plants"]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """An empty cache, no proxy, and no network."""
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path / "cache"))

    def unreachable(*args, **options):
        raise OSError("the network is blocked")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(urllib.request, "getproxies", dict)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def pixels(count, seed, shape=(32, 32, 3)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape)).astype(np.uint8)


def planes(images):
    """Red, green and blue one after the other, as CIFAR stores them."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_tar(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_python(path, names, labels_key, parts):
    """The pickled version: `parts` is {file: (images, labels)}."""
    meta_name, meta = names
    files = {"readme.html": b"<p>", meta_name: pickle.dumps(meta)}
    for name, (images, labels) in parts.items():
        part = {"data": planes(images), labels_key: labels.tolist()}
        files[name] = pickle.dumps(part)
    write_tar(path, files)


def write_binary(path, names, parts, coarse=False):
    """The binary version; CIFAR-100 has a coarse label before the fine one."""
    files = {name: "\n".join([*words, ""]).encode() for name, words in names.items()}
    for name, (images, labels) in parts.items():
        columns = [labels[:, None].astype(np.uint8), planes(images)]
        if coarse:
            columns.insert(0, np.full((len(labels), 1), 7, np.uint8))
        files[name] = np.concatenate(columns, 1).tobytes()
    write_tar(path, files)


def accept(monkeypatch, name, version, folder):
    """Take the files of a version in `folder` for the official ones."""
    old = ARCHIVES[name][version]
    files = {
        file: hashlib.sha256((folder / file).read_bytes()).hexdigest()
        for file in old.files
    }
    changed = list(ARCHIVES[name])
    changed[version] = Archive(files, old.url, old.read)
    monkeypatch.setitem(ARCHIVES, name, changed)


def check(data, train, test, names):
    for source, (images, labels) in ((data.train, train), (data.test, test)):
        rows = source.rows(np.arange(len(source)))
        np.testing.assert_array_equal(rows["image"], images)
        np.testing.assert_array_equal(rows["label"], labels)
        assert (rows["image"].dtype, rows["label"].dtype) == (np.uint8, np.int32)
    assert data.class_names == tuple(names)
    assert data.shape == images.shape[1:]


FIRST, SECOND = (pixels(2, 0), np.array([1, 0])), (pixels(1, 1), np.array([1]))
TEST = pixels(2, 2), np.array([0, 1])
TRAIN = tuple(map(np.concatenate, zip(FIRST, SECOND, strict=True)))
NAMES = ["cat", "oak_tree"]


@pytest.fixture
def cifar10(folder, monkeypatch):
    """A small CIFAR-10 in its binary version, in `folder`."""
    parts = {"data_batch_2.bin": SECOND, "data_batch_1.bin": FIRST}
    write_binary(
        folder / "cifar-10-binary.tar.gz",
        {"batches.meta.txt": NAMES},
        {**parts, "test_batch.bin": TEST},
    )
    accept(monkeypatch, "cifar10", 0, folder)
    return folder / "cifar-10-binary.tar.gz"


def test_cifar10_in_its_binary_version_is_read_as_written(cifar10, folder):
    check(archive_images("cifar10", folder), TRAIN, TEST, NAMES)


def test_cifar10_in_its_python_version_is_read_as_written(folder, monkeypatch):
    write_python(
        folder / "cifar-10-python.tar.gz",
        ("batches.meta", {"label_names": NAMES}),
        "labels",
        {"data_batch_2": SECOND, "test_batch": TEST, "data_batch_1": FIRST},
    )
    accept(monkeypatch, "cifar10", 1, folder)
    check(archive_images("cifar10", folder), TRAIN, TEST, NAMES)


def test_cifar100_in_its_binary_version_gives_the_fine_labels(folder, monkeypatch):
    write_binary(
        folder / "cifar-100-binary.tar.gz",
        {"coarse_label_names.txt": COARSE, "fine_label_names.txt": NAMES},
        {"train.bin": TRAIN, "test.bin": TEST},
        coarse=True,
    )
    accept(monkeypatch, "cifar100", 0, folder)
    check(archive_images("cifar100", folder), TRAIN, TEST, NAMES)


def test_cifar100_in_its_python_version_gives_the_fine_labels(folder, monkeypatch):
    write_python(
        folder / "cifar-100-python.tar.gz",
        ("meta", {"fine_label_names": NAMES, "coarse_label_names": COARSE}),
        "fine_labels",
        {"train": TRAIN, "test": TEST},
    )
    accept(monkeypatch, "cifar100", 1, folder)
    check(archive_images("cifar100", folder), TRAIN, TEST, NAMES)


def test_mnist_is_read_as_written(folder, monkeypatch):
    train = pixels(3, 0, (28, 28, 1)), np.array([7, 0, 9])
    test = pixels(2, 1, (28, 28, 1)), np.array([3, 3])
    contents = [
        bytes(header) + array.astype(np.uint8).tobytes()
        for split in (train, test)
        for header, array in zip((16, 8), split, strict=True)
    ]
    files = ARCHIVES["mnist"][0].files
    for file, content in zip(files, contents, strict=True):
        (folder / file).write_bytes(gzip.compress(content))
    accept(monkeypatch, "mnist", 0, folder)
    check(archive_images("mnist", folder), train, test, "0123456789")


@pytest.mark.parametrize("place", ["downloads", "downloads/manual", "cifar10"])
def test_an_archive_is_found_where_tfds_keeps_it_too(cifar10, folder, place):
    (folder / place).mkdir(parents=True)
    cifar10.rename(folder / place / cifar10.name)
    check(find_images("cifar10", str(folder)), TRAIN, TEST, NAMES)


def test_an_archive_is_unpacked_once(cifar10, folder, monkeypatch):
    archive_images("cifar10", folder)
    monkeypatch.setattr(module, "_read_verified", None)
    check(archive_images("cifar10", folder), TRAIN, TEST, NAMES)


def test_a_damaged_file_is_an_error_with_both_checksums(cifar10, folder):
    wanted = next(iter(ARCHIVES["cifar10"][0].files.values()))
    content = bytearray(cifar10.read_bytes())
    content[-1] ^= 1
    cifar10.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(InputError) as caught:
        archive_images("cifar10", folder)
    for word in (str(cifar10), found, wanted, "delete it"):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_absent_data_says_within_ten_seconds_what_to_put_where(name, folder):
    start = time.perf_counter()
    with pytest.raises(InputError) as caught:
        find_images(name, str(folder))
    assert time.perf_counter() - start < 10  # what the user is promised
    files = [file for version in ARCHIVES[name] for file in version.files]
    for word in (str(folder), "--data digits", "TFDS_DATA_DIR", *files):
        assert word in str(caught.value)


def test_an_absent_archive_is_downloaded_to_downloads(cifar10, folder, monkeypatch):
    away = cifar10.rename(folder.parent / cifar10.name)

    def fetch(url, path):
        assert url == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
        path.parent.mkdir()
        return away.rename(path)

    monkeypatch.setattr(module, "download", fetch)
    check(archive_images("cifar10", folder), TRAIN, TEST, NAMES)
    assert (folder / "downloads" / cifar10.name).is_file()


def test_every_official_file_has_a_checksum():
    for versions in ARCHIVES.values():
        for version in versions:
            for checksum in version.files.values():
                assert len(bytes.fromhex(checksum)) == 32
