"""Experiments as commands: in this process where that shows the same."""

import contextlib
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import time

import jax
import pytest

from jaxlab.core.compilation import cache_folder
from jaxlab.runs.run_files import read_metrics
from jaxlab.train import launch
from tests.same_runs import assert_same_run

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def command(monkeypatch, capsys):
    """Run an experiment's command line here: give its exit code and what it printed."""
    # What a process may do once: its devices are in use, its memory stays glibc's.
    for name in ("use_cpu_devices", "keep_freed_memory", "use_compilation_cache"):
        monkeypatch.setattr(launch, name, lambda *args: None)

    def command(experiment, *flags):
        name = f"experiments.{experiment}"
        monkeypatch.setattr(sys, "argv", [name, *map(str, flags)])
        monkeypatch.delitem(sys.modules, name, raising=False)  # run it anew
        code = 0
        capsys.readouterr()
        try:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def pictures():
    """Draw the pictures of this test's runs."""


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Leave their drawing out elsewhere: it takes most of a short run."""
    if "pictures" in request.fixturenames:
        return
    from matplotlib.figure import Figure

    def save(figure, path, **options):
        pathlib.Path(path).touch()

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture
def start(tmp_path_factory):
    """Start an experiment in a process of its own, with flags.

    Processes that still run are killed at the end of the test.
    """
    started = []
    # A cache of their own, but not of compiled kernels: these take half a minute.
    cache = tmp_path_factory.getbasetemp().parent / "jaxlab_cache"
    for folder in (cache, cache_folder() / "kernels"):
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (cache / "kernels").symlink_to(cache_folder() / "kernels")
    environment = {
        **os.environ,
        "JAXLAB_CACHE": str(cache),
        "JAX_COMPILATION_CACHE_DIR": jax.config.values["jax_compilation_cache_dir"],
    }

    def start(experiment, *flags):
        process = subprocess.Popen(
            [sys.executable, "-m", f"experiments.{experiment}", *map(str, flags)],
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
def kill_at(finish):
    """Kill a process once its run has reached a step."""

    def kill_at(process, folder, step):
        while not (rows := read_metrics(folder)) or rows[-1]["step"] < step:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.kill()
        return finish(process, -signal.SIGKILL)

    return kill_at


@pytest.fixture(name="assert_same_run")
def _assert_same_run():
    return assert_same_run
