"""Tests of `jaxlab.evals.classifier` and `jaxlab.evals.embedding`."""

import dataclasses
import fcntl
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.core.recorded import record
from jaxlab.data.batches import training_batches
from jaxlab.data.images.augment import to_unit_range
from jaxlab.data.images.find import find_images
from jaxlab.data.images.image_set import ArraySource, ImageData
from jaxlab.evals import classifier as module
from jaxlab.evals.classifier import (
    ClassifierRecipe,
    classifier_recipe,
    train_classifier,
)
from jaxlab.evals.embedding import image_features
from jaxlab.evals.open_run import open_run
from jaxlab.models.vision.feature_classifier import FeatureClassifier
from jaxlab.runs.interrupts import Interrupted

SHORT = ClassifierRecipe(steps=40, batch_size=16, max_shift=1, flip=True)


class Network(nn.Module):
    """Linear features of all pixels, and a linear head."""

    width: int = 5
    num_classes: int = 3

    @nn.compact
    def embed(self, images, *, train=False):
        features = nn.Dense(self.width)(images.reshape(len(images), -1))
        return features, nn.Dense(self.num_classes)(features)

    def __call__(self, images, *, train=False):
        return self.embed(images, train=train)[1]


@pytest.fixture
def data(rng):
    """Give images of three classes, each brighter than the one before."""

    def draw(count):
        label = np.arange(count, dtype=np.int32) % 3
        noise = rng.integers(0, 40, (count, 4, 4, 1))
        image = (noise + 90 * label[:, None, None, None]).astype(np.uint8)
        return ArraySource(image, label)

    return ImageData("bright", draw(90), draw(30), ("a", "b", "c"), (4, 4, 1))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give the folder of classifiers, and count those that are trained."""
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path))
    return tmp_path / "classifiers"


@pytest.fixture
def trained(monkeypatch):
    """Collect the seeds of what is trained and not read."""
    seeds, train = [], module._train

    def counted(network, data, config, *rest):
        seeds.append(config.seed)
        return train(network, data, config, *rest)

    monkeypatch.setattr(module, "_train", counted)
    return seeds


def train(data, recipe=SHORT, *, width=5, num_classes=3, **options):
    network = record(Network, width, num_classes)
    return train_classifier(network, data, recipe=recipe, is_visible=False, **options)


@pytest.mark.slow
def test_it_learns_and_the_same_arguments_give_the_same_bits(data, same, tmp_path):
    one, other = (train(data, folder=tmp_path / name) for name in "ab")
    assert one.accuracy > 0.9
    assert one.model_state == {}
    assert same(one.params, other.params)
    assert not same(one.params, train(data, folder=tmp_path, seed=1).params)


def test_what_was_trained_is_a_run_that_is_opened_again(data, folder, trained, same):
    one = train(data)
    again = train(data)
    assert trained == [0]
    assert (again.accuracy, again.model_state) == (one.accuracy, one.model_state)
    assert same(again.params, one.params)
    (path,) = folder.iterdir()
    with pytest.raises(InputError, match="made by 'Network', which is none of"):
        open_run(path)
    run = open_run(path, makers={"Network": Network})
    assert run.network == Network(5, 3)
    assert run.class_names == ("a", "b", "c")
    assert same(run.params, one.params)
    assert (path / "curves.png").exists()


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on(data, folder, trained, same, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(module, "training_batches", interrupted(7))
        with pytest.raises(Interrupted, match="after step 8 of 40"):
            train(data)
    found = train(data)
    (path,) = folder.iterdir()
    assert not list(path.glob("non_finite*"))
    assert same(found.params, train(data, folder=folder / "whole").params)


def interrupted(last):
    """Give training_batches that press Ctrl-C."""

    def make(*args):
        def batches(start):
            for number, batch in enumerate(training_batches(*args)(start), start):
                if number == last:
                    os.kill(os.getpid(), signal.SIGINT)
                yield batch

        return batches

    return make


@pytest.mark.slow
def test_it_is_trained_anew_if_anything_that_it_depends_on_changes(
    data, folder, trained
):
    train(data)
    train(data, seed=1)
    train(data, width=6)
    train(data, recipe=dataclasses.replace(SHORT, flip=False))
    train(data, recipe=dataclasses.replace(SHORT, learning_rate=0.02))
    darker = ArraySource(data.train.image // 2, data.train.label)
    train(dataclasses.replace(data, train=darker))
    fewer = ArraySource(data.test.image[:-1], data.test.label[:-1])
    train(dataclasses.replace(data, test=fewer))
    assert len(trained) == len(list(folder.iterdir())) == 7


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["cut", "text", "gone"])
def test_a_damaged_run_is_trained_again(data, folder, trained, same, harm):
    one = train(data)
    (path,) = folder.iterdir()
    if harm == "text":
        (path / "summary.json").write_text('["no", "fields"]')
    elif harm == "gone":
        shutil.rmtree(path / "checkpoints")
    else:
        for file in (path / "checkpoints").rglob("*"):
            if file.is_file() and file.stat().st_size > 400:
                file.write_bytes(file.read_bytes()[:200])
    with pytest.warns(UserWarning, match="is trained again"):
        again = train(data)
    assert trained == [0, 0]
    assert {p.suffix for p in folder.iterdir()} == {"", ".damaged"}
    assert same(again.params, one.params)
    assert train(data).accuracy == one.accuracy
    assert trained == [0, 0]


def test_a_model_of_another_number_of_classes_is_refused(data, folder):
    with pytest.raises(InputError, match=r"4 outputs, but bright has 3 classes"):
        train(data, num_classes=4)


def test_what_diverged_is_not_kept(data, folder):
    recipe = dataclasses.replace(SHORT, learning_rate=1e38)
    with pytest.raises(InputError, match=r"diverged with learning_rate 1e\+38"):
        train(data, recipe=recipe)
    assert not list(folder.iterdir())


def test_one_that_another_process_trains_is_not_waited_for(data, folder, same):
    one = train(data)
    (path,) = folder.iterdir()
    (path / "summary.json").unlink()
    with (path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.warns(UserWarning, match="is not kept: .* in use by another"):
            again = train(data)
    assert same(again.params, one.params)


def test_recipes_follow_the_data(data):
    grey = classifier_recipe(data)
    assert (grey.flip, grey.max_shift) == (False, 0)

    class Many(ArraySource):
        def __len__(self):
            return 50_000

    many = Many(data.train.image, data.train.label)
    large = dataclasses.replace(data, train=many, shape=(32, 32, 3))
    longer = classifier_recipe(large)
    assert (longer.flip, longer.max_shift) == (True, 1)
    assert longer.steps > grey.steps


def test_features_are_those_of_the_network_and_of_uint8_images_alone(data, tmp_path):
    found = train(data, folder=tmp_path)
    model = from_linen(Network(), method=Network.embed)
    features = image_features("classifier", model, found.params)
    assert features.name == "classifier"
    images = data.test.image
    embedded, probabilities = features.embed(images)
    (expected, logits), _ = model.apply(
        found.params, {}, to_unit_range(jnp.asarray(images))
    )
    np.testing.assert_allclose(embedded, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(logits), rtol=1e-5)
    accuracy = (np.argmax(probabilities, 1) == data.test.label).mean()
    assert accuracy == found.accuracy
    with pytest.raises(InputError, match="dtype float32 cannot be embedded"):
        features.embed(jnp.asarray(images, jnp.float32))


@pytest.mark.claim
def test_digits_are_told_apart_at_98_percent(tmp_path):
    network = record(FeatureClassifier, num_classes=10)
    found = train_classifier(network, find_images("digits"), folder=tmp_path)
    assert found.accuracy >= 0.98


def test_a_cache_that_cannot_be_written_costs_no_classifier(
    data, tmp_path, monkeypatch
):
    file = tmp_path / "file"
    file.write_text("no folder")
    monkeypatch.setenv("JAXLAB_CACHE", str(file))
    with pytest.warns(UserWarning, match="the classifier is not kept"):
        found = train(data)
    assert found.accuracy > 0.5
