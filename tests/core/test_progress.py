"""Progress is shown in a terminal, in a notebook and in a log."""

import sys
import time
import types

import pytest

from jaxlab.core import progress
from jaxlab.core.progress import Speed, counted, make_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    fake = types.SimpleNamespace(
        perf_counter=lambda: now[0], monotonic=lambda: now[0], sleep=time.sleep
    )
    monkeypatch.setattr(progress, "time", fake)
    return now


def test_speed_leaves_the_first_step_out(clock):
    speed = Speed(0, 100)
    assert speed.time_left() == "-:--"
    clock[0] += 30  # compiling
    speed.update(1)
    for step in range(2, 12):
        clock[0] += 0.5
        speed.update(step)
    assert speed.steps_per_second == pytest.approx(2)
    assert speed.time_left() == "0:44"  # 89 steps at 2 a second


def test_speed_leaves_pauses_out(clock):
    speed = Speed(0, 10_000)
    for step in range(1, 10):
        clock[0] += 1
        speed.update(step)
    speed.pause()
    clock[0] += 1000  # an evaluation
    for step in range(10, 12):
        clock[0] += 1
        speed.update(step)
    assert speed.steps_per_second == pytest.approx(1)
    assert speed.time_left() == "2:46:29"


def run(viewer, clock, steps):
    for step in range(1, steps + 1):
        clock[0] += 1
        viewer.step(step)
        viewer.log({"train/loss": 1 / step, "train/grad_norm": 3.0})


def test_a_log_gets_a_plain_line_now_and_then(clock, capsys):
    viewer = make_progress(0, 40, 8)
    run(viewer, clock, 40)
    viewer.say("step 40/40  test/loss 0.5")
    viewer.close()
    lines = capsys.readouterr().out.splitlines()
    assert 4 <= len(lines) <= 7
    assert lines[1].startswith("step 12/40  1 steps/s  8 examples/s  loss 0.0833")
    assert lines[1].endswith("0:28 left")
    assert lines[-1] == "step 40/40  test/loss 0.5"
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_a_live_bar(clock, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    viewer = make_progress(0, 5, 8)
    run(viewer, clock, 5)
    viewer.say("a line that stays")
    viewer.close()
    shown = capsys.readouterr().out
    assert "5/5" in shown
    assert "examples/s" in shown
    assert "a line that stays" in shown


def test_a_notebook_gets_a_widget_that_is_not_drawn_each_step(clock, monkeypatch):
    drawn = []

    class Handle:
        def update(self, shown):
            drawn.append(shown._repr_html_())

    def display(shown, display_id):
        assert display_id
        return Handle()

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    viewer = progress._NotebookProgress(0, 1000, 8)
    for step in range(1, 1001):
        clock[0] += 0.001
        viewer.step(step)
    viewer.log({"train/loss": 0.25})
    viewer.close()
    assert 2 <= len(drawn) <= 4
    assert "<progress value=1000 max=1000>" in drawn[-1]
    assert "loss 0.25" in drawn[-1]


@pytest.mark.parametrize(
    ("start", "steps", "text"),
    [(5, 5, "trained before"), (0, 5, "compiling  -:-- left")],
)
def test_a_run_that_was_finished_is_not_said_to_compile(
    clock, capsys, monkeypatch, start, steps, text
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    viewer = make_progress(start, steps, 8)
    viewer.close()
    shown = capsys.readouterr().out
    assert text in shown
    assert ("compiling" in shown) == (start < steps)


def test_other_processes_stay_silent(clock, capsys):
    viewer = make_progress(0, 5, 8, visible=False)
    run(viewer, clock, 5)
    viewer.say("nothing")
    viewer.close()
    assert capsys.readouterr().out == ""


def slow_items(clock, seconds, count=10):
    for item in range(count):
        clock[0] += seconds
        yield item


def test_a_count_is_told_only_if_it_takes_long(clock, capsys):
    assert list(counted(slow_items(clock, 0.1), 10, "reading")) == list(range(10))
    assert capsys.readouterr() == ("", "")
    list(counted(slow_items(clock, 3.0), 10, "reading"))
    out, err = capsys.readouterr()
    lines = [f"reading: {done} of 10" for done in (1, 5, 9, 10)]
    assert (out, err.splitlines()) == ("", lines)


def test_a_count_in_a_terminal_is_one_line(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    list(counted(slow_items(clock, 1.5, 3), 3, "reading"))
    _, err = capsys.readouterr()
    assert err == "\rreading: 2 of 3\rreading: 3 of 3\n"
