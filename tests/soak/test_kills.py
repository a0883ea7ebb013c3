"""Runs that are killed again and again, at any moment, end as if nothing had happened.

`make soak`: 51 kills over the three kinds of runs.
"""

import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxlab.runs.run_files import read_metrics
from tests.same_runs import assert_events_whole, assert_same_run

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.soak

# Each update is saved, so that most kills fall into the writing of a checkpoint.
OFTEN = ("--smoke", "--steps", 40, "--save-every", 1, "--log-every", 1)
RUNS = {
    "vit_cifar": ("--eval-every", 7),
    "wgan_toy": (),
    "gbdt_tabular": ("--data", "digits"),
}
KILLS = 17  # of each kind


class Session:
    """A process that makes or resumes a run, and the moments to kill it at."""

    def __init__(self, experiment, folder, errors):
        self.folder, self.errors = folder, errors
        flags = map(str, (*OFTEN, *RUNS[experiment], "--run-dir", folder))
        with errors.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"experiments.{experiment}", *flags],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )

    def wait_while(self, condition):
        """Wait while something holds, at most until the process has ended."""
        while condition() and self.process.poll() is None:
            time.sleep(0.002)

    def wait_for_a_row(self):
        """Wait until the session has made an update."""
        there = len(read_metrics(self.folder))
        self.wait_while(lambda: len(read_metrics(self.folder)) <= there)

    def wait_for_a_checkpoint(self):
        """Wait until a checkpoint is being written."""
        half = "checkpoints/*.orbax-checkpoint-tmp*"
        self.wait_while(lambda: not any(self.folder.glob(half)))

    def kill(self):
        """Kill the process; tell whether it had not ended."""
        self.process.kill()
        code = self.process.wait()
        assert code in (0, -signal.SIGKILL), self.errors.read_text()
        assert "Traceback" not in self.errors.read_text()
        return code != 0

    def finish(self):
        """Let the run end."""
        assert self.process.wait(timeout=600) == 0, self.errors.read_text()


@pytest.mark.parametrize("experiment", RUNS)
def test_a_run_that_is_killed_at_any_moment_ends_as_if_it_had_not_been(
    experiment, tmp_path
):
    rng = np.random.default_rng(list(RUNS).index(experiment))
    whole, errors = tmp_path / "whole", tmp_path / "errors"
    before = time.monotonic()
    session = Session(experiment, whole, errors)
    session.wait_for_a_row()
    start_seconds = time.monotonic() - before
    session.finish()
    assert_events_whole(whole)
    left = KILLS
    while left:
        folder, moments = tmp_path / f"killed_{left}", []
        is_killed = True
        while is_killed and left:
            session = Session(experiment, folder, errors)
            moment = rng.choice(["any", "row", "checkpoint"])
            longest = {"any": 1.5 * start_seconds, "row": 0.3, "checkpoint": 0.03}
            if moment == "row":
                session.wait_for_a_row()
            elif moment == "checkpoint":
                session.wait_for_a_checkpoint()
            time.sleep(rng.uniform(0, longest[moment]))
            is_killed = session.kill()
            left -= is_killed
            rows = read_metrics(folder)
            moments.append(f"{moment} of step {rows[-1]['step'] if rows else 0}")
        Session(experiment, folder, errors).finish()
        assert_same_run(whole, folder, f"killed at {', '.join(moments)}")
        assert_events_whole(folder)
