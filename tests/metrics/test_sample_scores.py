"""Scores carry the name of their network; the inception score in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from jaxlab.core.errors import InputError
from jaxlab.metrics.sample_scores import (
    INCEPTION,
    Features,
    SampleScorer,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
    sample_scores,
)

WEIGHTS = np.random.default_rng(0).normal(size=(48, 6)).astype(np.float32) / 100


@jax.jit
def _network(images):
    features = images.reshape(len(images), -1).astype(jnp.float32) @ WEIGHTS
    return features, jax.nn.softmax(features)


def images(seed, n, low=0):
    rng = np.random.default_rng(seed)
    return rng.integers(low, 256, size=(n, 4, 4, 3), dtype=np.uint8)


def test_uniform_predictions_score_one():
    mean, std = inception_score(np.full((50, 7), 1 / 7))
    assert mean == pytest.approx(1, abs=1e-12)
    assert std == pytest.approx(0, abs=1e-12)


def test_sure_and_even_predictions_score_the_number_of_classes():
    mean, std = inception_score(np.tile(np.eye(5), (8, 1)), splits=4)
    assert mean == pytest.approx(5, rel=1e-12)
    assert std == pytest.approx(0, abs=1e-12)


def test_one_class_scores_one():
    assert inception_score(np.eye(5)[np.zeros(20, int)])[0] == pytest.approx(1)


def test_the_inception_score_is_that_of_the_authors_loop():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(6) * 0.3, size=103)
    scores = []
    for i in range(10):
        part = p[i * 103 // 10 : (i + 1) * 103 // 10]
        scores.append(np.exp(np.mean([entropy(row, part.mean(0)) for row in part])))
    mean, std = inception_score(p)
    assert mean == pytest.approx(np.mean(scores), rel=1e-12)
    assert std == pytest.approx(np.std(scores), rel=1e-10)


@pytest.mark.parametrize(
    ("probabilities", "splits", "message"),
    [
        (np.eye(3), 4, "parts"),
        (np.eye(3), 0, "parts"),
        (np.ones((20, 3)), 10, "softmax"),
        (np.tile([-1.0, 2.0], (20, 1)), 10, "softmax"),
        (np.full((20, 3), np.nan), 10, "finite"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, splits, message):
    with pytest.raises(InputError, match=message):
        inception_score(probabilities, splits=splits)


def test_scores_are_named_by_their_network():
    real, fake = images(0, 90), images(1, 70, low=20)
    found = sample_scores(Features("digits", _network), real, fake, batch_size=32)
    assert set(found) == {
        *("fid_digits", "kid_digits", "kid_std_digits"),
        *("inception_score_digits", "inception_score_std_digits"),
        *("precision_digits", "recall_digits", "density_digits", "coverage_digits"),
        *("num_real", "num_generated"),
    }
    assert (found["num_real"], found["num_generated"]) == (90, 70)
    (x, _), (y, p) = (_network(rows) for rows in (real, fake))
    x, y, p = np.asarray(x), np.asarray(y), np.asarray(p)
    near = {"rel": 1e-5}  # a batch of another size rounds its float32 otherwise
    assert found["fid_digits"] == pytest.approx(frechet_distance(x, y), **near)
    assert found["kid_digits"] == pytest.approx(kernel_distance(x, y)[0], **near)
    assert found["inception_score_digits"] == pytest.approx(
        inception_score(p)[0], **near
    )
    for name, value in precision_recall(x, y).items():
        assert found[f"{name}_digits"] == pytest.approx(value)


def test_a_network_tells_how_often_it_is_right_if_that_is_known():
    assert str(Features("net", _network)) == "net"
    told = str(Features("net", _network, accuracy=0.9972))
    assert told == "net, 99.7 % of held-out samples right"


def test_only_inception_gives_fid():
    real, fake = images(0, 40), images(1, 40)
    found = sample_scores(Features(INCEPTION, _network), real, fake)
    assert {"fid", "kid", "inception_score", "precision_inception"} < set(found)


def test_a_scorer_embeds_the_real_samples_once_and_keeps_what_they_give():
    calls = []

    def embed(batch):
        calls.append(len(batch))
        return _network(batch)

    features, real = Features("net", embed), images(0, 70)
    scorer = SampleScorer(features, real, batch_size=50)
    assert calls == [50, 50]
    fakes = images(1, 60), images(2, 100)
    found = [scorer(fake) for fake in fakes]
    assert calls == [50] * 6
    again = [sample_scores(features, real, fake, batch_size=50) for fake in fakes]
    assert found == again
    assert scorer(fakes[0]) == found[0]
    count = len(calls)
    embedded = scorer.embed(fakes[0])
    assert scorer(embedded) == found[0]
    assert calls[count:] == [50, 50]


def test_a_network_without_classes_has_no_inception_score():
    features = Features("net", lambda x: (_network(x)[0], None))
    found = sample_scores(features, images(0, 40), images(1, 40))
    assert not [name for name in found if name.startswith("inception")]


def test_scores_can_be_chosen():
    features = Features("net", _network)
    scorer, fake = SampleScorer(features, images(0, 40)), images(1, 8)
    found = scorer(fake, scores=("fid",))
    assert set(found) == {"fid_net", "num_real", "num_generated"}
    with pytest.raises(InputError, match="unknown scores fidd"):
        scorer(fake, scores=("fidd",))
    with pytest.raises(InputError, match="unknown scores fidd"):
        sample_scores(features, images(0, 40), fake, scores=("fid", "fidd"))


def test_real_samples_score_better_than_others():
    scorer = SampleScorer(Features("net", _network), images(0, 200))
    held_out, others = scorer(images(1, 200)), scorer(images(2, 200, low=128))
    assert held_out["fid_net"] < others["fid_net"] / 3
    assert held_out["kid_net"] < others["kid_net"] / 3
    assert held_out["recall_net"] > others["recall_net"]
    assert held_out["coverage_net"] > others["coverage_net"]


def test_samples_that_cannot_be_scored_are_refused():
    features = Features("net", _network)
    with pytest.raises(InputError, match="no samples"):
        sample_scores(features, images(0, 40), images(0, 0))
    diverged = Features("net", lambda x: (np.full((len(x), 3), np.nan), None))
    with pytest.raises(InputError, match="finite"):
        sample_scores(diverged, images(0, 40), images(1, 40))
