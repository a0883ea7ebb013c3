"""A run is a pure function of its configuration, however often it is interrupted."""

import copy
import itertools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh, replicate
from jaxlab.runs.checkpoint import Checkpoints
from jaxlab.runs.interrupts import Interrupted
from jaxlab.runs.run_files import read_metrics
from jaxlab.train import loop
from jaxlab.train.engine import compile_step
from jaxlab.train.loop import NonFiniteError, fit
from jaxlab.train.step import make_train_step


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Collect the folders whose curves are asked for, since drawing takes time."""
    folders = []
    monkeypatch.setattr(
        loop, "learning_curves", lambda folder, rows: folders.append(folder)
    )
    return folders


MESH = make_mesh("data=1")


def train(problem, run, steps=10, mesh="data=1", batches=None, **options):
    return fitted(problem, run, steps, mesh, batches, **options).state


def fitted(problem, run, steps=10, mesh="data=1", batches=None, **options):
    mesh = make_mesh(mesh)
    return fit(
        problem.compiled(mesh),
        problem.state(mesh),
        batches or problem.batches,
        steps=steps,
        batch_size=8,
        run=run,
        **options,
    )


def interrupting(problem, at, signum=signal.SIGTERM):
    """Give the problem's batches, and send a signal with batch `at`."""

    def batches(start):
        for step, batch in enumerate(problem.batches(start), start):
            if step == at:
                os.kill(os.getpid(), signum)
            yield batch

    return batches


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_what_a_checkpoint_holds_does_not_change_while_it_is_written(
    problem, open_run, monkeypatch
):
    given, save = [], Checkpoints.save

    def keep(self, step, state, meta, *rest):
        given.append((meta, copy.deepcopy(meta)))
        return save(self, step, state, meta, *rest)

    monkeypatch.setattr(Checkpoints, "save", keep)
    train(problem, open_run(log_every=4, save_every=2))
    assert len(given) > 3
    for later, then in given:
        assert later == then


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    problem, open_run, same, signum
):
    whole = open_run("whole", log_every=4)
    expected = train(problem, whole)
    run = open_run("parts", log_every=4)
    with pytest.raises(Interrupted, match="stopped after step 6 of 10") as stop:
        train(problem, run, batches=interrupting(problem, 5, signum))
    assert stop.value.signum == signum
    run.close()
    run = open_run("parts", log_every=4)
    assert run.checkpoints.latest_step() == 6
    found = train(problem, run)
    assert same(found, expected)
    rows = without_time(read_metrics(run.path))
    assert rows == without_time(read_metrics(whole.path))
    assert [row["step"] for row in rows] == [4, 8, 10]


def test_a_run_lost_between_checkpoints_is_computed_again(problem, open_run, same):
    whole = open_run("whole", log_every=2)
    expected = train(problem, whole)
    run = open_run("killed", log_every=2, save_every=4)

    def dying(start):
        for step, batch in enumerate(problem.batches(start), start):
            if step == 7:
                raise ConnectionError
            yield batch

    with pytest.raises(ConnectionError):
        train(problem, run, batches=dying)
    run.close()
    run = open_run("killed", log_every=2, save_every=4)
    assert run.checkpoints.latest_step() == 4
    problem.drawn.clear()
    assert same(train(problem, run), expected)
    assert problem.drawn == list(range(4, 10))
    rows = without_time(read_metrics(run.path))
    assert rows == without_time(read_metrics(whole.path))


def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(
    problem, open_run, same, capsys
):
    whole = open_run("whole", log_every=2)
    expected = train(problem, whole)
    run = open_run("damaged", log_every=2, save_every=3)
    with pytest.raises(Interrupted):
        train(problem, run, batches=interrupting(problem, 6))
    run.close()
    for file in (run.path / "checkpoints/7/state/d").iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    run = open_run("damaged", log_every=2, save_every=3)
    assert "checkpoints/7 is damaged" in capsys.readouterr().out
    assert run.checkpoints.latest_step() == 6
    assert same(train(problem, run), expected)
    rows = without_time(read_metrics(run.path))
    assert rows == without_time(read_metrics(whole.path))


def test_a_finished_run_is_not_run_again(problem, open_run, same):
    run = open_run()
    expected = train(problem, run)
    run.close()
    problem.drawn.clear()
    found = train(problem, open_run())
    assert same(found, expected)
    assert problem.drawn == []


