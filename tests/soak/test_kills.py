"""SIGKILL at any moment costs nothing but time: 51 kills of three kinds of runs.

`make soak`.
"""

import itertools
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxlab.runs.run_files import read_metrics
from tests.runs.test_events import read_events
from tests.same_runs import assert_same_run

pytestmark = pytest.mark.soak
ROOT = pathlib.Path(__file__).parents[2]
EACH = ("--save-every", 1, "--log-every", 1)
RUNS = {
    "vit_cifar": ("--smoke", "--steps", 120, "--eval-every", 30, *EACH),
    "wgan_toy": ("--smoke", "--steps", 120, "--eval-every", 60, *EACH),
    "gbdt_tabular": ("--smoke", "--data", "digits", "--steps", 120, *EACH),
}
KILLS = 17  # of each kind


def start(experiment, folder):
    flags = map(str, (*RUNS[experiment], "--run-dir", folder))
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{experiment}", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def rows(folder):
    return len(read_metrics(folder)) if folder.exists() else 0


def is_saving(folder):
    return any(folder.glob("checkpoints/*.orbax-checkpoint-tmp*"))


def kill_at(process, moment):
    """Kill a process as soon as a moment is there, or it has ended."""
    while process.poll() is None and not moment():
        time.sleep(0.001)
    process.kill()
    output, _ = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), output
    return process.returncode != 0


@pytest.mark.parametrize("experiment", RUNS)
def test_a_run_that_is_killed_again_and_again_is_the_same_run(experiment, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    output, _ = start(experiment, whole).communicate()
    assert (whole / "summary.json").exists(), output
    rng, kills = np.random.default_rng(len(experiment)), 0
    for number in itertools.count():
        if kills == KILLS:
            break
        # Some updates further, every second time while a checkpoint is written; and
        # now and then before the first update.
        goal = rows(folder) + int(rng.integers(1, 7)) if number % 5 else 0

        def moment(goal=goal, saving=number % 2 == 1):
            there = rows(folder) >= goal and folder.exists()
            return there and (is_saving(folder) or not saving)

        kills += kill_at(start(experiment, folder), moment)
        assert not (folder / "summary.json").exists(), "give it more steps"
    output, _ = start(experiment, folder).communicate()
    assert (folder / "summary.json").exists(), output
    assert_same_run(whole, folder, f"after {kills} kills")
    assert read_events(folder / "tensorboard") == [
        pytest.approx(row, nan_ok=True) for row in read_metrics(folder)
    ]
