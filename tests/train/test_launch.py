"""The command line reads well, and its errors are one line."""

import dataclasses
import gc
import os
import re
import signal
import sys
import time
from typing import Literal

import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count, Rate
from jaxlab.runs.interrupts import Interrupted
from jaxlab.runs.run_options import RunOptions
from jaxlab.train import launch as launching
from jaxlab.train.launch import launch, parse


@pytest.fixture(autouse=True)
def same_process(monkeypatch):
    """Leave out what a process may do once: other tests use its devices and memory."""
    for name in ("use_cpu_devices", "use_compilation_cache", "keep_freed_memory"):
        monkeypatch.setattr(launching, name, lambda *args: None)


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "cifar10"  # which images
    steps: Count = 100  # updates
    learning_rate: Rate = 0.5
    stem: Literal["patch", "conv"] = "patch"
    flip: bool = True
    run: RunOptions = RunOptions()


SMOKE = Config(data="digits", steps=3)
RECIPES = {"digits": Config(data="digits", steps=50)}


def read(*args):
    return parse(Config(), smoke=SMOKE, recipes=RECIPES, program="prog", args=[*args])


def test_flags_change_the_defaults():
    assert read() == Config()
    assert read("--steps", "7", "--no-flip", "--stem=conv") == Config(
        steps=7, flip=False, stem="conv"
    )
    assert read("--run.mesh", "data=2").run.mesh == "data=2"


def test_smoke_starts_from_a_tiny_run():
    assert read("--smoke") == SMOKE
    assert read("--steps", "9", "--smoke").steps == 9


@pytest.mark.parametrize("args", [["--data", "digits"], ["--data=digits"]])
def test_data_chooses_its_recipe(args):
    assert read(*args) == RECIPES["digits"]
    assert read(*args, "--steps", "8").steps == 8
    assert read("--data", "mnist") == Config(data="mnist")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--stepz", "3"], r"--stepz, 3; did you mean --steps\?"),
        (["--lr", "3"], r"--lr, 3; did you mean --learning-rate\?"),
        (["--lr=3"], r"did you mean --learning-rate\?"),
        (["--epochs", "3"], r"did you mean --steps \(updates, not epochs\)\?"),
        (["--dataset", "digits"], r"did you mean --data\?"),
        (["--gpu", "0"], r"did you mean --mesh \(devices by axis, as data=2\)\?"),
        (["--heads", "3"], "Unrecognized options: --heads, 3; --help"),  # has none
        (["--steps", "abc"], r"--steps: invalid literal .* 'abc'"),
        (["--steps"], r"Missing value for argument '--steps'"),
        (["--stem", "foo"], r"'foo' for argument '--stem'. .*'patch', 'conv'"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(capsys, args, message):
    with pytest.raises(SystemExit) as stop:
        read(*args)
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert re.match(r"error: .*; --help lists all flags$", shown)
    assert re.search(message, shown)
    assert not re.search("[│─╭]", shown)


def test_help_names_every_flag_its_default_and_meaning(capsys):
    with pytest.raises(SystemExit) as stop:
        read("--help")
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for text in (
        "--steps INT",
        "updates (default: 100)",
        "--no-flip",
        "--smoke",
        "mesh",
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("patch_size 3 does not divide 8"), 2, "error: patch_size 3 does"),
        (Interrupted("stopped after step 5", 15), 143, "stopped after step 5"),
        (KeyboardInterrupt(), 130, "stopped at once"),
    ],
)
def test_what_ends_a_run_is_told_in_one_line(capsys, monkeypatch, error, code, message):
    monkeypatch.setattr(os, "_exit", sys.exit)  # else the tests end here as well

    def main(config):
        raise error

    for name in ("use_compilation_cache", "keep_freed_memory"):
        monkeypatch.setattr(launching, name, lambda: None)
    monkeypatch.setattr("sys.argv", ["prog", "--smoke"])
    with pytest.raises(SystemExit) as stop:
        launch(main, Config(), smoke=SMOKE)
    assert stop.value.code == code
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "0"], "error: steps 0 must be at least 1"),
        (["--learning-rate", "nan"], "error: learning_rate nan must be a finite"),
        (["--run.log-every", "-1"], "error: log_every -1 must be at least 1"),
        (
            ["--run.run-dir", "gs://bucket/run"],
            "error: run_dir 'gs://bucket/run' is an",
        ),
        (["--run.data-dir", "file:///data"], "error: data_dir 'file:///data' is an"),
    ],
)
def test_a_value_that_cannot_be_is_told_before_anything_begins(
    capsys, monkeypatch, flags, message
):
    monkeypatch.setattr(launching, "keep_freed_memory", pytest.fail)
    monkeypatch.setattr("sys.argv", ["prog", *flags])
    with pytest.raises(SystemExit) as stop:
        launch(pytest.fail, Config(), smoke=SMOKE)
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(message)
    assert shown.count("\n") == 1


