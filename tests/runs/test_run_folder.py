"""A run folder holds one run, and nothing in it is lost."""

import dataclasses
import errno
import json
import os
import pathlib
import shutil
import signal
from typing import NamedTuple

import pytest

from jaxlab.core.errors import InputError, WriteError
from jaxlab.core.recorded import record
from jaxlab.data.text.vocabulary import Vocabulary, train_vocabulary
from jaxlab.runs import checkpoint
from jaxlab.runs.claimed_folder import ClaimedFolder
from jaxlab.runs.interrupts import Interrupted
from jaxlab.runs.run_files import read_metrics, read_network
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions


@dataclasses.dataclass(frozen=True)
class Rate:
    learning_rate: float
    run: RunOptions


@dataclasses.dataclass(frozen=True)
class Data:
    data: str
    run: RunOptions


class Network(NamedTuple):
    width: int


@dataclasses.dataclass(frozen=True)
class Nameless:
    run: RunOptions = RunOptions()


def test_a_new_folder_holds_the_configuration_without_the_run_options(open_run):
    run = open_run()
    saved = json.loads((run.path / "config.json").read_text())
    assert len(saved.pop("checksum")) == 16
    assert saved == {
        "format": 3,
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
    options = RunOptions(run_dir=str(run.path))
    with pytest.raises(InputError, match="belongs to regression, not vit_cifar"):
        RunFolder("vit_cifar", Nameless(options))


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


def test_a_damaged_row_costs_no_row_after_it(open_run, capsys):
    run = open_run()
    for step in (10, 20, 30, 40):
        run.log(step, {"train/loss": step / 10})
    run.close()
    file = run.path / "metrics.jsonl"
    whole = file.read_text()
    damaged = whole.replace('"step": 20', '"st\x00p": 20') + '{"step": 50, "tr'
    file.write_text(damaged)
    run = open_run()
    run.resume(30)
    assert [row["step"] for row in read_metrics(run.path)] == [10, 30]
    assert (run.path / "metrics.damaged.jsonl").read_text() == damaged
    assert "1 damaged rows of" in capsys.readouterr().out


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


def test_the_summary_may_be_written_before_the_pictures(open_run, capsys):
    run = open_run()
    run.write_summary({"loss": 0.25}, {"steps": 3})
    before = (run.path / "summary.json").read_text()
    assert "result" not in capsys.readouterr().out
    (run.path / "curves.png").touch()
    assert run.finish({"loss": 0.25}, {"steps": 3}) == {"loss": 0.25}
    assert (run.path / "summary.json").read_text() == before
    shown = capsys.readouterr().out
    assert "loss 0.25" in shown
    assert "pictures     curves.png" in shown


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


def refuse(run):
    with pytest.raises(InputError, match="not a readable image"), run:
        raise InputError("a.png: not a readable image")


def test_a_value_that_is_refused_later_costs_no_checkpoint(open_run, problem):
    run = open_run()
    run.checkpoints.save(0, problem.state(), {})
    run.checkpoints.save(7, problem.state(), {})
    refuse(run)
    assert (run.path / "checkpoints/7/state").is_dir()
    assert (run.path / "config.json").exists()


def test_a_folder_that_was_there_stays_and_is_empty_again(open_run, problem, tmp_path):
    (tmp_path / "run").mkdir()
    run = open_run()
    run.checkpoints.save(0, problem.state(), {})
    refuse(run)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_link_to_a_folder_stays(open_run, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    refuse(open_run())
    assert (tmp_path / "run").is_symlink()
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_link_that_leads_nowhere_is_told(open_run, tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"it is a link to .*gone, which is not"):
        open_run()


def test_what_another_put_into_a_refused_folder_stays(open_run):
    run = open_run()
    (run.path / "notes.txt").write_text("think of weight decay")
    refuse(run)
    assert [file.name for file in run.path.iterdir()] == ["notes.txt"]


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Both see that no folder has the name; the second one meets it when it makes it.
    monkeypatch.setattr(pathlib.Path, "exists", lambda path, **options: False)
    folders = [ClaimedFolder("", tmp_path / "runs") for _ in range(3)]
    for folder in folders:
        folder.release()
    assert len({folder.path for folder in folders}) == 3


@pytest.mark.parametrize(
    ("error", "waits"),
    [(KeyboardInterrupt(), False), (Interrupted("", signal.SIGINT), True)],
)
def test_only_who_asked_once_waits_for_a_checkpoint(
    open_run, monkeypatch, error, waits
):
    run, waited = open_run(), []
    close = run.checkpoints.close
    monkeypatch.setattr(run.checkpoints, "close", lambda: waited.append(close()))
    with pytest.raises(KeyboardInterrupt), run:
        raise error
    assert bool(waited) == waits
    open_run()  # it is free in both cases


def test_a_full_disk_is_told_in_a_line_and_lets_the_folder_go(
    open_run, problem, monkeypatch
):
    run = open_run()
    run.checkpoints.save(0, problem.state(), {})
    run.checkpoints.wait()

    def full(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "seal", full)
    run.checkpoints.save(3, problem.state(), {})
    with pytest.raises(WriteError, match=r"step 3 .*No space left.* of steps: 0\."):
        run.close()
    monkeypatch.undo()
    assert open_run().checkpoints.latest_step() == 0


def test_a_checkpoint_without_room_is_not_begun(open_run, problem, monkeypatch):
    run = open_run()
    usage = lambda folder: shutil._ntuple_diskusage(10**6, 10**6, 100)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(WriteError, match=r"it needs [\d,]+ bytes, and 100 are free"):
        run.checkpoints.save(3, problem.state(), {})


@pytest.mark.parametrize("name", ["summary.json", "sample.txt"])
def test_a_file_that_cannot_be_written_leaves_the_old_one(open_run, monkeypatch, name):
    run = open_run()
    run.write_text(name, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=f"{name} could not be written .No space left"):
        run.write_text(name, "new")
    assert (run.path / name).read_text() == "old"
    assert not list(run.path.glob("*.part"))


def test_a_vocabulary_that_cannot_be_written_is_told(open_run, monkeypatch):
    run = open_run()

    def full(vocabulary, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Vocabulary, "save", full)
    vocabulary = train_vocabulary(["abc"], "char")
    with pytest.raises(WriteError, match=r"vocabulary\.json could not be written"):
        run.write_network(record(Network, width=64), vocabulary=vocabulary)


def test_rows_that_cannot_be_written_are_told(open_run):
    run = open_run()
    (run.path / "metrics.jsonl").mkdir()
    with pytest.raises(WriteError, match=r"metrics\.jsonl could not be written"):
        run.log(1, {"train/loss": 1.0})


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


def test_data_may_move_and_are_known_by_their_contents(tmp_path):
    def open_with(data):
        options = RunOptions(run_dir=str(tmp_path / "run"))
        return RunFolder("regression", Data(data, options))

    network = record(Network, width=64)
    with open_with("/disk/pets") as run:
        run.write_network(network, data="abcd")
        run.resume(0)
    with open_with("/other/pets") as run:
        run.write_network(network, data="abcd")
        run.resume(0)
    with open_with("/other/pets") as run, pytest.raises(InputError, match="pets there"):
        run.resume(0)  # nobody has looked at the contents
    message = "data is abcd there, efgh here; data is /disk/pets there, cats here"
    with open_with("cats") as run, pytest.raises(InputError, match=message):
        run.write_network(network, data="efgh")


def test_data_without_a_fingerprint_keep_their_name(tmp_path):
    def open_with(data):
        options = RunOptions(run_dir=str(tmp_path / "run"))
        return RunFolder("regression", Data(data, options))

    with open_with("ring") as run:
        run.write_network(record(Network, width=64))
    with pytest.raises(InputError, match="data is ring there, grid here"):
        open_with("grid")


@pytest.mark.parametrize("text", ["{bro", "[]", '{"format": 3}'])
@pytest.mark.parametrize("name", ["config.json", "network.json"])
def test_a_damaged_file_is_told_in_one_line(open_run, name, text):
    run = open_run()
    run.write_network(record(Network, width=64))
    run.close()
    (run.path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name} cannot be read: .* put it back"):
        open_run().write_network(record(Network, width=64))
