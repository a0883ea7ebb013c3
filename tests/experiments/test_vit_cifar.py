"""The experiment as its user meets it: commands, folders, kills, several processes."""

import dataclasses
import json
import math
import socket

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import vit_cifar
from jaxlab.data.images.augment import to_unit_range
from jaxlab.data.images.find import find_images
from jaxlab.evals.open_run import open_run
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.evaluate import means

# Two processes add the gradients of half batches in another order.
SUMS = 1e-5


@pytest.mark.slow
def test_smoke_leaves_everything_in_its_folder(tmp_path, pictures):
    run = RunOptions(run_dir=str(tmp_path / "run"), log_every=1)
    config = dataclasses.replace(vit_cifar.SMOKE, run=run)
    metrics = vit_cifar.main(config)
    assert metrics.keys() == {"loss", "accuracy"}
    assert all(map(math.isfinite, metrics.values()))
    # The head starts at zero, so the first loss is that of chance.
    assert read_metrics(tmp_path / "run")[0]["train/loss"] == pytest.approx(
        math.log(10), abs=0.1
    )
    names = {path.name for path in (tmp_path / "run").iterdir()}
    pictures = {"curves.png", "confusion.png", "predictions.png"}
    assert names >= pictures | {"config.json", "metrics.jsonl", "checkpoints"}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"] == metrics
    assert summary["steps"] == vit_cifar.SMOKE.steps
    assert summary["sets"] == {"train": 1294, "valid": 144, "test": 359}
    assert summary["chosen_by"] == "valid/accuracy"
    logged = {name for row in read_metrics(tmp_path / "run") for name in row}
    assert {"valid/accuracy", "test/accuracy"} & logged == {"valid/accuracy"}
    assert vit_cifar.main(config) == metrics  # again: nothing is trained anew


@pytest.mark.slow
def test_the_state_that_valid_chose_is_tested(tmp_path, monkeypatch):
    scores = iter([0.5, 0.25])  # of the valid rows after steps 3 and 6

    def chosen_early(values, *names):
        is_test = len(values["loss"]) == 359
        return means(values, *names) | ({} if is_test else {"accuracy": next(scores)})

    monkeypatch.setattr(vit_cifar, "means", chosen_early)
    run = RunOptions(run_dir=str(tmp_path / "run"))
    metrics = vit_cifar.main(dataclasses.replace(vit_cifar.SMOKE, run=run))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["chosen_step"], summary["steps"]) == (3, 6)
    opened = open_run(tmp_path / "run")
    rows = find_images("digits").test.rows(np.arange(359))
    images = to_unit_range(jnp.asarray(rows["image"]))
    logits = opened.network.apply({"params": opened.params}, images)
    accuracy = float((logits.argmax(-1) == rows["label"]).mean())
    assert metrics["accuracy"] == pytest.approx(accuracy)


@pytest.mark.slow
def test_without_a_share_all_rows_are_trained_on_and_the_last_state_tested(tmp_path):
    run = RunOptions(run_dir=str(tmp_path / "run"))
    config = dataclasses.replace(vit_cifar.SMOKE, steps=2, valid_rate=0.0, run=run)
    metrics = vit_cifar.main(config)
    assert metrics.keys() == {"loss", "accuracy"}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["chosen_by"], summary["chosen_step"]) == ("last", 2)
    assert summary["sets"] == {"train": 1438, "valid": 0, "test": 359}


@pytest.mark.slow
def test_a_value_that_does_not_fit_ends_with_one_line_and_code_2(command, tmp_path):
    code, _, err = command("vit_cifar", "--data", "digits", "--patch-size", 3)
    assert code == 2
    assert err == (
        "error: patch_size 3 does not divide the image of 8 x 8 pixels; "
        "use one of 1, 2, 4, 8\n"
    )
    flags = ["--data", "cifar10", "--data-dir", tmp_path, "--run-dir", tmp_path / "run"]
    code, _, err = command("vit_cifar", *flags)
    assert code == 2
    assert err.count("\n") == 1
    assert str(tmp_path) in err
    assert "--data digits" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_and_streaming_workers_change_nothing(start, finish, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    both = ["--smoke", "--log-every", 1, "--run-dir"]
    processes = [
        start(
            "vit_cifar",
            *both,
            tmp_path / "two",
            "--distributed",
            f"{address},2,{index}",
        )
        for index in range(2)
    ]
    outputs = [finish(process)[0] for process in processes]
    assert "result" in outputs[0]
    assert "result" not in outputs[1]  # only the first one speaks
    finish(start("vit_cifar", *both, tmp_path / "one", "--stream-workers", 2))
    curves = [
        [row["train/loss"] for row in read_metrics(tmp_path / name) if "seconds" in row]
        for name in ("one", "two")
    ]
    assert len(curves[0]) == vit_cifar.SMOKE.steps
    np.testing.assert_allclose(*curves, atol=SUMS)
