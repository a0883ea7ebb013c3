"""Whatever is typed, an experiment answers with a configuration or in one line."""

import dataclasses
import importlib
import re

import numpy as np
import pytest

from jaxlab.train import launch as launching
from tests.damage import COUNT

# What users, and those who mean no good, put behind a flag.
VALUES = (
    *("0", "1", "-1", "3", "07", "1_000", "99999999999999999999", "9" * 500, "0x10"),
    *("1e3", "-0.0", "0.5", "nan", "inf", "-inf", "1e999", "1,5", "½", "²"),
    *("", " ", "None", "True", "false", "digits", "DIGITS", "cifar-10", "adam", "all"),
    *(
        "gs://bucket/run",
        "file:///a",
        "~nobody/x",
        "a" * 500,
        "a\nb",
        "\x1b[31m",
        "猫",
    ),
    *("'", '"', "{", "{}", "[1]", "%s", "--", "-", "--steps", "--help=1", "│", "╭─"),
    *("\udcff", "$HOME", "../..", "/dev/null", "a=b", "=", "=="),
)
EXPERIMENTS = ("vit_cifar", "wgan_toy")
LINES = COUNT // 3  # each takes a tenth of a second


def flags_of(config):
    """Give the flags of a configuration, and some that it has not."""
    fields = [*dataclasses.fields(config), *dataclasses.fields(config.run)]
    names = [field.name.replace("_", "-") for field in fields]
    known = [f"--{name}" for name in names]
    odd = [f"--no-{name}" for name in names]
    odd += ["--lr", "--epochs", "--gpu", "--run", "--stepz", "--recipe", "--smoke"]
    return known, [*odd, "---", "-x", "--=", "--steps=", "--Steps", "--num_heads"]


def typed(rng, config):
    """Draw a command line: mostly flags that are there, with any value, or damaged."""
    known, odd = flags_of(config)
    args = []
    for _ in range(rng.integers(1, 4)):
        flag = str(rng.choice(odd if rng.random() < 0.2 else known))
        value = "1" if rng.random() < 0.5 else VALUES[rng.integers(len(VALUES))]
        if rng.random() < 0.1:
            at = int(rng.integers(len(flag)))
            flag = flag[:at] + flag[at + 1 :]
        match rng.integers(5):
            case 0:
                args.append(flag)
            case 1:
                args.append(f"{flag}={value}")
            case 2:
                args += [flag, value, VALUES[rng.integers(len(VALUES))]]
            case _:
                args += [flag, value]
    return args


@pytest.mark.fuzz
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_typed_is_read_or_refused_in_one_line(name, monkeypatch, capsys):
    for step in ("keep_freed_memory", "use_compilation_cache"):
        monkeypatch.setattr(launching, step, lambda: None)
    for step in ("use_cpu_devices", "connect"):
        monkeypatch.setattr(launching, step, lambda text: None)
    experiment = importlib.import_module(f"experiments.{name}")
    taken, read = [], 0

    def main(config):
        taken.append(config)

    rng = np.random.default_rng(0)
    for number in range(LINES):
        args = typed(rng, experiment.Config())
        monkeypatch.setattr("sys.argv", ["prog", *args])
        taken.clear()
        code = 0
        try:
            launching.launch(main, experiment.Config(), smoke=experiment.SMOKE)
        except SystemExit as stop:
            code = stop.code or 0
        shown = capsys.readouterr()
        if code == 0:
            assert taken or "--help" in " ".join(args), args
            read += bool(taken)
        else:
            assert code == 2, (number, args)
            assert re.fullmatch(r"error: [^\n]+\n", shown.err), (number, args)
    assert 0 < read < LINES
