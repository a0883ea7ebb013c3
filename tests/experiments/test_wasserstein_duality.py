"""The article made runnable, as its user meets it."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from experiments import wasserstein_duality
from jaxlab.runs.load_params import load_params
from jaxlab.runs.run_options import RunOptions

# Float32 scores of size 3, summed over hundreds of rows, against float64.
ROUNDING = 1e-5
PICTURES = {"curves.png", "estimate.png", "sinkhorn.png", "worked_example.png"}
DRAWN = PICTURES | {"plan.png", "potential.png"}


def smoke(folder, **changes):
    run = RunOptions(run_dir=str(folder), log_every=1)
    return dataclasses.replace(wasserstein_duality.SMOKE, run=run, **changes)


@pytest.mark.slow
def test_smoke_leaves_everything_in_its_folder(tmp_path, pictures, capsys):
    metrics = wasserstein_duality.main(smoke(tmp_path / "run"))
    assert all(map(math.isfinite, metrics.values()))
    assert metrics["critic_w1"] <= metrics["exact_w1"] + ROUNDING
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= DRAWN | {"config.json", "metrics.jsonl", "checkpoints"}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"] == metrics
    assert len(summary["routes"]) == 5
    assert all(abs(row["W1"] - 1) < 1e-12 for row in summary["routes"])
    metric, squared = summary["costs"]
    for row, value, one in ((metric, 1.0, 1.0), (squared, 1.4, 1.0)):
        assert row["primal"] == pytest.approx(value)
        assert row["dual, f and g"] == pytest.approx(value)
        assert row["g = -f"] == pytest.approx(one)
    distances = summary["distances"][0]
    assert distances["W1"] == pytest.approx(metrics["exact_w1"])
    assert distances["W1 on a line"] == pytest.approx(metrics["exact_w1"])
    above = [row["above exact"] for row in summary["entropies"]]
    assert above == sorted(above, reverse=True)
    assert 0 <= above[-1] < 1e-3 * metrics["exact_w1"]
    printed = capsys.readouterr().out
    assert "a plan of cost 1.0 or less? there is one" in printed
    assert "a plan of cost 0.99 or less? no:" in printed
    assert "9 from point 0 to 3, but 5 by way of 1" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "data"), [("wgan-clip", "plane"), ("sn", "gaussians"), ("wgan-lp", "file")]
)
def test_other_ways_to_hold_the_slope_and_other_samples(loss, data, tmp_path, rng):
    drawn = DRAWN
    if data == "file":
        data, drawn = str(tmp_path / "rows.npz"), PICTURES  # too many coordinates
        np.savez(data, x=rng.normal(size=(20, 3)), y=rng.normal(size=(24, 3)))
    config = smoke(tmp_path / "run", loss=loss, data=data, clip_limit=0.02)
    metrics = wasserstein_duality.main(config)
    assert metrics["critic_w1"] <= metrics["exact_w1"] + ROUNDING
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == drawn
    if loss == "wgan-clip":
        leaves = jax.tree.leaves(load_params(tmp_path / "run"))
        assert max(abs(leaf).max() for leaf in leaves) <= 0.02 + 1e-8


def train_a_critic(folder, loss, steps, seed=0):
    """Give the largest slope found, and the share of the exact distance proved."""
    config = wasserstein_duality.Config(
        loss=loss,
        steps=steps,
        seed=seed,
        eval_every=0,
        run=RunOptions(run_dir=str(folder), log_every=50),
    )
    metrics = wasserstein_duality.main(config)
    assert metrics["critic_gap"] >= 0.95 * metrics["exact_w1"]
    assert metrics["share"] <= 1 + ROUNDING
    slope = max(metrics["line_slope"], metrics["critic_slope"])
    # Both at once: what is proved of the distance, whatever the slope.
    by_line = metrics["critic_gap"] / (metrics["line_slope"] * metrics["exact_w1"])
    return slope, min(metrics["share"], by_line)


@pytest.mark.claim
def test_the_one_sided_critic_reaches_the_exact_distance_with_slope_one(tmp_path):
    slope, proved = train_a_critic(tmp_path / "run", "wgan-lp", 2000)
    assert slope <= 1.05
    assert proved >= 0.95


@pytest.mark.claim
def test_the_two_sided_critic_reaches_the_exact_distance_with_slope_one(tmp_path):
    # Where few lines between the samples pass, one seed in eight leaves a steep place,
    # and which one it is the rounding decides: so two seeds must do, of at most four.
    good = 0
    for seed in range(4):
        folder = tmp_path / f"{seed}"
        slope, proved = train_a_critic(folder, "wgan-gp", 3000, seed)
        assert slope <= 1.25
        assert proved >= 0.8
        good += slope <= 1.05 and proved >= 0.95
        if good == 2:
            break
    assert good == 2


@pytest.mark.slow
def test_values_that_do_not_fit_end_with_one_line_and_code_2(command, tmp_path):
    for flags, message in (
        (["--data", "circle"], "no two samples 'circle'"),
        (["--penalty", "inf"], "penalty inf must be a finite number above 0"),
        (["--penalty", -1.0], "penalty -1.0 must be above 0"),
        (
            ["--penalty-start", "nan", "--loss", "wgan-gp"],
            "penalty_start nan must",
        ),
        (["--rise-rate", -0.5], "rise_rate -0.5 must be at least 0 and at most 1"),
        (["--learning-rate", -0.1], "learning_rate -0.1 must be at least 0"),
        (["--learning-rate", "nan"], "learning_rate nan must be a finite number"),
        (["--width", 0], "width 0 must be at least 1"),
        (["--loss", "wgan-clip", "--clip-limit", 0.0], "clip_limit 0.0 must be"),
    ):
        folder = tmp_path / "run"
        flags = ["--smoke", *flags, "--run-dir", folder]
        code, _, err = command("wasserstein_duality", *flags)
        assert code == 2
        assert err.count("\n") == 1
        assert message in err
        assert not folder.exists()


@pytest.mark.slow
def test_a_mesh_changes_the_order_of_sums_alone(tmp_path):
    found = []
    for mesh in ("data=1", "data=4"):
        run = RunOptions(run_dir=str(tmp_path / mesh), mesh=mesh)
        config = dataclasses.replace(wasserstein_duality.SMOKE, run=run)
        found.append(wasserstein_duality.main(config))
    one, four = found
    assert four == pytest.approx(one, abs=1e-4)  # after six steps of Adam
