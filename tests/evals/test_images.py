"""A moment of a generator of images is measured and drawn once, and scored as it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import from_linen
from jaxlab.data.critic_order import CriticOrder, CriticSchedule
from jaxlab.data.images.image_set import ArraySource, ImageData
from jaxlab.data.order import Order
from jaxlab.evals import images as module
from jaxlab.evals.images import ImageReport
from jaxlab.metrics import sample_scores
from jaxlab.metrics.sample_scores import Features, SampleScorer
from jaxlab.models.gan.make import Gan
from jaxlab.train.adversarial import Optimizers, init_adversarial_state

BATCH, LATENT, HELD_OUT = 8, 2, 20
ORDER = CriticOrder(Order(30, BATCH), CriticSchedule(2, 3, first=1))


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z, labels, *, train):
        return nn.tanh(nn.Dense(16)(z)).reshape(-1, 4, 4, 1)


class Critic(nn.Module):
    @nn.compact
    def __call__(self, x, labels, *, train):
        return nn.Dense(1)(nn.tanh(nn.Dense(8)(x.reshape(len(x), -1))))[:, 0]


@pytest.fixture
def data(rng):
    def draw(count):
        images = rng.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)
        return ArraySource(images, np.arange(count, dtype=np.int32) % 3)

    return ImageData("noise", draw(30), draw(HELD_OUT), ("a", "b", "c"), (4, 4, 1))


@pytest.fixture
def state():
    models = from_linen(Generator()), from_linen(Critic())
    optimizers = Optimizers(optax.sgd(0.1), optax.sgd(0.1))
    rest = jnp.zeros((1, LATENT)), jnp.zeros((1, 4, 4, 1)), jnp.zeros(1, jnp.int32)
    key, mesh = jax.random.key(0), make_mesh("data=1")
    return init_adversarial_state(*models, optimizers, key, mesh, *rest)


@pytest.fixture
def calls(monkeypatch):
    """Count what takes time: by name, how often it was done."""
    counts = {}

    def counted(name, function):
        def call(*args, **options):
            counts[name] = counts.get(name, 0) + 1
            return function(*args, **options)

        return call

    for name in ("critic_report", "sample_grid", "wasserstein"):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    embed = counted("embed", SampleScorer.embed)
    monkeypatch.setattr(SampleScorer, "embed", embed)
    sample = counted("sample", module.ImageSampler.__call__)
    monkeypatch.setattr(module.ImageSampler, "__call__", sample)
    distance = counted("frechet_distance", sample_scores.frechet_distance)
    monkeypatch.setattr(sample_scores, "frechet_distance", distance)
    return counts


def embed(images):
    """Features and classes that anyone can compute."""
    rows = np.asarray(images, np.float64).reshape(len(images), -1)[:, :6] / 100
    powers = np.exp(rows - rows.max(1, keepdims=True))
    return rows, powers / powers.sum(1, keepdims=True)


def make_report(data, **options):
    gan = Gan(Generator(), Critic(), LATENT)
    return ImageReport(gan, data, ORDER, Features("net", embed), **options)


@pytest.mark.slow
def test_the_last_moment_is_measured_and_drawn_once(data, state, calls, tmp_path):
    report = make_report(data)
    start = report(state, tmp_path)
    assert "num_real" not in start
    assert calls == {
        "critic_report": 1,
        "sample": 1,
        "embed": 2,  # the real images, and those of the moment
        "sample_grid": 1,
        "frechet_distance": 1,
    }
    assert report(state, tmp_path) == start
    found = report.last(state, tmp_path, start)
    assert calls == {
        "critic_report": 1,
        "sample": 1,
        "embed": 3,  # and those that are held out
        "sample_grid": 1,
        "frechet_distance": 2,
        "wasserstein": 1,
    }
    assert {name: found[name] for name in start} == start
    assert found["fid_net_untrained"] == start["fid_net"]
    assert (found["num_real"], found["num_generated"]) == (30, HELD_OUT)
    # As of one who is asked for the end alone, for another state too.
    other = jax.tree.map(lambda leaf: leaf, state)
    for again in (make_report(data), report):
        assert again.last(other, tmp_path, start) == found
    assert calls["critic_report"] == 3


@pytest.mark.slow
def test_scores_are_those_of_all_images_and_pictures_are_kept(data, state, tmp_path):
    report = make_report(data)
    found = report.last(state, tmp_path, {"fid_net": 7.0})
    images = report._sample(state.generator.params, state.generator.model_state)
    scorer = SampleScorer(Features("net", embed), data.train.image)
    scores = scorer(images)
    assert {name: found[name] for name in scores} == scores
    real = scorer(data.test.image, scores=("fid",))
    assert found["fid_net_held_out"] == real["fid_net"]
    assert found["fid_net_untrained"] == 7.0
    assert found["critic_w1"] <= found["exact_w1"]
    report.draw(tmp_path)
    pictures = {file.name for file in tmp_path.iterdir()}
    assert pictures == {"real.png", "samples.png", "samples-000000.png"}
    one, other = (tmp_path / name for name in ("samples.png", "samples-000000.png"))
    assert one.read_bytes() == other.read_bytes()


def test_too_few_images_are_refused(data):
    with pytest.raises(InputError, match="num_samples 9 must be at least 10"):
        make_report(data, num_samples=9)
    images = data.test.rows(np.arange(6))
    few = ArraySource(images["image"], images["label"])
    with pytest.raises(InputError, match="6 held-out images are too few"):
        make_report(dataclasses.replace(data, test=few))