def test_a_stop_that_a_callback_from_c_drops_is_not_lost(capsys, monkeypatch):
    monkeypatch.setattr(os, "_exit", sys.exit)  # else the tests end here as well
    # Python's own handler: a shell's background jobs start without it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def main(config):
        gc.callbacks.append(stopped)
        gc.collect()
        for _ in range(500):
            time.sleep(0.01)

    def stopped(phase, info):
        gc.callbacks.remove(stopped)
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["prog"])
    try:
        with pytest.raises(SystemExit) as stop:
            launch(main, Config(), smoke=SMOKE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stop.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_a_message_with_ends_of_lines_is_one_line(capsys):
    with pytest.raises(SystemExit):
        read("--steps", "1\n2\udcff\x1b")
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert r"\udcff\x1b" in shown


def test_bugs_keep_their_traceback(monkeypatch):
    def main(config):
        raise ZeroDivisionError

    for name in ("use_compilation_cache", "keep_freed_memory"):
        monkeypatch.setattr(launching, name, lambda: None)
    monkeypatch.setattr("sys.argv", ["prog"])
    with pytest.raises(ZeroDivisionError):
        launch(main, Config(), smoke=SMOKE)


def test_help_keeps_the_example_commands_apart(capsys):
    text = "Title.\n\npython -m a    one\npython -m b    two\n"
    with pytest.raises(SystemExit):
        parse(Config(), smoke=SMOKE, program="prog", description=text, args=["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "python -m a    one" in lines
    assert "python -m b    two" in lines


def test_any_other_data_may_choose_a_recipe():
    recipes = {"digits": Config(data="digits", steps=50), "paper": Config(steps=70)}

    def steps(*args):
        return parse(
            Config(),
            smoke=SMOKE,
            recipes=recipes,
            by_data={"digits": "digits", "*": "paper"},
            program="prog",
            args=[*args],
        ).steps

    assert steps() == Config().steps
    assert steps("--data", "digits") == 50
    assert steps("--data=digits") == 50
    assert steps("--data", "a/folder") == 70
    assert steps("--data", "digits", "--data", "a/folder") == 70
    assert steps("--data", "a/folder", "--steps", "2") == 2
    assert steps("--data", "digits", "--recipe", "paper") == 70


@pytest.mark.parametrize("args", [["--recipe", "digits"], ["--recipe=digits"]])
def test_a_recipe_is_chosen_by_name(args):
    assert read(*args) == RECIPES["digits"]
    assert read("--data", "mnist", *args) == Config(data="mnist", steps=50)
    assert read("--steps", "8", *args).steps == 8


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--recipe", "paper"], "--recipe 'paper' is not known; .* has: digits"),
        (["--recipe"], "--recipe needs a value"),
        (["--smoke", "--recipe", "digits"], "give one of them"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(capsys, args, message):
    with pytest.raises(SystemExit) as stop:
        read(*args)
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert re.search(message, shown)
