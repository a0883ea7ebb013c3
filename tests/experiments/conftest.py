"""Experiments as commands."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxlab.core.pytree import flat_paths
from jaxlab.train.checkpoint import load_params
from jaxlab.train.run_folder import read_metrics

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def start(request, tmp_path_factory):
    """Start the experiment that a test module is about, with flags.

    Processes that still run are killed at the end of the test.
    """
    started = []
    cache = tmp_path_factory.getbasetemp().parent / "jaxlab_cache"
    environment = {**os.environ, "JAXLAB_CACHE": str(cache)}
    name = request.module.__name__.rpartition("test_")[-1]

    def start(*flags):
        process = subprocess.Popen(
            [sys.executable, "-m", f"experiments.{name}", *map(str, flags)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def finish():
    """Wait for a process, and give what it printed."""

    def finish(process, code=0):
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, err
        return out, err

    return finish


@pytest.fixture
def stop_at(finish):
    """Send a process a signal once its run has reached a step, and wait for its end."""

    def stop_at(process, folder, step, signum):
        while not (rows := read_metrics(folder)) or rows[-1]["step"] < step:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signum)
        return finish(process, {signal.SIGKILL: -9, signal.SIGINT: 130}[signum])

    return stop_at


@pytest.fixture
def assert_same_params():
    """Compare a part of the states of two runs, bit by bit."""

    def assert_same_params(one, other, name="", note=""):
        expected, found = (flat_paths(load_params(f, name=name)) for f in (one, other))
        assert found.keys() == expected.keys()
        for path, leaf in expected.items():
            message = f"{name} {path} {note}"
            np.testing.assert_array_equal(found[path], leaf, err_msg=message)

    return assert_same_params
