"""A run folder opens to the network that it holds."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.core.recorded import record
from jaxlab.data.text.vocabulary import train_vocabulary
from jaxlab.evals.open_run import MAKERS, open_run
from jaxlab.models.gan.make import make_point_gan
from jaxlab.models.vision.vit import ViT
from jaxlab.runs.checkpoint import Checkpoints
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.trees import XGBoostClassifier
from tests.train.conftest import Config

SIZES = {"num_classes": 3, "patch_size": 4, "width": 8, "depth": 1, "num_heads": 2}
IMAGES = jnp.linspace(-1, 1, 2 * 8 * 8).reshape(2, 8, 8, 1)


class Sizes(NamedTuple):
    width: int


@pytest.fixture
def save(tmp_path):
    """Write a run folder with a network and states by step, scored or not."""

    def save(network, states, **notes):
        config = Config(run=RunOptions(run_dir=str(tmp_path / "run")))
        with RunFolder("toy", config) as run:
            run.write_network(network, **notes)
            for step, (state, score) in states.items():
                run.checkpoints.save(step, state, {}, score)
        return tmp_path / "run"

    return save


def test_a_network_its_parameters_and_names_come_back(save, same):
    network = record(ViT, **SIZES)
    model = from_linen(network.network)
    states = {}
    for step, score in ((1, 0.9), (2, 0.5), (3, None)):
        params, _ = model.init(jax.random.key(step), IMAGES)
        states[step] = {"params": params, "model_state": {}, "ema": None}, score
    names = ("cat", "dog", "cow")
    folder = save(network, states, class_names=names, preprocessing={"range": (-1, 1)})
    run = open_run(folder)
    assert run.network == network.network
    assert (run.experiment, run.class_names) == ("toy", names)
    assert run.preprocessing == {"range": [-1, 1]}
    assert (run.config["learning_rate"], run.vocabulary) == (0.1, None)
    assert run.model_state == {}
    for at, step in (("best", 1), ("last", 3), (1, 1)):
        assert same(open_run(folder, step=at).params, states[step][0]["params"])
    assert len({open_run(folder, step=step).fingerprint for step in (1, 3)}) == 2
    logits = run.network.apply({"params": run.params}, IMAGES)
    assert logits.shape == (2, 3)


def test_two_networks_open_to_the_generator_and_any_part(save, same):
    gan = record(make_point_gan, width=4, generator_depth=1, critic_depth=1)
    keys, z = jax.random.split(jax.random.key(0)), jnp.zeros((1, 2))
    generator, _ = from_linen(gan.network.generator).init(keys[0], z)
    critic, _ = from_linen(gan.network.critic).init(keys[1], z)
    players = {
        "generator": {"params": generator, "model_state": {"mean": np.ones(2)}},
        "critic": {"params": critic, "model_state": {}},
    }
    run = open_run(save(gan, {1: (players, None)}))
    assert run.network == gan.network
    assert same(run.params, generator)
    assert same(run.part("critic/params"), critic)
    assert same(run.model_state, {"mean": np.ones(2)})
    with pytest.raises(InputError, match="no 'judge/params'; it has critic, generator"):
        run.part("judge/params")


def test_a_vocabulary_comes_back(save):
    vocabulary = train_vocabulary(["a bc"], "char")
    run = open_run(save(record(ViT, **SIZES), {}, vocabulary=vocabulary))
    assert run.vocabulary.encode(["cab"]) == vocabulary.encode(["cab"])


def test_what_cannot_be_opened_is_told_in_one_line(save, tmp_path):
    with pytest.raises(InputError, match=r"is no run folder: it has no config\.json"):
        open_run(tmp_path)
    with RunFolder("toy", Config(run=RunOptions(run_dir=str(tmp_path / "all")))):
        (tmp_path / "all" / "gru").mkdir()
        (tmp_path / "all" / "gru" / "network.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no network\.json; open one of .*: gru"):
        open_run(tmp_path / "all")
    folder = save(record(Sizes, width=3), {})
    with pytest.raises(InputError, match="made by 'Sizes', which is none of"):
        open_run(folder)
    with pytest.raises(InputError, match=r"cannot be made again: .*'width'"):
        open_run(folder, makers={"Sizes": lambda depth: depth})
    run = open_run(folder, makers={"Sizes": Sizes})
    assert run.network == Sizes(3)
    with pytest.raises(InputError, match="no complete checkpoint"):
        _ = run.params
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 1}))
    with pytest.raises(InputError, match="made by another version"):
        open_run(folder)


def test_opening_touches_nothing_that_is_being_written(save):
    model = from_linen(ViT(**SIZES))
    params, _ = model.init(jax.random.key(0), IMAGES)
    folder = save(record(ViT, **SIZES), {1: ({"params": params}, None)})
    unfinished = folder / "checkpoints" / "2.orbax-checkpoint-tmp"
    unfinished.mkdir()
    _ = open_run(folder).params
    assert unfinished.exists()
    with Checkpoints(folder / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == 1


def test_every_maker_is_known_by_its_own_name():
    assert all(maker.__name__ == name for name, maker in MAKERS.items())


def test_a_run_of_trees_opens_to_its_estimator(save, rng):
    folder = save(record(XGBoostClassifier), {}, class_names=("no", "yes"))
    with pytest.raises(InputError, match="has not finished"):
        open_run(folder)
    X, y = rng.normal(size=(40, 2)), np.arange(40) % 2
    model = XGBoostClassifier(n_estimators=2, max_depth=2).fit(X, y)
    model.save_model(folder / "model.npz")
    run = open_run(folder)
    np.testing.assert_array_equal(run.network.predict_proba(X), model.predict_proba(X))
    with pytest.raises(InputError, match="trees, which have no parameters"):
        _ = run.params
