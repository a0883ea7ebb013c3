"""The state of a supervised run: arrays only."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jaxlab.core.typing import Array, Int, Key, ModelState, Params, PyTree

__all__ = ["TrainState", "eval_params", "init_state"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that changes from step to step, and the key that does not.

    Attributes:
        step: Updates made so far.
        key: The run's base key; step t uses `fold_in(key, t)`. An array like the rest,
            so that one compiled step serves every seed and a checkpoint is complete.
        params: What the optimiser updates.
        model_state: What the network updates itself (batch statistics, codebooks).
        opt_state: State of the optimiser.
        ema: Exponential moving average of `params`, or None when it is off.
    """

    step: Int[Array, ""]
    key: Key[Array, ""]
    params: Params
    model_state: ModelState
    opt_state: PyTree
    ema: Params | None = None


def init_state(
    key: Key[Array, ""],
    params: Params,
    model_state: ModelState,
    optimizer: optax.GradientTransformation,
    *,
    ema: bool = False,
) -> TrainState:
    """Start a run at step 0, with the average (if any) at the initial parameters."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        model_state=model_state,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, params) if ema else None,
    )


def eval_params(state: TrainState) -> Params:
    """Give the parameters to evaluate with: the average where one is kept."""
    return state.params if state.ema is None else state.ema
