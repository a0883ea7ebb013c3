"""The experiment as its user meets it: tables of all kinds, folders, kills, devices."""

import dataclasses
import json

import numpy as np
import pytest

from benchmarks import tree_peers
from experiments import gbdt_tabular
from experiments.gbdt_tabular import main
from jaxlab.core.errors import InputError
from jaxlab.data.tables.find import find_table
from jaxlab.train.run_files import read_metrics
from jaxlab.train.run_options import RunOptions
from jaxlab.trees import (
    GradientBoostingRegressor,
    XGBoostClassifier,
    XGBoostRegressor,
)


def train(folder, **fields):
    """Train a small forest in this process."""
    options = fields.pop("run", {})
    run = RunOptions(run_dir=str(folder), log_every=1, **options)
    return main(dataclasses.replace(gbdt_tabular.SMOKE, run=run, **fields))


def model_of(folder):
    with np.load(folder / "model.npz") as file:
        return {name: file[name] for name in file.files if name != "text"}


def assert_same_model(folder, other):
    found, expected = model_of(folder), model_of(other)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.fixture
def houses(tmp_path, rng):
    """Write a table of numbers, texts and holes, whose price can be learnt."""
    lines = ["id,rooms,town,price"]
    for number in range(200):
        rooms, town = rng.integers(1, 9), rng.choice(["Ulm", "Bonn", "Kiel"])
        price = 50 * rooms + {"Ulm": 0, "Bonn": 200, "Kiel": 90}[town]
        lines.append(f"{number},{rooms if rng.random() < 0.9 else ''},{town},{price}.5")
    path = tmp_path / "houses.csv"
    path.write_text("\n".join(lines))
    return path


def test_smoke_leaves_everything_in_its_folder(tmp_path, pictures):
    metrics = train(tmp_path / "run")
    assert metrics.keys() == {"loss", "accuracy", "auc"}
    assert metrics["auc"] > 0.9
    names = {path.name for path in (tmp_path / "run").iterdir()}
    pictures = {"curves.png", "confusion.png", "importance.png"}
    files = {"config.json", "metrics.jsonl", "model.npz", "checkpoints", "summary.json"}
    assert names >= pictures | files
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"] == metrics
    assert summary["sets"] == {"train": 409, "valid": 46, "test": 114}
    assert summary["steps"] == gbdt_tabular.SMOKE.steps
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(1, 7))
    watched = {"auc", "logloss"}
    names = {f"{part}/{name}" for part in ("train", "valid") for name in watched}
    assert rows[-1].keys() == names | {"step", "seconds"}  # the test rows: only once
    assert rows[-1]["train/logloss"] < rows[0]["train/logloss"]
    model = XGBoostClassifier().load_model(tmp_path / "run" / "model.npz")
    test = find_table("breast_cancer").test
    found = model.predict(test.features)
    assert set(found) == {"malignant", "benign"}
    assert (found == np.take(model.classes_, test.target)).mean() == metrics["accuracy"]


def test_a_file_with_texts_and_holes_is_regressed(tmp_path, houses):
    chosen = {"data": str(houses), "target": "price", "drop": ("id",)}
    metrics = train(tmp_path / "run", **chosen, steps=60, learning_rate=0.3)
    assert metrics["r2"] > 0.8
    assert (tmp_path / "run" / "predicted.png").exists()


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_friedman_trains_classes_and_numbers(tmp_path, name):
    metrics = train(tmp_path / "run", data=name, algorithm="friedman", steps=40)
    assert metrics.get("accuracy", 1) > 0.8
    assert metrics.get("r2", 1) > 0.3
    if name == "diabetes":
        GradientBoostingRegressor().load_model(tmp_path / "run" / "model.npz")


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("patience", [3, 0])
def test_the_round_that_is_best_on_the_valid_rows_is_kept(tmp_path, patience):
    folder, chosen = tmp_path / "run", {"data": "diabetes", "learning_rate": 0.5}
    metrics = train(folder, steps=40, patience=patience, **chosen)
    watched = [row["valid/rmse"] for row in read_metrics(folder)]
    best = int(np.argmin(watched))
    assert len(watched) == (best + 4 if patience else 40)
    assert best < 36
    summary = summary_of(folder)
    assert (summary["chosen_step"], summary["chosen_by"]) == (best + 1, "valid/rmse")
    assert summary["steps"] == len(watched)
    model = XGBoostRegressor().load_model(folder / "model.npz")
    assert model.forest_.num_rounds == best + 1
    table = find_table("diabetes")
    for rows, rmse in ((table.test, metrics["rmse"]), (table.valid, watched[best])):
        error = model.predict(rows.features) - rows.target
        assert rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)


def test_without_valid_rows_all_are_trained_on_and_the_last_round_is_kept(tmp_path):
    train(tmp_path / "run", data="diabetes", valid_rate=0.0)
    summary = summary_of(tmp_path / "run")
    assert summary["sets"] == {"train": 354, "valid": 0, "test": 88}
    assert (summary["chosen_step"], summary["chosen_by"]) == (6, "last")
    model = XGBoostRegressor().load_model(tmp_path / "run" / "model.npz")
    assert model.forest_.num_rounds == 6
    assert not any("valid" in name for name in read_metrics(tmp_path / "run")[0])


def test_a_run_is_not_resumed_on_other_rows(tmp_path, houses):
    chosen = {"data": str(houses), "target": "price"}
    train(tmp_path / "run", **chosen)
    houses.write_text(houses.read_text().replace("Ulm", "Kiel", 1))
    with pytest.raises(InputError, match="was begun with other data"):
        train(tmp_path / "run", **chosen)


@pytest.mark.slow
def test_two_devices_train_the_same_forest(tmp_path):
    train(tmp_path / "one", subsample=0.5)
    train(tmp_path / "two", subsample=0.5, run={"mesh": "data=2"})
    assert_same_model(tmp_path / "two", tmp_path / "one")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"data": "nowhere.csv"}, "'nowhere.csv' was not found"),
        ({"steps": 0}, "steps 0 must be at least 1"),
        (
            {"subsample": 2.0},
            "subsample 2.0 must be above 0 and at most 1",
        ),
        ({"max_depth": 0}, "max_depth 0 and max_leaves 0"),
        ({"valid_rate": 1.0}, "valid_rate 1.0 must be below 1, as 0.1; with 0 all"),
        ({"patience": 5, "valid_rate": 0.0}, "patience 5 needs rows to watch"),
        ({"patience": -1}, "patience -1 must be at least 0"),
        ({"task": "regression", "target": "x"}, "knows its target"),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error(tmp_path, fields, error):
    with pytest.raises(InputError, match=error.replace(".", r"\.")):
        train(tmp_path / "run", **fields)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.peer
def test_the_libraries_that_are_installed_stand_beside_a_run(
    tmp_path, capsys, monkeypatch
):
    metrics = train(tmp_path / "run")
    rows = tree_peers.compare(tmp_path / "run")
    names = [row["library"].split()[0] for row in rows]
    assert names[0] == "jaxlab"
    assert "sklearn" in names
    assert all(row["auc"] > 0.9 for row in rows)
    # The estimator grows the forest that the experiment has grown.
    assert rows[0]["loss"] == metrics["loss"]
    monkeypatch.setattr(tree_peers, "compare", lambda *args: rows)
    assert tree_peers.main([str(tmp_path / "run")]) == 0
    assert "second_fit_s" in capsys.readouterr().out


def test_a_folder_without_a_run_has_no_peers(tmp_path, capsys):
    assert tree_peers.main([str(tmp_path)]) == 2
    assert "holds no finished run" in capsys.readouterr().err
