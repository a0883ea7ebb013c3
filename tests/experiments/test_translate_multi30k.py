"""The experiment as its user meets it: tasks, models, files, kills, devices."""

import dataclasses
import json
import math

import numpy as np
import pytest

from experiments import translate_multi30k
from jaxlab.core.errors import InputError
from jaxlab.data.text.vocabulary import Vocabulary
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_options import RunOptions

# Two devices add the gradients of half batches in another order.
SUMS = 1e-4


def train(folder, **fields):
    options = fields.pop("run", {})
    run = RunOptions(run_dir=str(folder), log_every=1, **options)
    config = dataclasses.replace(translate_multi30k.SMOKE, run=run, **fields)
    return translate_multi30k.main(config)


@pytest.fixture
def no_last_state(monkeypatch):
    """Take the last state away, so that all must be of the best checkpoint."""
    fit = translate_multi30k.fit

    def without(*args, **options):
        return dataclasses.replace(fit(*args, **options), state=None)

    monkeypatch.setattr(translate_multi30k, "fit", without)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_smoke_leaves_everything_in_its_folder(
    tmp_path, pictures, model, no_last_state
):
    folder = tmp_path / "run"
    metrics = train(folder, model=model)
    assert metrics.keys() == {"exact", "chrf"}  # single words have no BLEU
    assert all(map(math.isfinite, metrics.values()))
    names = {path.name for path in folder.iterdir()}
    assert names >= {"curves.png", "attention.png", "config.json", "metrics.jsonl"}
    assert names >= {"vocabulary.json", "translations.txt", "checkpoints"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["metrics"] == metrics
    assert summary["chosen_by"] == "valid/loss"
    assert summary["sets"] == {"train": 50_000, "valid": 2000, "test": 2000}
    assert summary["samples"][0].keys() == {"source", "output", "reference"}
    assert len((folder / "translations.txt").read_text().splitlines()) == 2000
    # Random logits are about uniform; label smoothing does not change that.
    size = len(Vocabulary.load(folder / "vocabulary.json"))
    first = read_metrics(folder)[0]["train/loss"]
    assert first == pytest.approx(math.log(size), rel=0.4)


def write_language(folder):
    """Write a language whose words are numbers, and its other, backwards."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 200), ("valid", 20), ("test", 20)):
        rows = [
            [f"w{number}" for number in rng.integers(0, 9, rng.integers(4, 9))]
            for _ in range(count)
        ]
        for ending, order in (("aa", 1), ("bb", -1)):
            lines = "".join(" ".join(row[::order]) + "\n" for row in rows)
            (folder / f"{split}.{ending}").write_text(lines)
    return {"data": str(folder), "source": "aa", "target": "bb", "vocabulary": "word"}


@pytest.mark.slow
def test_files_of_two_languages_are_learnt_and_scored_by_bleu(tmp_path, capsys):
    language = write_language(tmp_path / "language")
    # A line of 15,000 words in each set, of which nothing takes the time or the room.
    for split in ("valid", "test"):
        for ending in ("aa", "bb"):
            with (tmp_path / "language" / f"{split}.{ending}").open("a") as file:
                file.write("w1 " * 15_000 + "\n")
                file.write("w2\n" if ending == "aa" else "\n")
    metrics = train(tmp_path / "run", **language, steps=8)
    assert metrics.keys() == {"exact", "bleu", "chrf"}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "tok:13a" in summary["bleu_signature"]
    assert summary["sets"] == {"train": 200, "valid": 20, "test": 21}
    assert len((tmp_path / "run" / "translations.txt").read_text().splitlines()) == 21
    said = capsys.readouterr().out
    assert "0 + 1 + 1 left out, with an empty side" in said
    assert "1 valid pairs left out, 1 test pairs cut" in said


def test_absent_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"train\.aa"):
        train(tmp_path / "run", data=str(tmp_path), source="aa", target="bb")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_devices_make_the_curve_of_one(tmp_path):
    curves, language = [], write_language(tmp_path / "language")
    for mesh in ("data=1", "data=2"):
        train(tmp_path / mesh, **language, run={"mesh": mesh}, num_buckets=1, beams=1)
        rows = read_metrics(tmp_path / mesh)
        curves.append([row["train/loss"] for row in rows if "train/loss" in row])
    np.testing.assert_allclose(*curves, atol=SUMS)


@pytest.mark.slow
def test_what_cannot_be_is_told_before_training(tmp_path):
    for wrong, message in (
        ({"beams": 0}, "beams 0"),
        ({"run": {"engine": "pmap"}}, "engine 'pmap' would average"),
        ({"run": {"mesh": "data=3"}}, "does not divide"),
    ):
        with pytest.raises(InputError, match=message):
            train(tmp_path / "run", **wrong)
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_finished_run_is_searched_again_with_other_beams(tmp_path):
    language = write_language(tmp_path / "language")
    first = train(tmp_path / "run", **language, beams=1)
    summary = (tmp_path / "run" / "summary.json").read_text()
    again = train(tmp_path / "run", **language, beams=3)
    assert first.keys() == again.keys()
    assert (tmp_path / "run" / "summary.json").read_text() == summary
