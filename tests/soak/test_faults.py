"""Full disks, folders that cannot be written, kills while the first files are written.

Each is answered in one line, and the run ends as if nothing had happened once the cause
is gone. `make soak`.
"""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from jaxlab.runs.run_files import read_metrics
from tests.same_runs import assert_same_run

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.soak

RUNS = {
    "vit_cifar": ("--smoke", "--steps", 8, "--save-every", 2, "--log-every", 1),
    "wgan_toy": ("--smoke", "--save-every", 2, "--log-every", 1),
    "gbdt_tabular": ("--smoke", "--save-every", 2),
}


# Lets no file grow beyond so many bytes: what a full disk does to it.
LIMITED = """
import resource, runpy, sys
limit, module = int(sys.argv.pop(1)), sys.argv.pop(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def run(experiment, folder, limit=None):
    """Run an experiment's command; give its exit code and what it wrote to stderr."""
    flags = map(str, (*RUNS[experiment], "--run-dir", folder))
    module = f"experiments.{experiment}"
    how = ["-m", module] if limit is None else ["-c", LIMITED, str(limit), module]
    done = subprocess.run(
        [sys.executable, *how, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stderr


@pytest.fixture(scope="module", params=RUNS)
def whole(request, tmp_path_factory):
    """Run an experiment to its end."""
    folder = tmp_path_factory.mktemp("whole") / request.param
    code, errors = run(request.param, folder)
    assert code == 0, errors
    return folder


@pytest.mark.parametrize("limit", [40, 300, 1500, 4000, 20_000, 100_000])
def test_a_full_disk_is_one_line_and_costs_nothing(whole, tmp_path, limit):
    experiment, folder = whole.name, tmp_path / "run"
    code, errors = run(experiment, folder, limit)
    assert "Traceback" not in errors
    assert code in (0, 2)
    if code:
        (line,) = (line for line in errors.splitlines() if line.startswith("error: "))
        assert "could not be written (" in line or "cannot be made or written (" in line
    rows = read_metrics(folder)
    code, errors = run(experiment, folder)
    assert code == 0, errors
    assert_same_run(whole, folder, f"after a limit of {limit} bytes")
    assert len(rows) <= len(read_metrics(folder))


@pytest.mark.parametrize("made", [1, 2, 3, 5, 8])
def test_a_kill_while_the_first_files_are_written(whole, tmp_path, made):
    """Kill when so many files are there, `.lock` and `config.json.part` among them."""
    experiment, folder = whole.name, tmp_path / "run"
    flags = map(str, (*RUNS[experiment], "--run-dir", folder))
    process = subprocess.Popen(
        [sys.executable, "-m", f"experiments.{experiment}", *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while sum(len(files) for _, _, files in os.walk(folder)) < made:
        assert process.poll() is None
    process.kill()
    assert process.wait() == -signal.SIGKILL
    code, errors = run(experiment, folder)
    assert code == 0, errors
    assert_same_run(whole, folder, f"killed when {made} files were there")


def test_a_folder_that_cannot_be_written_is_refused(whole, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("the system's administrator may write anywhere")
    (tmp_path / "run").mkdir(mode=0o500)
    code, errors = run(whole.name, tmp_path / "run")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "cannot be made or written (Permission denied)" in errors