def test_a_finished_run_without_its_checkpoints_is_not_begun_again(problem, open_run):
    run = open_run()
    run.finish({"loss": 1.0}, {})
    with pytest.raises(InputError, match="has finished, and its checkpoints are gone"):
        train(problem, run)


def test_a_run_can_move_to_another_mesh(problem, open_run):
    expected = train(problem, open_run("whole"))
    run = open_run("moved")
    with pytest.raises(Interrupted):
        train(problem, run, batches=interrupting(problem, 5))
    run.close()
    found = train(problem, open_run("moved"), mesh="data=2,fsdp=2")
    jax.tree.map(
        # Sums over the batch are taken in another order.
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        found.params,
        expected.params,
    )


def test_rows_are_means_since_the_row_before(problem, open_run):
    losses = []

    def step(state, batch):
        losses.append(float(batch["x"].sum()))
        return state, {"loss": jnp.float32(losses[-1])}

    run = open_run(log_every=3)
    fit(step, problem.state(), problem.batches, steps=7, batch_size=8, run=run)
    rows = read_metrics(run.path)
    expected = [np.mean(losses[:3]), np.mean(losses[3:6]), losses[6]]
    assert [row["train/loss"] for row in rows] == pytest.approx(expected)


def test_evaluation_marks_the_best_checkpoint(problem, open_run):
    scores = iter([3.0, 1.0, 2.0])
    run = open_run()
    train(
        problem,
        run,
        steps=6,
        evaluate=lambda state: {"loss": next(scores)},
        eval_every=2,
        best="-loss",
    )
    assert run.checkpoints.best_step() == 4
    rows = [row["test/loss"] for row in read_metrics(run.path) if "test/loss" in row]
    assert rows == [3.0, 1.0, 2.0]


def test_the_state_of_the_best_checkpoint_is_chosen(problem, open_run, same):
    states, scores = [], iter([3.0, 1.0, 2.0])

    def evaluate(state):
        states.append(jax.tree.map(lambda leaf: leaf.copy(), state))
        return {"loss": next(scores)}

    options = {"steps": 6, "evaluate": evaluate, "eval_every": 2, "held_out": "valid"}
    found = fitted(problem, open_run(), best="-loss", **options)
    assert (found.chosen_step, found.chosen_by) == (4, "valid/loss")
    assert same(found.chosen, states[1])
    assert same(found.state, states[2])
    assert found.facts["chosen_step"] == 4


def test_without_a_measure_the_last_state_is_chosen(problem, open_run, same):
    found = fitted(problem, open_run())
    assert (found.chosen_step, found.chosen_by) == (10, "last")
    assert found.chosen is found.state


def test_without_an_interval_only_the_end_is_evaluated(problem, open_run):
    seen = []

    def evaluate(state):
        seen.append(int(state.step))
        return {"loss": 0.0}

    train(problem, open_run(), steps=5, evaluate=evaluate)
    assert seen == [5]


def test_a_run_leaves_its_curves_and_what_it_did(problem, open_run, drawn):
    run = open_run()
    found = fitted(problem, run, steps=5)
    assert (found.steps, found.examples, found.was_finished) == (5, 40, False)
    assert found.facts["training_seconds"] == found.seconds > 0


def test_the_first_bad_step_is_kept_with_its_batch(problem, open_run, same):
    def batches(start):
        for step, batch in enumerate(problem.batches(start), start):
            if step == 5:
                batch["x"][2, 1] = np.nan
            yield batch

    run = open_run(save_every=2)  # step 4 is saved; step 6 must not be
    with pytest.raises(NonFiniteError, match=r"loss is nan.* at step 5;") as error:
        train(problem, run, batches=batches)
    assert error.value.step == 5
    assert run.checkpoints.latest_step() == 4
    batch = np.load(error.value.folder / "batch.npz")
    assert np.isnan(batch["x"][2, 1])
    expected = train(problem, open_run("good"), steps=5)
    with Checkpoints(error.value.folder / "checkpoints") as kept:
        state, _, _ = kept.restore(problem.state())
    assert same(state, expected)


