"""Image sets prepared by TensorFlow Datasets, read where there is no TensorFlow.

The sets are written here, in miniature, by the parts of TFDS that need no TensorFlow.
"""

import gzip
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.images import tfds_images as module
from jaxlab.data.images.find import find_images
from jaxlab.data.images.image_set import ArraySource
from jaxlab.data.images.tfds_images import TfdsSource, tfds_images
from tests.damage import check_reader
from tests.data.images.image_files import encoded

NAMES = ["cat", "dog", "owl"]

WITHOUT_TENSORFLOW = """
import importlib.abc, importlib.machinery, sys

class Blocked(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Blocked())
import json
import numpy as np
from jaxlab.data.images.archives import ARCHIVES, Archive
from jaxlab.data.images.find import find_images

folder, names, checksums = sys.argv[1], sys.argv[2:], json.loads(sys.stdin.read())
ARCHIVES["mnist"] = [Archive(checksums, "", ARCHIVES["mnist"][0].read)]
for name in names:
    data = find_images(name, folder)
    print(data.train.rows(np.arange(2))["image"].shape)
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache folder."""
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pets(tmp_path, rng):
    """A set of 20 training and 5 test images, and its pixels and labels by split."""
    examples = {}
    for split, count in (("train", 20), ("test", 5)):
        images = rng.integers(0, 256, (count, 6, 4, 3)).astype(np.uint8)
        examples[split] = images, rng.integers(0, 3, count)
    write_set(tmp_path / "pets" / "1.0.0", examples)
    return examples


def features(shape=(6, 4, 3)):
    """An image, its class, and a text that nobody asks for."""
    import tensorflow_datasets as tfds

    return {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=shape, encoding_format="png"),
        "label": tfds.features.ClassLabel(names=NAMES),
    }


