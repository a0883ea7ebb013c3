"""Checkpoints are complete or absent, and say what does not fit."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.runs.checkpoint import Checkpoints
from jaxlab.runs.load_params import load_params


@pytest.fixture
def checkpoints(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as opened:
        yield opened


@pytest.mark.slow
def test_a_state_comes_back_bit_for_bit(problem, checkpoints, same):
    state = problem.state(ema=True)
    checkpoints.save(7, state, {"note": [1, 2]})
    found, meta, step = checkpoints.restore(problem.state(ema=True))
    assert same(found, state)
    assert (meta, step) == ({"note": [1, 2]}, 7)


@pytest.mark.slow
def test_a_state_can_move_to_another_mesh(problem, checkpoints, same):
    state = problem.state(make_mesh("data=1"))
    checkpoints.save(1, state, {})
    template = problem.state(make_mesh("data=2,fsdp=2"))
    found, _, _ = checkpoints.restore(template)
    assert same(found, state)
    shardings = [
        jax.tree.map(lambda leaf: leaf.sharding, tree) for tree in (found, template)
    ]
    assert shardings[0] == shardings[1]


def test_the_last_two_and_the_best_are_kept(problem, checkpoints, tmp_path):
    state = problem.state()
    for step, score in enumerate([0.1, 0.9, 0.3, 0.2, None]):
        checkpoints.save(step, state, {}, score)
    checkpoints.wait()
    folder = tmp_path / "checkpoints"
    assert sorted(int(path.name) for path in folder.iterdir()) == [1, 3, 4]
    assert checkpoints.best_step() == 1
    assert checkpoints.latest_step() == 4


def test_a_half_written_checkpoint_is_not_seen(problem, tmp_path):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as first:
        first.save(1, problem.state(), {})
    unfinished = folder / "2.orbax-checkpoint-tmp-123"
    unfinished.mkdir()
    (unfinished / "state").mkdir()
    with Checkpoints(folder) as second:
        assert second.latest_step() == 1


def test_the_state_may_be_donated_at_once(problem, checkpoints, same):
    step, state = problem.compiled(), problem.state()
    before = jax.tree.map(lambda leaf: leaf.copy(), state)
    checkpoints.save(0, state, {})
    step(state, problem.batch(0))
    assert same(checkpoints.restore(problem.state())[0], before)


def test_another_model_is_refused_with_what_differs(problem, checkpoints):
    state = problem.state()
    checkpoints.save(1, state, {})
    params = dict(state.params)
    params["Dense_0"] = {"kernel": np.zeros((9, 9)), "bias": np.zeros(16)}
    other = jax.device_put(problem.state().params | params)
    with pytest.raises(InputError, match=r"Dense_0/kernel: file \(3, 16\), model \(9"):
        checkpoints.restore(type(state)(**{**vars(state), "params": other}))


def test_nothing_saved_is_said_plainly(problem, checkpoints):
    with pytest.raises(InputError, match="saved steps: none"):
        checkpoints.restore(problem.state())
    checkpoints.save(3, problem.state(), {})
    with pytest.raises(InputError, match=r"step 5 .* saved steps: \[3\]"):
        checkpoints.restore(problem.state(), 5)


@pytest.mark.slow
def test_parameters_load_without_the_run_that_made_them(problem, tmp_path, same):
    state = problem.state(ema=True)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, state, {}, 0.5)
        checkpoints.save(2, problem.state(make_mesh("data=4"), ema=True), {}, 0.1)
    for name in ("params", "ema"):
        found = load_params(tmp_path, name=name)
        kernel = found["Dense_0"]["kernel"]
        assert isinstance(kernel, np.ndarray)
        np.testing.assert_array_equal(kernel, state.params["Dense_0"]["kernel"])
    assert same(load_params(tmp_path), load_params(tmp_path, name="ema"))
    with pytest.raises(InputError, match=r"no 'weights'; it has .*params"):
        load_params(tmp_path, name="weights")
    with pytest.raises(InputError, match="give a run folder"):
        load_params(tmp_path / "elsewhere")


@pytest.fixture
def teacher(rng):
    """Give frozen parameters."""
    return {"kernel": jnp.asarray(rng.normal(size=(4, 4)), jnp.float32)}


def test_what_is_frozen_is_saved_once_beside_the_checkpoints(
    problem, tmp_path, teacher, same
):
    folder, state = tmp_path / "checkpoints", problem.state(frozen=teacher)
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(1, state, {})
        (saved,) = (tmp_path / "frozen").rglob("_METADATA")
        written = saved.stat().st_mtime_ns
        checkpoints.save(2, state, {})
        checkpoints.wait()
        assert saved.stat().st_mtime_ns == written
    assert not [path for path in folder.rglob("*") if "kernel" in path.name]
    zeros = jax.tree.map(jnp.zeros_like, teacher)
    template = problem.state(make_mesh("data=2"), frozen=zeros)
    with Checkpoints(folder) as checkpoints:
        found, _, step = checkpoints.restore(template)
    assert step == 2
    assert same(found, state)
    assert found.frozen["kernel"].sharding == template.frozen["kernel"].sharding
    assert same(load_params(tmp_path, name="frozen"), teacher)


def test_frozen_parameters_that_are_gone_or_others_are_told(
    problem, tmp_path, teacher, checkpoints
):
    checkpoints.save(1, problem.state(frozen=teacher), {})
    with pytest.raises(InputError, match="begun with the frozen parameters of"):
        checkpoints.restore(problem.state())
    other = problem.state(frozen={"kernel": jnp.zeros((4, 5))})
    with pytest.raises(InputError, match=r"kernel: file \(4, 4\), model \(4, 5\)"):
        checkpoints.restore(other)
    shutil.rmtree(tmp_path / "frozen")
    with pytest.raises(InputError, match="frozen is gone"):
        checkpoints.restore(problem.state(frozen=teacher))
    with pytest.raises(InputError, match="has no frozen parameters"):
        load_params(tmp_path, name="frozen")


def test_any_step_that_is_saved_loads(problem, tmp_path):
    step, state = problem.compiled(), problem.state()
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for number, score in ((1, 0.9), (2, 0.1)):
            state, _ = step(state, problem.batch(number))
            checkpoints.save(number, state, {}, score)
    kernels = {
        at: load_params(tmp_path, step=at)["Dense_0"]["kernel"]
        for at in ("best", "last", 1, 2)
    }
    np.testing.assert_array_equal(kernels["best"], kernels[1])
    np.testing.assert_array_equal(kernels["last"], kernels[2])
    assert (kernels[1] != kernels[2]).any()
    with pytest.raises(InputError, match=r"no step 3 in .* saved steps: 1, 2"):
        load_params(tmp_path, step=3)
