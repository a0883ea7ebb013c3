"""TensorBoard sees each row once, whatever a kill has cut off."""

import pytest

from jaxlab.runs.events import Events
from jaxlab.runs.run_files import read_metrics
from tests.same_runs import read_events


def test_rows_reach_tensorboard(open_run):
    run = open_run()
    run.log(10, {"train/loss": 1.5, "test/accuracy": 0.25})
    run.close()
    assert read_events(run.path / "tensorboard") == [
        {"step": 10, "train/loss": 1.5, "test/accuracy": 0.25}
    ]


def test_a_resumed_run_writes_again_what_a_kill_has_cut_off(open_run):
    run = open_run()
    for step in (10, 20, 30):
        run.log(step, {"train/loss": step / 8})
    run.close()
    (file,) = (run.path / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    run = open_run()
    run.resume(20)
    run.log(30, {"train/loss": 9.0})
    run.close()
    assert read_events(run.path / "tensorboard") == read_metrics(run.path)


def test_events_that_cannot_be_written_stop_no_run(tmp_path):
    (tmp_path / "tensorboard").write_text("a file")
    events = Events(tmp_path / "tensorboard")
    events.add({"step": 1, "train/loss": 1.0})
    events.add({"step": 2, "train/loss": 1.0})
    assert events.close().startswith("TensorBoard's events were not written: ")


@pytest.mark.parametrize("times", [1, 2])
def test_without_rows_there_are_no_files(tmp_path, times):
    events = Events(tmp_path / "tensorboard")
    events.begin([])
    for _ in range(times):
        assert events.close() == ""
    assert not (tmp_path / "tensorboard").exists()
