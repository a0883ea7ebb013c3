"""The experiment as its user meets it: one loss, all losses, a run that is stopped."""

import dataclasses
import json
import math

import pytest
from PIL import Image

from experiments import wgan_toy
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_options import RunOptions


def train(folder, **fields):
    run = RunOptions(run_dir=str(folder), log_every=1)
    return wgan_toy.main(dataclasses.replace(wgan_toy.SMOKE, run=run, **fields))


@pytest.mark.slow
@pytest.mark.parametrize("data", ["25gaussians", "swissroll"])
def test_a_run_leaves_everything_in_its_folder(tmp_path, pictures, data):
    folder = tmp_path / "run"
    metrics = train(folder, data=data)
    named = {"exact_w1", "critic_gap", "critic_slope", "critic_w1"}
    assert metrics.keys() >= named
    assert ({"modes", "high_quality"} <= metrics.keys()) == (data == "25gaussians")
    assert all(map(math.isfinite, metrics.values()))
    assert metrics["critic_w1"] <= metrics["exact_w1"]
    names = {path.name for path in folder.iterdir()}
    assert names >= {"stages.png", "stages.gif", "final.png", "curves.png", "stages"}
    with Image.open(folder / "stages.gif") as animation:
        assert animation.n_frames == 3  # before, after 2 steps, after 4
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["metrics"] == metrics
    assert 0 < summary["w1_of_data"] < metrics["exact_w1"]
    rates = [row.get("train/learning_rate", 0) for row in read_metrics(folder)]
    assert max(rates) == pytest.approx(0.005)
    assert train(folder, data=data) == metrics  # again: nothing is trained anew


@pytest.mark.slow
def test_all_losses_stand_in_one_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(wgan_toy, "ALL", ("gan", "wgan-clip"))
    folder = tmp_path / "run"
    metrics = train(folder, loss="all", steps=2, long_start=True)
    assert metrics.keys() == {"gan", "wgan-clip"}
    assert {"losses.png", "compared.png", "summary.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert "high_quality" in capsys.readouterr().out


def test_a_loss_that_is_not_known_is_told_with_those_that_are(command):
    code, _, err = command("wgan_toy", "--loss", "wgan")
    assert code == 2
    assert err.count("\n") == 1
    assert "wgan-gp" in err


@pytest.mark.claim
def test_the_penalised_critic_leads_to_all_modes(tmp_path):
    run = RunOptions(run_dir=str(tmp_path / "run"))
    metrics = wgan_toy.main(wgan_toy.Config(eval_every=4000, run=run))
    assert metrics["modes"] == 8
    assert metrics["high_quality"] >= 0.9
