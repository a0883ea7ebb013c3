"""One supervised update as a pure function."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax

from jaxlab.core.errors import InputError
from jaxlab.core.typing import (
    Array,
    Batch,
    Key,
    Metrics,
    ModelState,
    Params,
    PyTree,
    Scalar,
)
from jaxlab.train.state import TrainState

__all__ = [
    "Context",
    "LossFn",
    "LossResult",
    "Step",
    "average_params",
    "check_ema_decay",
    "interleave",
    "make_train_step",
    "mean_over",
    "refuse_whole_batch",
    "step_key",
    "whole_batch",
]

F = TypeVar("F", bound=Callable[..., Any])


class Context(NamedTuple):
    """What a loss may use beside parameters and data.

    Attributes:
        key: Randomness of this call, a function of the run's key and the step.
        step: Updates made before this one, an int32 scalar: schedules read it.
        frozen: Parameters of the state that no optimiser moves (a teacher, a first
            stage), or None.
    """

    key: Key[Array, ""]
    step: Array
    frozen: PyTree = None


LossResult: TypeAlias = tuple[Scalar, tuple[ModelState, Metrics]]
# (params, model_state, batch, context) -> (loss, (model_state, metrics)); the loss and
# the metrics are means over the batch.
LossFn: TypeAlias = Callable[[Params, ModelState, Batch, Context], LossResult]
# The loop knows no more than this of a trainer: any state pytree, any batch.
Step: TypeAlias = Callable[[PyTree, Batch], tuple[PyTree, Metrics]]


def whole_batch(loss_fn: F) -> F:
    """Mark a loss that is not a mean over rows of losses that each row has alone.

    Such as a contrast of each row with all others, statistics of a codebook, or a mean
    over tokens where rows have different numbers of them. A step then refuses to cut
    the batch into parts (`accumulate_steps`) or devices that do not see each other
    (`pmap`), since the mean of the parts' losses is another loss.
    """

    @functools.wraps(loss_fn)
    def marked(*args: Any) -> Any:
        return loss_fn(*args)

    marked.is_whole_batch = True  # type: ignore[attr-defined]
    return marked  # type: ignore[return-value]


def refuse_whole_batch(loss_fn: Callable[..., Any], setting: str, remedy: str) -> None:
    """Refuse a setting that cuts the batch of a loss marked by `whole_batch`.

    Raises:
        InputError: If the loss is marked; names the setting and the remedy.
    """
    while isinstance(loss_fn, functools.partial):
        loss_fn = loss_fn.func
    if getattr(loss_fn, "is_whole_batch", False):
        raise InputError(
            f"{setting} would average the losses of parts of the batch, but this loss "
            f"is one of the whole batch; use {remedy}"
        )


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule | None = None,
    accumulate_steps: int = 1,
    ema_decay: float = 0.0,
) -> Step:
    """Make `step(state, batch) -> state, metrics` for one loss and one optimiser.

    Not jitted: `engine.compile_step` does that, for a mesh. The same for two players is
    `adversarial.make_adversarial_step`.

    Args:
        loss_fn: The loss of an experiment; see `Context` and `whole_batch`.
        optimizer: An optax transformation.
        schedule: If given, its value at each step is logged as `learning_rate`.
        accumulate_steps: Split the batch into so many parts and average their
            gradients: less memory, the same update (for losses that are means over
            rows). One update counts as one step.
        ema_decay: Decay of the moving average of the parameters, where the state keeps
            one; early on, at most `(1 + t) / (10 + t)`, so that it forgets the start.

    Returns:
        The step. Metrics: `loss`, those of `loss_fn`, `grad_norm` (before clipping),
        `learning_rate`. Called with `axis_name` (the `pmap` engine does), it averages
        gradients, metrics and model state over that mapped axis.

    Raises:
        InputError: If a number is out of range or `loss_fn` needs the whole batch and
            would not see it; when called, if `accumulate_steps` does not divide the
            rows.
    """
    if accumulate_steps < 1:
        raise InputError(f"accumulate_steps {accumulate_steps} must be at least 1")
    if accumulate_steps > 1:
        setting = f"accumulate_steps {accumulate_steps}"
        refuse_whole_batch(loss_fn, setting, "accumulate_steps 1")
    check_ema_decay(ema_decay)
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def compute(state: TrainState, batch: Batch, key: Key[Array, ""]) -> tuple:
        context = Context(key, state.step, state.frozen)
        (loss, (model_state, metrics)), grads = grad_fn(
            state.params, state.model_state, batch, context
        )
        return grads, model_state, {"loss": loss, **metrics}

    def step(
        state: TrainState, batch: Batch, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        if axis_name is not None:
            refuse_whole_batch(loss_fn, "engine 'pmap'", "--engine jit")
        key = step_key(state, axis_name)
        if accumulate_steps == 1:
            results = compute(state, batch, key)
        else:
            results = _accumulate(compute, accumulate_steps, state, batch, key)
        if axis_name is not None:
            results = mean_over(results, axis_name)
        grads, model_state, metrics = results
        metrics["grad_norm"] = optax.tree.norm(grads)
        if schedule is not None:
            metrics["learning_rate"] = jnp.asarray(schedule(state.step), jnp.float32)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new_state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            ema=average_params(state.ema, params, state.step, ema_decay),
        )
        return new_state, metrics

    return step


def _accumulate(
    compute: Callable[..., tuple],
    parts: int,
    state: TrainState,
    batch: Batch,
    key: Key[Array, ""],
) -> tuple:
    """Scan over parts of the batch; the model state runs through them in order."""

    def split(array: Array) -> Array:
        if array.shape[0] % parts:
            raise InputError(
                f"accumulate_steps {parts} does not divide the batch of "
                f"{array.shape[0]} rows"
            )
        return interleave(array, parts)

    def body(carry: tuple, inputs: tuple) -> tuple[tuple, Metrics]:
        model_state, total = carry
        part, index = inputs
        key_part = jax.random.fold_in(key, index)
        before = dataclasses.replace(state, model_state=model_state)
        grads, model_state, metrics = compute(before, part, key_part)
        return (model_state, jax.tree.map(jnp.add, total, grads)), metrics

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    (model_state, total), metrics = jax.lax.scan(
        body,
        (state.model_state, zeros),
        (jax.tree.map(split, batch), jnp.arange(parts)),
    )
    grads = jax.tree.map(lambda g: g / parts, total)
    return grads, model_state, jax.tree.map(jnp.mean, metrics)


def step_key(state: Any, axis_name: str | None = None) -> Key[Array, ""]:
    """Give the key of the step that a state is at, a function of the run's and t.

    Over a mapped axis each device has its own: its rows are others.
    """
    key = jax.random.fold_in(state.key, state.step)
    if axis_name is None:
        return key
    return jax.random.fold_in(key, jax.lax.axis_index(axis_name))


def interleave(array: Any, parts: int) -> Any:
    """Cut rows into parts, (parts, b, ...): row r of part i is row `r * parts + i`.

    So each part holds rows of every device that a batch is laid over; parts of
    neighbouring rows would gather the whole batch on all of them.
    """
    return array.reshape(-1, parts, *array.shape[1:]).swapaxes(0, 1)


def mean_over(results: tuple, axis_name: str) -> tuple:
    """Average what is not of whole numbers over a mapped axis."""

    def mean(leaf: Array) -> Array:
        inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
        return jax.lax.pmean(leaf, axis_name) if inexact else leaf

    return jax.tree.map(mean, results)


def check_ema_decay(ema_decay: float) -> None:
    """Refuse the decay of an average that would leave what it averages.

    Raises:
        InputError: If it does not lie in [0, 1).
    """
    if not 0 <= ema_decay < 1:
        raise InputError(
            f"ema_decay {ema_decay} must lie in [0, 1): 0.999 remembers a thousand "
            "updates, 0 none"
        )


def average_params(
    ema: Params | None, params: Params, step: Array, decay: float
) -> Params | None:
    """Move an average on to the parameters after update `step`; None stays None.

    Early on, the decay is at most `(1 + step) / (10 + step)`.
    """
    if ema is None:
        return None
    rate = 1.0 - jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: e + rate.astype(e.dtype) * (p - e), ema, params)
