"""The step against optax by hand, and what its options promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import from_linen
from jaxlab.train.engine import pmap_step
from jaxlab.train.step import Context, make_train_step, whole_batch

# Two orders of the same float32 sums of a few hundred terms.
SUMS = 1e-6


def close(a, b, tolerance=SUMS):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance), a, b)


@pytest.mark.slow
def test_a_step_equals_optax_by_hand(problem):
    state, batch = problem.state(), problem.batch(0)
    new, metrics = make_train_step(problem.loss_fn, problem.optimizer)(state, batch)
    key = jax.random.fold_in(jax.random.clone(state.key), 0)
    (loss, _), grads = jax.value_and_grad(problem.loss_fn, has_aux=True)(
        state.params, {}, batch, Context(key, state.step)
    )
    updates, _ = problem.optimizer.update(grads, state.opt_state, state.params)
    close(new.params, optax.apply_updates(state.params, updates))
    assert int(new.step) == 1
    assert metrics["loss"] == pytest.approx(float(loss))
    assert metrics["grad_norm"] == pytest.approx(
        float(optax.tree.norm(grads)), rel=1e-5
    )


def test_each_step_draws_its_own_randomness(problem):
    losses = set()
    step = make_train_step(problem.loss_fn, optax.set_to_zero())
    problem.optimizer = optax.set_to_zero()
    state = problem.state()
    for _ in range(3):  # same parameters, same batch: only dropout differs
        state, metrics = jax.jit(step)(state, problem.batch(0))
        losses.add(float(metrics["loss"]))
    assert len(losses) == 3


def test_the_schedule_is_logged_at_the_step_it_acts_on(problem):
    schedule = optax.linear_schedule(1.0, 0.0, 4)
    step = make_train_step(problem.loss_fn, problem.optimizer, schedule)
    state = problem.state()
    rates = []
    for t in range(3):
        state, metrics = jax.jit(step)(state, problem.batch(t))
        rates.append(float(metrics["learning_rate"]))
    assert rates == [1.0, 0.75, 0.5]


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(1)(nn.tanh(nn.Dense(16)(x)))[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_make_the_same_update(problem, parts):
    problem.model = from_linen(Plain())  # no dropout: parts draw other masks
    problem.optimizer = optax.sgd(0.1)
    state, batch = problem.state(), problem.batch(0)
    whole = make_train_step(problem.loss_fn, problem.optimizer)
    split = make_train_step(problem.loss_fn, problem.optimizer, accumulate_steps=parts)
    (expected, a), (found, b) = whole(state, batch), jax.jit(split)(state, batch)
    close(found.params, expected.params)
    close(a, b)
    assert int(found.step) == 1


class Counting(nn.Module):
    """Counts its training calls in its model state."""

    @nn.compact
    def __call__(self, x, *, train):
        count = self.variable("count", "calls", lambda: jnp.zeros(()))
        if train:
            count.value += 1
        return nn.Dense(1)(x)[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "calls"), [(1, 2), (4, 8)])
def test_the_model_state_runs_through_all_parts(problem, parts, calls):
    problem.model = from_linen(Counting())
    step = make_train_step(problem.loss_fn, problem.optimizer, accumulate_steps=parts)
    state = problem.state()
    for t in range(2):
        state, _ = jax.jit(step)(state, problem.batch(t))
    assert float(state.model_state["count"]["calls"]) == calls


@pytest.mark.slow
def test_the_average_follows_its_formula(problem):
    step = make_train_step(problem.loss_fn, problem.optimizer, ema_decay=0.9)
    state = problem.state(ema=True)
    expected = state.params
    for t in range(3):
        state, _ = jax.jit(step)(state, problem.batch(t))
        decay = min(0.9, (1 + t) / (10 + t))
        expected = jax.tree.map(
            lambda e, p, decay=decay: decay * e + (1 - decay) * p,
            expected,
            state.params,
        )
    close(state.ema, expected)


def test_without_an_average_none_is_made(problem):
    step = make_train_step(problem.loss_fn, problem.optimizer, ema_decay=0.9)
    assert step(problem.state(), problem.batch(0))[0].ema is None


def test_parts_that_do_not_divide_the_batch_are_refused(problem):
    with pytest.raises(InputError, match="accumulate_steps 0"):
        make_train_step(problem.loss_fn, problem.optimizer, accumulate_steps=0)
    step = make_train_step(problem.loss_fn, problem.optimizer, accumulate_steps=3)
    with pytest.raises(InputError, match=r"accumulate_steps 3 does not divide .* of 8"):
        jax.jit(step)(problem.state(), problem.batch(0))


def test_a_loss_knows_its_step_and_frozen_parameters_do_not_move(problem, same):
    teacher = {"scale": jnp.float32(3.0)}

    def loss_fn(params, model_state, batch, context):
        out, _ = problem.model.apply(params, model_state, batch["x"])
        loss = jnp.square(out - context.frozen["scale"]).mean() * (context.step + 1)
        return loss, ({}, {"step": context.step.astype(jnp.float32)})

    state = problem.state(frozen=teacher)
    step = jax.jit(make_train_step(loss_fn, problem.optimizer))
    for t in range(2):
        previous, (state, metrics) = state, step(state, problem.batch(0))
        assert metrics["step"] == t
        assert same(state.frozen, teacher)
        assert not same(state.params, previous.params)
    expected, _ = problem.model.apply(previous.params, {}, problem.batch(0)["x"])
    assert metrics["loss"] == pytest.approx(
        2 * float(jnp.square(expected - 3).mean()), rel=1e-5
    )


def test_a_loss_of_the_whole_batch_is_not_cut_into_parts(problem):
    loss_fn = whole_batch(problem.loss_fn)
    for marked in (loss_fn, functools.partial(loss_fn)):
        with pytest.raises(InputError, match="accumulate_steps 2 would average"):
            make_train_step(marked, problem.optimizer, accumulate_steps=2)
    assert not hasattr(problem.loss_fn, "is_whole_batch")
    step = make_train_step(loss_fn, problem.optimizer)
    state = problem.state(make_mesh("data=2"))
    with pytest.raises(InputError, match=r"engine 'pmap' would .* use --engine jit"):
        pmap_step(step, make_mesh("data=2"))(state, problem.batch(0))
    jax.eval_shape(step, state, problem.batch(0))
