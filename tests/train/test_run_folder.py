"""A run folder holds one run, and nothing in it is lost."""

import dataclasses
import json
import pathlib
from typing import NamedTuple

import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.recorded import record
from jaxlab.data.text.vocabulary import Vocabulary, train_vocabulary
from jaxlab.train.run_files import read_metrics, read_network
from jaxlab.train.run_folder import RunFolder
from jaxlab.train.run_options import RunOptions


@dataclasses.dataclass(frozen=True)
class Rate:
    learning_rate: float
    run: RunOptions


class Network(NamedTuple):
    width: int


@dataclasses.dataclass(frozen=True)
class Nameless:
    run: RunOptions = RunOptions()


def test_a_new_folder_holds_the_configuration_without_the_run_options(open_run):
    run = open_run()
    saved = json.loads((run.path / "config.json").read_text())
    assert saved == {
        "format": 2,
        "experiment": "regression",
        "config": {"learning_rate": 0.1, "sizes": [1, 2], "engine": "jit"},
    }


def test_the_same_run_opens_again_with_other_run_options(open_run):
    open_run(log_every=5).close()
    open_run(log_every=7, mesh="data=2")


def test_another_configuration_is_refused_with_the_difference(open_run):
    open_run().close()
    with pytest.raises(InputError, match=r"learning_rate is 0.1 there, 0.2 here"):
        open_run(learning_rate=0.2)


def test_a_folder_in_use_is_refused(open_run):
    open_run()
    with pytest.raises(InputError, match="in use by another process"):
        open_run()


def test_a_folder_of_something_else_is_refused(open_run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="neither empty nor a run folder"):
        open_run()
    assert (tmp_path / "run" / "thesis.tex").read_text() == "years of work"


def test_a_folder_of_another_experiment_is_refused(open_run):
    run = open_run()
    run.close()
    config = run.path / "config.json"
    config.write_text(config.read_text().replace("regression", "vit_cifar"))
    with pytest.raises(InputError, match="belongs to vit_cifar, not regression"):
        open_run()


def test_without_a_name_folders_are_named_by_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunFolder("regression", Nameless()) as first:
        with RunFolder("regression", Nameless()) as second:
            assert first.path != second.path
        assert first.path.parent == pathlib.Path("runs/regression")


def test_rows_after_the_checkpoint_are_dropped_on_resume(open_run):
    run = open_run()
    for step in (10, 20, 30):
        run.log(step, {"train/loss": step / 10})
    run.close()
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "train/lo')  # cut off by a kill
    assert [row["step"] for row in read_metrics(run.path)] == [10, 20, 30]
    run = open_run()
    run.resume(20)
    run.log(30, {"train/loss": 9.0})
    rows = [(row["step"], row["train/loss"]) for row in read_metrics(run.path)]
    assert rows == [(10, 1.0), (20, 2.0), (30, 9.0)]


def test_metrics_reach_tensorboard(open_run):
    run = open_run()
    run.log(10, {"train/loss": 1.5})
    run.close()
    events = list((run.path / "tensorboard").iterdir())
    assert len(events) == 1
    assert b"train/loss" in events[0].read_bytes()


def test_the_summary_tells_what_ran_where_and_with_what_result(open_run, capsys):
    run = open_run()
    facts = {"steps": 3, "examples": 24, "training_seconds": 0.5, "extra": "fact"}
    assert run.finish({"loss": 0.25}, facts) == {"loss": 0.25}
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["metrics"] == {"loss": 0.25}
    assert summary["extra"] == "fact"
    assert summary["examples"] == 24
    assert summary["total_seconds"] > 0
    assert {"training_seconds", "command", "device", "python"} <= summary.keys()
    assert "jax" in summary["versions"]
    shown = capsys.readouterr().out
    assert "loss 0.25" in shown
    assert str(run.path) in shown


def test_a_refused_value_leaves_no_folder(open_run):
    with pytest.raises(InputError), open_run() as run:
        raise InputError("patch_size 3 does not divide 8")
    assert not run.path.exists()
    open_run(learning_rate=0.2)  # and so does not stand in the way of the next try


def test_a_refused_value_leaves_an_older_folder_alone(open_run):
    open_run().close()
    with pytest.raises(InputError), open_run() as run:
        raise InputError("no")
    assert (run.path / "config.json").exists()


@pytest.mark.parametrize("name", ["log_every", "save_every"])
def test_intervals_below_one_are_refused(open_run, name):
    with pytest.raises(InputError, match=f"{name} 0 must be at least 1"):
        open_run(**{name: 0})


