"""The state of a supervised run: arrays only."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxlab.core.mesh import ShardingRules, init_sharded
from jaxlab.core.model import Model
from jaxlab.core.typing import Array, Key, ModelState, Params, PyTree

__all__ = ["TrainState", "eval_params", "init_state"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that changes from step to step, and the key that does not.

    Attributes:
        step: Updates made so far, an int32 scalar.
        key: The run's base key; step t uses `fold_in(key, t)`. An array like the rest,
            so that one compiled step serves every seed and a checkpoint is complete.
        params: What the optimiser updates.
        model_state: What the network updates itself (batch statistics, codebooks).
        opt_state: State of the optimiser.
        ema: Exponential moving average of `params`, or None when it is off.
        frozen: Parameters that a loss reads and nothing changes, such as a teacher's or
            a first stage's; saved once, beside the checkpoints. None: none.
    """

    # Not annotated as arrays: a tree of shapes or shardings has this type too.
    step: Any
    key: Any
    params: Params
    model_state: ModelState
    opt_state: PyTree
    ema: Params | None = None
    frozen: PyTree = None


def init_state(
    model: Model,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    mesh: Mesh,
    *inputs: Any,
    rules: ShardingRules = (),
    ema: bool = False,
    frozen: PyTree = None,
) -> TrainState:
    """Start a run at step 0, laid over a mesh from the start.

    Args:
        model: The network.
        optimizer: An optax transformation.
        key: The run's key; parameters and steps use different parts of it.
        mesh: The mesh.
        inputs: Example inputs of the network; values do not matter.
        rules: Tensor-parallel rules of the network.
        ema: Keep a moving average, begun at the initial parameters.
        frozen: Parameters for the loss that nothing changes, laid over the mesh by the
            same rules.
    """
    inputs = jax.tree.map(jnp.asarray, inputs)

    def init(key: Key[Array, ""], frozen: PyTree) -> TrainState:
        init_key, step_key = jax.random.split(key)
        params, model_state = model.init(init_key, *inputs)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            key=step_key,
            params=params,
            model_state=model_state,
            opt_state=optimizer.init(params),
            ema=jax.tree.map(jnp.copy, params) if ema else None,
            frozen=jax.tree.map(jnp.copy, frozen),  # the state may be donated
        )

    return init_sharded(init, mesh, key, frozen, rules=rules)


def eval_params(state: TrainState) -> Params:
    """Give the parameters to evaluate with: the average where one is kept."""
    return state.params if state.ema is None else state.ema