def write_set(
    folder, examples, *, name="", shape=(6, 4, 3), leave_out=(), kind="array_record"
):
    """Write a set's folder NAME/VERSION; `examples` is {split: (images, labels)}."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    folder.mkdir(parents=True)
    chosen = {k: v for k, v in features(shape).items() if k not in leave_out}
    chosen = tfds.features.FeaturesDict(chosen)
    serializer = ExampleSerializer(chosen.get_serialized_info())
    name, splits = name or folder.parent.name, []
    for split, (images, labels) in examples.items():
        file = folder / f"{name}-{split}.{kind}-00000-of-00001"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            example = {"id": f"{split}-{number}", "label": int(label)}
            example["image"] = encoded(image)
            example = {k: v for k, v in example.items() if k not in leave_out}
            writer.write(serializer.serialize_example(example))
        writer.close()
        splits.append(
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(file.stat().st_size),
                "shardLengths": [str(len(images))],
            }
        )
    chosen.save_config(str(folder))
    info = {"name": name, "version": "1.0.0", "fileFormat": kind, "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def check(source, examples):
    images, labels = examples
    rows = source.rows(np.arange(len(source)))
    np.testing.assert_array_equal(rows["image"], images)
    np.testing.assert_array_equal(rows["label"], labels)
    assert (rows["image"].dtype, rows["label"].dtype) == (np.uint8, np.int32)


def test_a_prepared_set_is_read_as_it_was_written(pets, tmp_path):
    data = tfds_images("pets", tmp_path)
    assert data.class_names == tuple(NAMES)
    assert data.shape == (6, 4, 3)
    check(data.train, pets["train"])
    check(data.test, pets["test"])
    found = find_images("pets", str(tmp_path))
    assert str(found) == "pets (20 train, 5 test, 6 x 4 x 3)"


def test_a_small_set_is_decoded_once(pets, tmp_path, monkeypatch):
    assert isinstance(tfds_images("pets", tmp_path).train, ArraySource)
    monkeypatch.setattr(module, "decode_image", None)
    check(tfds_images("pets", tmp_path).train, pets["train"])


def test_a_large_set_is_decoded_as_it_is_read(pets, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(module, "_KEEP_IN_MEMORY", 0)
    data = tfds_images("pets", tmp_path)
    assert isinstance(data.train, TfdsSource)
    check(data.train, pets["train"])
    some = data.test.rows(np.array([3, 0, 3]))
    np.testing.assert_array_equal(some["image"], pets["test"][0][[3, 0, 3]])
    assert not cache.exists()


def test_images_can_be_resized(pets, tmp_path):
    data = tfds_images("pets", tmp_path, image_size=4)
    assert data.shape == (4, 4, 3)
    np.testing.assert_array_equal(data.train.image, pets["train"][0][:, 1:5])


def test_a_set_without_a_test_split_gives_up_its_last_tenth(pets, tmp_path):
    write_set(tmp_path / "alone" / "1.0.0", {"train": pets["train"]})
    data = tfds_images("alone", tmp_path)
    images, labels = pets["train"]
    check(data.train, (images[:18], labels[:18]))
    check(data.test, (images[18:], labels[18:]))


def test_a_validation_split_is_no_test_split(pets, tmp_path):
    write_set(
        tmp_path / "alone" / "1.0.0",
        {"train": pets["train"], "validation": pets["test"]},
    )
    data = tfds_images("alone", tmp_path)
    check(data.train, pets["train"])
    check(data.valid, pets["test"])
    assert data.test is None


def test_two_splits_of_one_kind_are_refused(pets, tmp_path):
    write_set(
        tmp_path / "odd" / "1.0.0", {**pets, "dev": pets["test"], "val": pets["test"]}
    )
    with pytest.raises(InputError, match="two splits for valid, dev and val"):
        tfds_images("odd", tmp_path)


@pytest.mark.parametrize("is_large", [False, True])
def test_a_damaged_record_is_named(pets, tmp_path, monkeypatch, is_large):
    monkeypatch.setattr(module, "_KEEP_IN_MEMORY", 0 if is_large else 2**30)
    (file,) = (tmp_path / "pets" / "1.0.0").glob("pets-test*")
    content = bytearray(file.read_bytes())
    place = content.index(encoded(pets["test"][0][3]))
    content[place + 20] ^= 1
    file.write_bytes(content)

    def read():
        test = tfds_images("pets", tmp_path).test
        assert len(test.rows(np.arange(3))["label"]) == 3
        test.rows(np.arange(5))

    with pytest.raises(InputError, match=f"{file.name}, record 3, cannot be") as caught:
        read()
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_or_is_gone_is_named(pets, tmp_path):
    (file,) = (tmp_path / "pets" / "1.0.0").glob("pets-train*")
    file.write_bytes(file.read_bytes()[:70_000])
    with pytest.raises(InputError, match=f"{file.name}.* cannot be read: .* prepare"):
        tfds_images("pets", tmp_path)
    file.unlink()
    with pytest.raises(InputError, match=f"{file.name}.* cannot be read"):
        tfds_images("pets", tmp_path)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_damaged_description_is_told_in_one_line(pets, tmp_path, name):
    file = tmp_path / "pets" / "1.0.0" / name
    whole = file.read_text()
    for damaged in ("", whole[:90], whole.replace(":", ";", 1)):
        file.write_text(damaged)
        with pytest.raises(InputError, match=r"'pets' in .* cannot be read") as caught:
            tfds_images("pets", tmp_path)
        assert "\n" not in str(caught.value)


def test_a_label_of_no_class_and_another_size_are_named(pets, tmp_path, rng):
    images, labels = pets["train"]
    write_set(tmp_path / "odd" / "1.0.0", {"train": (images, np.where(labels, 1, -1))})
    with pytest.raises(InputError, match=r"odd-train.*its label -1 is none of the 3"):
        tfds_images("odd", tmp_path)
    wide = rng.integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)
    write_set(tmp_path / "wide" / "1.0.0", {"train": (wide, labels)})
    with pytest.raises(InputError, match=r"record 0, .*\(6, 5, 3\), not \(6, 4, 3\)"):
        tfds_images("wide", tmp_path)


@pytest.mark.fuzz
def test_damaged_records_are_refused_or_read_right(pets, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_KEEP_IN_MEMORY", 0)
    (file,) = (tmp_path / "pets" / "1.0.0").glob("pets-train*")
    images, labels = pets["train"]

    def read(file):
        return tfds_images("pets", tmp_path).train.rows(np.arange(len(labels)))

    def is_right(rows):
        same = np.array_equal(rows["image"], images)
        return same and np.array_equal(rows["label"], labels)

    check_reader(read, file, is_right)


def test_a_configuration_is_named_behind_a_slash(pets, tmp_path):
    write_set(tmp_path / "zoo" / "small" / "1.0.0", pets, name="zoo")
    check(find_images("zoo/small", str(tmp_path)).train, pets["train"])


def test_a_folder_that_holds_no_prepared_set_is_none(tmp_path):
    assert tfds_images("absent", tmp_path) is None
    (tmp_path / "empty").mkdir()
    assert tfds_images("empty", tmp_path) is None
    (tmp_path / "two-words").mkdir()
    assert tfds_images("two-words", tmp_path) is None
    assert tfds_images(str(tmp_path), tmp_path) is None


@pytest.mark.parametrize("left_out", ["image", "label"])
def test_a_set_without_an_image_or_class_is_an_error(pets, tmp_path, left_out):
    write_set(tmp_path / "odd" / "1.0.0", pets, leave_out=(left_out,))
    with pytest.raises(InputError, match=r"'odd' has the features .*one Image and one"):
        tfds_images("odd", tmp_path)


def test_a_set_without_a_train_split_is_an_error(pets, tmp_path):
    write_set(tmp_path / "odd" / "1.0.0", {"test": pets["test"]})
    with pytest.raises(InputError, match="has the splits test, no train"):
        tfds_images("odd", tmp_path)


def test_images_of_different_sizes_need_a_size(pets, tmp_path):
    write_set(tmp_path / "odd" / "1.0.0", pets, shape=(None, None, 3))
    with pytest.raises(InputError, match=r"different sizes; give --image-size"):
        tfds_images("odd", tmp_path)
    assert tfds_images("odd", tmp_path, image_size=4).shape == (4, 4, 3)


def test_a_set_in_a_format_of_tensorflow_says_which_to_use(pets, tmp_path):
    write_set(tmp_path / "old" / "1.0.0", pets, kind="tfrecord")
    with pytest.raises(InputError, match=r"format tfrecord, .* format array_record$"):
        tfds_images("old", tmp_path)


def test_the_real_cifar10_is_read_where_there_is_one(monkeypatch):
    folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR", ""))
    if not (folder / "cifar10").is_dir():
        pytest.skip("TFDS_DATA_DIR is not set, or holds no cifar10")
    monkeypatch.setattr(module, "_KEEP_IN_MEMORY", 0)  # decode a slice only
    data = tfds_images("cifar10", folder)
    assert (len(data.train), len(data.test), len(data.class_names)) == (
        50000,
        10000,
        10,
    )
    rows = data.train.rows(np.arange(0, 50000, 500))
    assert rows["image"].shape == (100, 32, 32, 3)
    assert set(rows["label"]) == set(range(10))


def write_mnist(folder):
    """Write MNIST's archive of blank images; give the checksums by file."""
    checksums = {}
    for name, count in (("x", 16 + 2 * 784), ("y", 8 + 2)) * 2:
        file = f"{len(checksums)}-{name}.gz"
        (folder / file).write_bytes(gzip.compress(bytes(count)))
        checksums[file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    return checksums


@pytest.mark.slow
def test_every_source_works_without_tensorflow(pets, tmp_path):
    x, y = np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1])
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "folder" / split / name
            folder.mkdir(parents=True)
            (folder / "1.png").write_bytes(encoded(pets["test"][0][0]))
    names = ["digits", tmp_path / "mine.npz", tmp_path / "folder", "mnist", "pets"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, tmp_path, *names],
        input=json.dumps(write_mnist(tmp_path)),
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "(2, 8, 8, 1)",
        "(2, 8, 8, 1)",
        "(2, 6, 4, 3)",
        "(2, 28, 28, 1)",
        "(2, 6, 4, 3)",
    ]