def test_a_folder_that_cannot_be_made_is_refused(open_run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made or written"):
        open_run("file")


def test_another_engine_is_another_run(open_run):
    open_run().close()
    with pytest.raises(InputError, match="engine is jit there, pmap here"):
        open_run(engine="pmap")


def test_a_folder_whose_first_write_was_cut_off_is_usable(open_run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json.part").write_text("{")
    open_run()


def test_runs_below_a_refused_one_are_kept(open_run):
    outer, inner = open_run("outer"), open_run("outer/inner")
    inner.finish({"loss": 1.0}, {})
    inner.close()
    with pytest.raises(InputError, match="cannot be built"), outer:
        raise InputError("a later part cannot be built")
    assert (inner.path / "summary.json").exists()


def test_fields_that_act_after_training_may_change(tmp_path):
    def open_with(rate, free):
        config = Rate(rate, RunOptions(run_dir=str(tmp_path / "run")))
        return RunFolder("regression", config, free=free)

    open_with(0.1, ()).close()
    open_with(0.2, ("learning_rate",)).close()
    with pytest.raises(InputError, match=r"learning_rate is 0\.1 there, 0\.2 here"):
        open_with(0.2, ())


def test_a_folder_of_an_earlier_version_is_refused(open_run):
    run = open_run()
    run.close()
    file = run.path / "config.json"
    saved = json.loads(file.read_text())
    del saved["format"]
    file.write_text(json.dumps(saved))
    with pytest.raises(InputError, match="made by another version of jaxlab"):
        open_run()


def test_other_data_or_another_network_than_the_run_was_begun_with_are_refused(
    open_run,
):
    run, network = open_run(), record(Network, width=64)
    run.write_network(network, class_names=("cat", "dog"))
    run.write_network(network, class_names=["cat", "dog"])
    with pytest.raises(InputError, match=r"class_names is \['cat', 'dog'\] there"):
        run.write_network(network, class_names=["cat", "cow"])
    with pytest.raises(InputError, match=r"fields\.width is 64 there, 65 here"):
        run.write_network(record(Network, width=65), class_names=["cat", "dog"])
    found = read_network(run.path)
    assert (found["maker"], found["fields"]) == ("Network", {"width": 64})


def test_a_vocabulary_is_written_once_and_another_one_refused(open_run):
    run, network = open_run(), record(Network, width=64)
    first, other = (train_vocabulary([text], "char") for text in ("abc", "abd"))
    run.write_network(network, vocabulary=first)
    with pytest.raises(InputError, match=r"tokens is .* there"):
        run.write_network(network, vocabulary=other)
    assert Vocabulary.load(run.path / "vocabulary.json") == first
    with pytest.raises(InputError, match=r"data is .* there"):
        run.write_network(network, vocabulary=first, data="others")


@pytest.mark.parametrize("text", ["{bro", "[]", '{"format": 2}'])
@pytest.mark.parametrize("name", ["config.json", "network.json"])
def test_a_damaged_file_is_told_in_one_line(open_run, name, text):
    run = open_run()
    run.write_network(record(Network, width=64))
    run.close()
    (run.path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name} cannot be read: .* put it back"):
        open_run().write_network(record(Network, width=64))


@dataclasses.dataclass(frozen=True)
class OfData:
    data: str
    run: RunOptions


@pytest.fixture
def moved(tmp_path):
    """Begin a run on some data, and open it again on others."""

    def begin(data, contents):
        config = OfData(data, RunOptions(run_dir=str(tmp_path / "run")))
        with RunFolder("regression", config) as run:
            run.write_network(record(Network, width=64), data=contents)
            run.resume(0)
            return run

    return begin


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("sets/pets", "/data/pets"),
        ("./pets", "~/other"),
        ("mine.npz", "a/b.npz"),
        ("houses.csv", "houses.csv.gz"),
    ],
)
def test_data_may_move_but_not_change(moved, there, here):
    moved(there, "fingerprint")
    moved(here, "fingerprint")
    with pytest.raises(InputError, match="begun with other data"):
        moved(here, "another")
    moved(there, "fingerprint")


@pytest.mark.parametrize(
    ("there", "here"),
    [("digits", "mnist"), ("digits", "./digits"), ("a.npz", "digits")],
)
def test_the_name_of_a_set_must_stay(moved, there, here):
    moved(there, "fingerprint")
    with pytest.raises(InputError, match=f"data is {there} there, {here} here"):
        moved(here, "fingerprint")


def test_data_without_a_fingerprint_may_not_move(moved, tmp_path):
    moved("a/b.npz", "")
    with pytest.raises(InputError, match=r"data is a/b\.npz there.* the same path"):
        moved("c/b.npz", "")
    moved("a/b.npz", "")
    (tmp_path / "run" / "network.json").unlink()  # killed before it was written
    with pytest.raises(InputError, match="nothing tells that these are the same data"):
        moved("c/b.npz", "fingerprint")
