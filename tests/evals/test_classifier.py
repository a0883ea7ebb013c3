"""Tests of `jaxlab.evals.classifier` and `jaxlab.evals.embedding`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
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
from jaxlab.models.vision.feature_classifier import FeatureClassifier

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

    def counted(model, data, recipe, seed, *rest):
        seeds.append(seed)
        return train(model, data, recipe, seed, *rest)

    monkeypatch.setattr(module, "_train", counted)
    return seeds


def train(data, network=None, recipe=SHORT, **options):
    model = from_linen(network or Network())
    return train_classifier(model, data, recipe=recipe, visible=False, **options)


def test_it_learns_and_the_same_arguments_give_the_same_bits(data, same):
    one, other = (train(data, cache=False) for _ in range(2))
    assert one.accuracy > 0.9
    assert one.model_state == {}
    assert same(one.params, other.params)
    assert not same(one.params, train(data, cache=False, seed=1).params)


def test_what_was_trained_is_read_again(data, folder, trained, same):
    one = train(data)
    again = train(data)
    assert trained == [0]
    assert (again.accuracy, again.model_state) == (one.accuracy, one.model_state)
    assert same(again.params, one.params)
    assert [file.suffix for file in folder.iterdir()] == [".npz"]  # no part is left


@pytest.mark.slow
def test_it_is_trained_anew_if_anything_that_it_depends_on_changes(
    data, folder, trained
):
    train(data)
    train(data, seed=1)
    train(data, Network(width=6))
    train(data, recipe=dataclasses.replace(SHORT, flip=False))
    train(data, recipe=dataclasses.replace(SHORT, learning_rate=0.02))
    darker = ArraySource(data.train.image // 2, data.train.label)
    train(dataclasses.replace(data, train=darker))
    fewer = ArraySource(data.test.image[:-1], data.test.label[:-1])
    train(dataclasses.replace(data, test=fewer))
    assert len(trained) == len(list(folder.iterdir())) == 7


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["cut", "empty", "other"])
def test_a_broken_file_is_replaced(data, folder, trained, same, harm):
    one = train(data)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    if harm == "other":
        np.savez(file, accuracy=1.0, other=np.zeros(3))
    else:
        file.write_bytes(whole[: len(whole) // 2] if harm == "cut" else b"")
    again = train(data)
    assert trained == [0, 0]
    assert same(again.params, one.params)
    assert train(data).accuracy == one.accuracy
    assert trained == [0, 0]


def test_a_model_of_another_number_of_classes_is_refused(data, folder):
    with pytest.raises(InputError, match=r"4 outputs, but bright has 3 classes"):
        train(data, Network(num_classes=4))


def test_what_diverged_is_not_kept(data, folder):
    recipe = dataclasses.replace(SHORT, learning_rate=1e38)
    with pytest.raises(InputError, match=r"diverged with learning_rate 1e\+38"):
        train(data, recipe=recipe)
    assert not folder.exists()


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


def test_features_are_those_of_the_network_and_of_uint8_images_alone(data):
    found = train(data, cache=False)
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
def test_digits_are_told_apart_at_98_percent():
    network = FeatureClassifier(num_classes=10)
    found = train_classifier(
        from_linen(network), find_images("digits"), cache=False, visible=False
    )
    assert found.accuracy >= 0.98


def test_a_cache_that_cannot_be_written_costs_no_classifier(
    data, tmp_path, monkeypatch
):
    file = tmp_path / "file"
    file.write_text("no folder")
    monkeypatch.setenv("JAXLAB_CACHE", str(file))
    with pytest.warns(UserWarning, match="the classifier was not kept"):
        found = train_classifier(from_linen(Network()), data, recipe=SHORT)
    assert found.accuracy > 0.5
