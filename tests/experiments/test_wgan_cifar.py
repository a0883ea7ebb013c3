"""GANs of images as their user meets them."""

import dataclasses
import json
import math

import jax
import pytest

from experiments import wgan_cifar
from jaxlab.runs.load_params import load_params
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_options import RunOptions

OFTEN = RunOptions(log_every=1)


def run_smoke(folder, **changes):
    run = dataclasses.replace(OFTEN, run_dir=str(folder))
    return wgan_cifar.main(dataclasses.replace(wgan_cifar.SMOKE, run=run, **changes))


@pytest.mark.slow
def test_smoke_leaves_everything_in_its_folder(tmp_path, pictures):
    metrics = run_smoke(tmp_path / "run")
    assert all(map(math.isfinite, metrics.values()))
    fid = metrics["fid_digits_classifier"]
    assert metrics["fid_digits_classifier_held_out"] < fid
    assert metrics["critic_w1"] <= metrics["exact_w1"]
    assert metrics.keys() >= {"parzen_ll", "parzen_se", "parzen_sigma"}
    names = {path.name for path in (tmp_path / "run").iterdir()}
    pictures = {"curves.png", "samples.png", "samples-000004.png", "real.png"}
    pictures |= {"distance.png"}
    assert names >= pictures | {"config.json", "metrics.jsonl", "checkpoints"}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"] == metrics
    rows = read_metrics(tmp_path / "run")
    assert {"train/critic_loss", "train/penalty"} <= rows[0].keys()
    assert {"test/exact_w1", "test/critic_slope"} <= rows[-1].keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "wgan-clip", "model": "mlp", "critic_steps": 1, "long_start": True},
        {"loss": "sn", "model": "dcgan", "conditional": "projection"},
        {"loss": "r1", "model": "dcgan", "conditional": "acgan"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_kind_of_game_can_be_played(tmp_path, changes):
    metrics = run_smoke(tmp_path / "run", steps=2, **changes)
    assert all(map(math.isfinite, metrics.values()))
    assert metrics["critic_w1"] <= metrics["exact_w1"]
    critic = load_params(tmp_path / "run", name="critic")["params"]
    if changes["loss"] == "wgan-clip":
        # The last step of RMSprop comes after the last clipping; early ones are up to
        # 1 / sqrt(1 - .99) times the rate.
        limit = 0.01 + 10 * wgan_cifar.SMOKE.learning_rate
        leaves = jax.tree.leaves(critic)
        assert max(float(abs(leaf).max()) for leaf in leaves) < limit


@pytest.mark.slow
def test_values_that_do_not_fit_end_with_one_line_and_code_2(command):
    code, _, err = command("wgan_cifar", "--loss", "wgan-pg")
    assert code == 2
    assert "wgan-gp" in err
    code, _, err = command("wgan_cifar", "--model", "cnn", "--image-size", "9")
    assert code == 2
    assert err.count("\n") == 1
    assert "9 x 9" in err
    code, _, err = command("wgan_cifar", "--penalty-weight", "-1")
    assert code == 2
    assert err.startswith("error: penalty_weight -1")


@pytest.mark.claim
def test_digits_are_far_nearer_to_the_data_than_noise_is(tmp_path):
    run = RunOptions(run_dir=str(tmp_path / "run"))
    config = wgan_cifar.Config(width=256, steps=400, eval_every=400, run=run)
    metrics = wgan_cifar.main(config)
    fid = metrics["fid_digits_classifier"]
    assert 3 * fid < metrics["fid_digits_classifier_untrained"]
