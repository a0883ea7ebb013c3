"""Two players in one update: k steps of the critic, then one of the generator."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import ShardingRules, init_sharded
from jaxlab.core.model import Model
from jaxlab.core.typing import (
    Array,
    Batch,
    Key,
    Metrics,
    ModelState,
    Params,
    PyTree,
)
from jaxlab.losses.lipschitz import clip_weights
from jaxlab.train.adversarial_recipes import Recipe
from jaxlab.train.step import (
    Context,
    LossResult,
    Step,
    average_params,
    check_ema_decay,
    interleave,
    mean_over,
    refuse_whole_batch,
    step_key,
)

__all__ = [
    "AdversarialState",
    "Optimizers",
    "Player",
    "PlayerLossFn",
    "generator_params_to_evaluate",
    "init_adversarial_state",
    "make_adversarial_step",
    "make_optimizers",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Player:
    """One of the two networks, with its optimiser.

    Attributes:
        params: What the optimiser updates.
        model_state: What the network updates itself (batch statistics, vectors of
            spectral normalisation).
        opt_state: State of the optimiser.
    """

    # Not annotated as arrays: a tree of shapes or shardings has this type too.
    params: Params
    model_state: ModelState
    opt_state: PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AdversarialState:
    """All that changes from step to step, and the key that does not.

    Attributes:
        step: Updates of the generator so far, an int32 scalar.
        key: The run's base key; step t uses `fold_in(key, t)`.
        generator: Makes rows of noise.
        critic: Scores rows.
        ema: Exponential moving average of the generator's parameters, or None.
        frozen: Parameters that the losses read and nothing changes, saved once, beside
            the checkpoints; or None.
    """

    step: Any
    key: Any
    generator: Player
    critic: Player
    ema: Params | None = None
    frozen: PyTree = None


class Optimizers(NamedTuple):
    """An optax transformation for each player."""

    critic: optax.GradientTransformation
    generator: optax.GradientTransformation


# (params, model_state, other player, batch, context) -> (loss, (model_state, metrics)),
# of the player whose parameters come first; the other's are constants.
PlayerLossFn: TypeAlias = Callable[
    [Params, ModelState, Player, Batch, Context], LossResult
]


def generator_params_to_evaluate(state: AdversarialState) -> Params:
    """Give the generator's parameters to evaluate with: the average where it is kept.

    Batch statistics are not averaged: those of `state.generator.model_state` go with
    both.
    """
    return state.generator.params if state.ema is None else state.ema


def make_optimizers(recipe: Recipe) -> Optimizers:
    """Make the optimisers of a recipe, of rate 1.

    The learning rate is `make_adversarial_step`'s schedule, by updates of the
    generator: a count of the critic's own steps tells little where k changes.
    """
    if recipe.optimizer == "adam":
        return Optimizers(*(optax.adam(1.0, recipe.b1, recipe.b2) for _ in range(2)))
    # As torch: epsilon outside the root.
    rms = optax.rmsprop(1.0, recipe.b2, eps=1e-8, eps_in_sqrt=False)
    return Optimizers(rms, rms)


def init_adversarial_state(
    generator: Model,
    critic: Model,
    optimizers: Optimizers,
    key: Key[Array, ""],
    mesh: Mesh,
    z: Any,
    x: Any,
    labels: Any = None,
    *,
    rules: ShardingRules = (),
    ema: bool = False,
    frozen: PyTree = None,
) -> AdversarialState:
    """Start a run at step 0, laid over a mesh from the start.

    Args:
        generator: Takes noise (and labels).
        critic: Takes rows (and labels).
        optimizers: Optimisers of both players.
        key: The run's key; parameters and steps use different parts of it.
        mesh: The mesh.
        z: Example noise; values do not matter.
        x: Example rows.
        labels: Example labels, for networks that take them.
        rules: Tensor-parallel rules of the networks.
        ema: Keep a moving average of the generator, begun at the initial parameters.
        frozen: Parameters for the losses that nothing changes, laid over the mesh by
            the same rules.
    """
    z, x, given = jax.tree.map(jnp.asarray, (z, x, () if labels is None else (labels,)))

    def init(key: Key[Array, ""], frozen: PyTree) -> AdversarialState:
        generator_key, critic_key, step_key = jax.random.split(key, 3)
        params, model_state = generator.init(generator_key, z, *given)
        critic_params, critic_state = critic.init(critic_key, x, *given)
        return AdversarialState(
            step=jnp.zeros((), jnp.int32),
            key=step_key,
            generator=Player(params, model_state, optimizers.generator.init(params)),
            critic=Player(
                critic_params, critic_state, optimizers.critic.init(critic_params)
            ),
            ema=jax.tree.map(jnp.copy, params) if ema else None,
            frozen=jax.tree.map(jnp.copy, frozen),  # the state may be donated
        )

    return init_sharded(init, mesh, key, frozen, rules=rules)


def make_adversarial_step(
    critic_loss_fn: PlayerLossFn,
    generator_loss_fn: PlayerLossFn,
    optimizers: Optimizers,
    *,
    batch_size: int,
    clip: float = 0.0,
    schedule: optax.Schedule | None = None,
    ema_decay: float = 0.0,
) -> Step:
    """Make `step(state, batch) -> state, metrics`: k steps of the critic, then one.

    How large k is, the batch says: it has `batch_size * k` rows, those of the k steps
    side by side (row r of step i is row `r * k + i`), so that a batch laid over devices
    stays where it is. A schedule of k is therefore a matter of the order of the data
    (`jaxlab.data.critic_order`); each k is compiled once.

    In the critic's steps nothing of the generator changes, statistics included, and in
    the generator's nothing of the critic: what a loss function makes of the other
    player's state is lost.

    Args:
        critic_loss_fn: Loss of the critic, given the generator; step i gets its rows.
        generator_loss_fn: Loss of the generator, given the critic as the k steps left
            it; gets the rows of the last of them, for their labels.
        optimizers: Optimisers of both players.
        batch_size: Rows of a critic's step, over all devices.
        clip: Limit of each of the critic's parameters before each of its steps
            (`clip_weights`), as in the original code of WGAN; 0: none.
        schedule: If given, what the updates of both are multiplied by, by updates of
            the generator; logged as `learning_rate`.
        ema_decay: Decay of the moving average of the generator, where the state keeps
            one; early on, at most `(1 + t) / (10 + t)`.

    Returns:
        The step. Metrics: `critic_loss`, `critic_grad_norm` and those of
        `critic_loss_fn`, means over the k steps; `generator_loss`,
        `generator_grad_norm` and those of `generator_loss_fn`. Called with `axis_name`
        (the `pmap` engine does), it averages over that mapped axis.

    Raises:
        InputError: If a number is out of range; when called, if `clip` is below 0 or
            the rows are no multiple of `batch_size`.
    """
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size} must be at least 1")
    check_ema_decay(ema_decay)
    play_critic = _make_move(critic_loss_fn, optimizers.critic, "critic")
    play_generator = _make_move(generator_loss_fn, optimizers.generator, "generator")

    def step(
        state: AdversarialState, batch: Batch, axis_name: str | None = None
    ) -> tuple[AdversarialState, Metrics]:
        shares = 1 if axis_name is None else jax.lax.axis_size(axis_name)
        parts = _split(batch, batch_size, shares)
        critic_key, generator_key = jax.random.split(step_key(state, axis_name))
        rate = None if schedule is None else schedule(state.step)
        if axis_name is not None:
            for loss_fn in (critic_loss_fn, generator_loss_fn):
                refuse_whole_batch(loss_fn, "engine 'pmap'", "--engine jit")
            if "batch_stats" in state.critic.model_state:
                raise InputError(
                    "engine 'pmap' would score the rows of each device by statistics "
                    "of their own, but this critic's are of the whole batch; use "
                    "--engine jit"
                )

        def body(critic: Player, inputs: tuple) -> tuple[Player, Metrics]:
            part, index = inputs
            if clip:
                clipped = clip_weights(critic.params, clip)
                critic = dataclasses.replace(critic, params=clipped)
            part_key = jax.random.fold_in(critic_key, index)
            context = Context(part_key, state.step, state.frozen)
            return play_critic(critic, state.generator, part, context, rate, axis_name)

        count = len(jax.tree.leaves(parts)[0])
        critic, metrics = jax.lax.scan(body, state.critic, (parts, jnp.arange(count)))
        last = jax.tree.map(lambda leaf: leaf[-1], parts)
        context = Context(generator_key, state.step, state.frozen)
        generator, generator_metrics = play_generator(
            state.generator, critic, last, context, rate, axis_name
        )
        metrics = jax.tree.map(jnp.mean, metrics) | generator_metrics
        if rate is not None:
            metrics["learning_rate"] = jnp.asarray(rate, jnp.float32)
        ema = average_params(state.ema, generator.params, state.step, ema_decay)
        new_state = dataclasses.replace(
            state, step=state.step + 1, generator=generator, critic=critic, ema=ema
        )
        return new_state, metrics

    return step


def _make_move(
    loss_fn: PlayerLossFn, optimizer: optax.GradientTransformation, name: str
) -> Callable[..., tuple[Player, Metrics]]:
    """Make one update of one player against the other."""
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def move(
        player: Player,
        other: Player,
        batch: Batch,
        context: Context,
        rate: Any,
        axis_name: str | None,
    ) -> tuple[Player, Metrics]:
        (loss, (model_state, metrics)), grads = grad_fn(
            player.params, player.model_state, other, batch, context
        )
        results = grads, model_state, {f"{name}_loss": loss, **metrics}
        if axis_name is not None:
            results = mean_over(results, axis_name)
        grads, model_state, metrics = results
        metrics[f"{name}_grad_norm"] = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, player.opt_state, player.params)
        if rate is not None:
            updates = jax.tree.map(
                lambda leaf: (rate * leaf).astype(leaf.dtype), updates
            )
        params = optax.apply_updates(player.params, updates)
        return Player(params, model_state, opt_state), metrics

    return move


def _split(batch: Batch, batch_size: int, shares: int) -> Batch:
    """Lay the rows of the k steps one behind another, see `interleave`."""

    def split(array: Any) -> Any:
        steps, rest = divmod(array.shape[0] * shares, batch_size)
        if rest or not steps:
            raise InputError(
                f"a batch of {array.shape[0] * shares} rows is not made of critic "
                f"steps of batch_size {batch_size}; give batch_size * k rows, as "
                "CriticOrder does"
            )
        return interleave(array, steps)

    return jax.tree.map(split, batch)