def test_any_state_can_be_trained(open_run):
    """Two networks and a counter, as a GAN's trainer has them."""
    mesh = make_mesh("data=2")
    state = {
        "generator": {"w": np.zeros(3, np.float32)},
        "critic": (np.ones(3, np.float32), np.zeros((), np.int32)),
    }

    def step(state, batch):
        critic, count = state["critic"]
        critic = critic + batch.mean(0)
        generator = {"w": state["generator"]["w"] - critic}
        metrics = {"critic_loss": critic.sum(), "generator_loss": generator["w"].sum()}
        return {"generator": generator, "critic": (critic, count + 1)}, metrics

    def batches(start):
        while True:
            yield np.full((4, 3), start, np.float32)
            start += 1

    state = replicate(state, mesh)
    step, run = compile_step(step, state, mesh), open_run()
    state = fit(step, state, batches, steps=3, batch_size=4, run=run).state
    assert int(state["critic"][1]) == 3
    np.testing.assert_array_equal(state["critic"][0], 1 + 0 + 1 + 2)


def test_the_stream_is_closed_at_the_end(problem, open_run):
    closed = []

    def batches(start):
        try:
            yield from problem.batches(start)
        finally:
            closed.append(True)

    train(problem, open_run(), steps=2, batches=batches)
    assert closed == [True]


def test_rows_of_a_run_killed_before_its_first_checkpoint_do_not_stay(
    problem, open_run
):
    run = open_run(log_every=1)
    for step in (1, 2, 3):
        run.log(step, {"train/loss": 9.0})
    run.close()
    run = open_run(log_every=1)
    train(problem, run, steps=4)
    assert [row["step"] for row in read_metrics(run.path)] == [1, 2, 3, 4]


def test_a_second_run_of_a_finished_one_keeps_its_summary(problem, open_run):
    run = open_run()
    train(problem, run, steps=3)
    run.finish({"loss": 0.5}, {})
    run.close()
    summary = (run.path / "summary.json").read_text()
    run = open_run()
    earlier = fitted(problem, run, steps=3)
    assert earlier.was_finished
    run.finish({"loss": 0.5}, earlier.facts)
    assert (run.path / "summary.json").read_text() == summary
    assert run.total_seconds() > earlier.seconds > 0


def test_a_stream_that_dies_of_ctrl_c_does_not_cost_the_run(problem, open_run):
    def batches(start):
        for step, batch in enumerate(problem.batches(start), start):
            if step == 5:
                os.kill(os.getpid(), signal.SIGINT)
                raise RuntimeError("worker process was terminated")
            yield batch

    run = open_run()
    with pytest.raises(Interrupted, match="after step 5 of 10"):
        train(problem, run, batches=batches)
    assert run.checkpoints.latest_step() == 5


def test_a_run_without_steps_is_refused(problem, open_run):
    with pytest.raises(InputError, match="steps 0"):
        train(problem, open_run(), steps=0)


def test_a_run_ends_early_when_its_state_says_so(open_run):
    def step(state, batch):
        return {"n": state["n"] + 1}, {"n": state["n"], "test/n": state["n"] + 1}

    def train(run):
        return fit(
            step,
            {"n": jnp.int32(0)},
            lambda start: itertools.repeat({}),
            steps=10,
            batch_size=1,
            run=run,
            is_done=lambda state: int(state["n"]) >= 4,
        )

    run = open_run("early", log_every=1)
    found = train(run)
    assert int(found.state["n"]) == 4
    assert found.steps == run.checkpoints.latest_step() == 4
    rows = without_time(read_metrics(run.path))
    # Names that say their set are left as they are.
    assert rows[-1] == {"step": 4, "train/n": 3.0, "test/n": 4.0}
    run.close()
    run = open_run("early", log_every=1)
    found = train(run)
    assert int(found.state["n"]) == 4
    assert found.was_finished
    assert found.steps == 4
    assert without_time(read_metrics(run.path)) == rows


def test_a_run_is_not_resumed_beside_another_teacher(problem, open_run):
    def start(teacher, **options):
        state = problem.state(frozen=jnp.float32(teacher))
        step = compile_step(
            make_train_step(problem.loss_fn, problem.optimizer), state, MESH
        )
        return fit(step, state, problem.batches, steps=4, batch_size=8, **options)

    run = open_run()
    with pytest.raises(Interrupted):
        start(2.0, run=run, is_done=lambda state: os.kill(os.getpid(), signal.SIGINT))
    run.close()
    run = open_run()
    with pytest.raises(InputError, match="begun with other frozen parameters"):
        start(7.0, run=run)
    run.close()
    assert start(2.0, run=open_run()).state.frozen == 2.0
