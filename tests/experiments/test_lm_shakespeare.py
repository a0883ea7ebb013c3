"""The experiment as its user meets it: one model, all models, its own text."""

import dataclasses
import json
import math

import pytest

from experiments import lm_shakespeare
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_options import RunOptions


def train(folder, **fields):
    run = RunOptions(run_dir=str(folder), log_every=1)
    config = dataclasses.replace(lm_shakespeare.SMOKE, run=run, **fields)
    return lm_shakespeare.main(config)


@pytest.fixture
def no_last_state(monkeypatch):
    """Take the last state away, so that all must be of the best checkpoint."""
    fit = lm_shakespeare.fit

    def without(*args, **options):
        return dataclasses.replace(fit(*args, **options), state=None)

    monkeypatch.setattr(lm_shakespeare, "fit", without)


@pytest.fixture
def text(tmp_path):
    """Write a text that repeats itself."""
    path = tmp_path / "text.txt"
    path.write_text("to be, or not to be: that is the question.\n" * 60)
    return str(path)


@pytest.mark.slow
def test_a_run_leaves_everything_in_its_folder(tmp_path, pictures, text, no_last_state):
    folder = tmp_path / "run"
    metrics = train(folder, model="rnn", data=text)
    assert metrics.keys() == {"bits_per_character"}
    assert 0 < metrics["bits_per_character"] < 10
    names = {path.name for path in folder.iterdir()}
    assert names >= {"curves.png", "gradient_by_lag.png", "sample.txt"}
    assert names >= {"vocabulary.json", "summary.json", "checkpoints"}
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["lags"]) == lm_shakespeare.SMOKE.length + 1
    assert summary["chosen_by"] == "valid/loss"
    assert summary["sets"].keys() == {"train", "valid", "test"}
    assert summary["sets"]["train"] == 2580 * 90 // 100 - 16  # windows
    rows = read_metrics(folder)
    assert all(math.isfinite(row["train/loss"]) for row in rows if "seconds" in row)


@pytest.mark.slow
def test_all_models_are_equally_large_and_stand_in_one_table(
    tmp_path, text, capsys, monkeypatch
):
    monkeypatch.setattr(lm_shakespeare, "MODELS", ("transformer", "lstm"))
    folder = tmp_path / "run"
    metrics = train(folder, model="all", data=text, steps=2)
    assert metrics.keys() == {"transformer", "lstm"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["sets"].keys() == {"train", "valid", "test"}
    rows = summary["models"]
    assert not any({"sets", "lags"} & row.keys() for row in rows)
    wanted = lm_shakespeare.SMOKE.num_parameters
    for row in rows:
        assert row["parameters"] == pytest.approx(wanted, rel=0.3)  # steps of 8 units
    assert (folder / "compared.png").exists()
    assert (folder / "gradient_by_lag.png").exists()
    assert "bits_per_character" in capsys.readouterr().out
    # Again: nothing is trained anew, and the result is the same.
    assert train(folder, model="all", data=text, steps=2) == metrics


@pytest.mark.slow
def test_a_repeated_line_is_learnt(tmp_path, text):
    fields = {"steps": 60, "length": 64, "num_parameters": 40_000, "eval_every": 0}
    metrics = train(tmp_path / "run", data=text, **fields)
    assert metrics["bits_per_character"] < 2  # 4.1 without looking at what came before


def test_text_that_is_absent_ends_with_one_line_and_code_2(command, tmp_path):
    code, _, err = command("lm_shakespeare", "--data", tmp_path / "no.txt")
    assert code == 2
    assert err.count("\n") == 1
    assert "no.txt" in err
