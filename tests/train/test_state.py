"""The state holds arrays only, laid out from the start."""

import jax
import numpy as np
import optax

from jaxlab.core.mesh import make_mesh
from jaxlab.train.state import eval_params


def test_a_new_state_is_at_step_zero_and_holds_arrays_only(problem):
    state = problem.state()
    assert int(state.step) == 0
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))


def test_the_same_key_gives_the_same_state(problem, same):
    assert same(problem.state(), problem.state())


def test_the_state_does_not_depend_on_the_mesh(problem, same):
    assert same(problem.state(), problem.state(make_mesh("data=2,fsdp=2")))


def test_evaluation_uses_the_average_where_one_is_kept(problem, same):
    assert eval_params(problem.state()) is not None
    state = problem.state(ema=True)
    assert eval_params(state) is state.ema
    assert same(state.ema, state.params)


def test_the_average_does_not_share_memory_with_the_parameters(problem):
    state = problem.state(ema=True)
    pairs = zip(jax.tree.leaves(state.ema), jax.tree.leaves(state.params), strict=True)
    for average, param in pairs:
        assert average.unsafe_buffer_pointer() != param.unsafe_buffer_pointer()


def test_the_optimiser_starts_from_the_parameters(problem):
    state = problem.state()
    fresh = problem.optimizer.init(state.params)
    assert jax.tree.structure(fresh) == jax.tree.structure(state.opt_state)
    assert float(optax.tree.norm(state.opt_state[0].mu)) == 0
    assert np.all(np.asarray(state.opt_state[0].count) == 0)
