"""A damaged checkpoint is told and moved aside, never read."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.runs.checkpoint import Checkpoints
from jaxlab.runs.checksums import check_whole
from jaxlab.runs.load_params import load_params
from tests.damage import COUNT, check_reader


def state(value):
    return {"params": {"kernel": jnp.arange(12.0).reshape(3, 4) + value}}


@pytest.fixture
def run(tmp_path):
    """Save two steps of a run."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state(step), {}, score=step / 10)
    return tmp_path


def arrays(run):
    """Return the file that holds the arrays of the last step."""
    (file,) = (run / "checkpoints/2/state/d").iterdir()
    return file


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def delete(file):
    file.unlink()


@pytest.mark.parametrize("damage", [flip, empty, delete])
def test_a_damaged_file_of_arrays_is_named(run, damage):
    file = arrays(run)
    damage(file)
    with pytest.raises(InputError, match=rf"2 is damaged: .*{file.name}.*saved: 1"):
        load_params(run, step=2)
    assert load_params(run, step=1)["kernel"][0, 0] == 1


def test_the_run_goes_back_to_the_whole_one_before(run):
    flip(arrays(run))
    with Checkpoints(run / "checkpoints") as checkpoints:
        found, _, step = checkpoints.restore(state(0))
        checkpoints.save(2, state(2), {})  # made again
    assert (step, found["params"]["kernel"][0, 0]) == (1, 1)
    (line,) = checkpoints.damage
    assert f"it is now {run / 'damaged_2'}" in line
    assert (run / "damaged_2/state").is_dir()
    assert load_params(run, step=2)["kernel"][0, 0] == 2


@pytest.mark.parametrize(
    "name", ["metrics/metrics", "meta/metadata", "state/_METADATA"]
)
def test_the_small_files_count_too(run, name):
    (run / "checkpoints/2" / name).write_text("{")
    with pytest.raises(InputError, match=f"{name} is not what was written"):
        load_params(run, step=1 if "metrics" in name else 2)


def test_a_run_without_a_whole_checkpoint_is_refused_and_left_as_it_is(run):
    for step in (1, 2):
        shutil.rmtree(run / f"checkpoints/{step}/state")
    with pytest.raises(InputError, match=r"checkpoints/2 is damaged: state/.* is gone"):
        Checkpoints(run / "checkpoints")
    assert sorted(file.name for file in run.iterdir()) == ["checkpoints"]


def test_frozen_parameters_that_are_damaged_are_refused(problem, tmp_path):
    frozen = problem.state(frozen={"kernel": jnp.ones((8, 8))})
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, frozen, {})
    flip(tmp_path / "frozen/_METADATA")
    with (
        Checkpoints(tmp_path / "checkpoints") as checkpoints,
        pytest.raises(InputError, match="frozen is damaged: _METADATA"),
    ):
        checkpoints.restore(frozen)
    with pytest.raises(InputError, match="frozen is damaged: _METADATA"):
        load_params(tmp_path, name="frozen")


@pytest.mark.fuzz
def test_no_damaged_file_of_a_checkpoint_passes(run):
    folder = run / "checkpoints/2"
    files = [file for file in folder.rglob("*") if file.is_file()]
    kernel = np.asarray(state(2)["params"]["kernel"])

    def read(file):
        try:
            check_whole(folder)  # in less time than `load_params` finds out
            return load_params(run, step=2)["kernel"]
        except InputError as error:  # may name what a damaged list of sums names
            raise InputError(f"{file}: {error}") from None

    notes = {"_CHECKPOINT_METADATA", "commit_success.txt"}
    for seed, file in enumerate(sorted(files)):
        count = max(COUNT // len(files), 2)
        refused = check_reader(
            read,
            file,
            lambda found: np.array_equal(found, kernel),
            count=count,
            seed=seed,
        )
        assert refused >= (0 if file.name in notes else count // 2), file
