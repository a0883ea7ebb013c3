"""Experiments as commands."""

import os
import pathlib
import subprocess
import sys

import pytest

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
