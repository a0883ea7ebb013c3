"""Optimisers and schedules: optax, with the choices of the field's recipes."""

import math
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import path_name
from jaxlab.core.ranges import Range, check_number
from jaxlab.core.typing import Params, PyTree
from jaxlab.losses.lipschitz import clip_weights

__all__ = [
    "Schedule",
    "adamw",
    "decay_mask",
    "keep_within",
    "make_schedule",
    "noam",
    "warmup_cosine",
]

Schedule: TypeAlias = Literal["cosine", "linear", "noam", "constant"]


def warmup_cosine(
    peak: float, steps: int, warmup_steps: int = 0, *, end: float = 0.0
) -> optax.Schedule:
    """Rise linearly to `peak`, then fall along half a cosine to `end`.

    Args:
        peak: Largest learning rate.
        steps: Length of the run, warm-up included, in updates.
        warmup_steps: Updates of the rise; step 0 already moves.
        end: Learning rate after the last step.

    Raises:
        InputError: If the peak is below 0 or not finite, there are no steps, or the
            warm-up is not shorter than the run.
    """
    if not 0 <= peak < math.inf:
        raise InputError(f"learning_rate {peak} must be 0 or more, and finite")
    if steps < 1:
        raise InputError(f"steps {steps} must be at least 1")
    if not 0 <= warmup_steps < max(steps, 1):
        raise InputError(
            f"warmup_steps {warmup_steps} must lie between 0 and steps - 1 = "
            f"{steps - 1}; give a longer run or a shorter warm-up"
        )
    cosine = optax.cosine_decay_schedule(
        peak, max(steps - warmup_steps, 1), end / peak if peak else 0.0
    )
    if warmup_steps == 0:
        return cosine
    rise = optax.linear_schedule(peak / warmup_steps, peak, max(warmup_steps - 1, 1))
    return optax.join_schedules([rise, cosine], [warmup_steps])


def noam(width: int, warmup_steps: int, *, scale: float = 1.0) -> optax.Schedule:
    r"""Rise linearly, then fall with the root of the step.

    $\mathrm{scale} \cdot d^{-1/2} \min(t^{-1/2}, t\,w^{-3/2})$, with t from 1, so that
    the first update already moves. The largest rate, after w updates, is
    `scale / sqrt(width * warmup_steps)`.

    Args:
        width: Of the model, d.
        warmup_steps: Updates of the rise, w.
        scale: Of all.

    Raises:
        InputError: If there is no warm-up.

    References:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 3.
    """
    if warmup_steps < 1 or width < 1:
        raise InputError(
            f"warmup_steps {warmup_steps} and width {width} must be at least 1"
        )

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(count, jnp.float32) + 1
        return scale * width**-0.5 * jnp.minimum(step**-0.5, step * warmup_steps**-1.5)

    return schedule


def make_schedule(
    name: Schedule, peak: float, steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """Make a schedule by name, each of them from one largest rate.

    Args:
        name: After the warm-up `cosine` and `linear` fall to 0, `noam` with the root
            of the step, to no end; `constant` stays.
        peak: Largest learning rate.
        steps: Length of the run.
        warmup_steps: Updates of the rise.

    Raises:
        InputError: If a number does not fit.
    """
    cosine = warmup_cosine(peak, steps, warmup_steps)  # checks the numbers
    if name == "cosine":
        return cosine
    warmup_steps = max(warmup_steps, 1)
    if name == "noam":
        return noam(1, warmup_steps, scale=peak * math.sqrt(warmup_steps))
    if name == "linear":
        return lambda count: (
            peak
            * jnp.minimum(
                (count + 1) / warmup_steps,
                (steps - count) / (steps - warmup_steps + 1),
            )
        )
    return lambda count: peak * jnp.minimum((count + 1) / warmup_steps, 1.0)


def decay_mask(params: Params) -> PyTree:
    """Mark what weight decay applies to: matrices and convolution kernels.

    Biases, normalisation scales, position embeddings and tokens are left alone, as in
    DeiT and big_vision.
    """

    def decays(path: tuple, leaf: jax.Array) -> bool:
        return path_name(path).endswith("kernel")  # input_kernel of a recurrent layer

    return jax.tree_util.tree_map_with_path(decays, params)


def adamw(
    learning_rate: float | optax.Schedule,
    *,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    clip_norm: float = 0.0,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformation:
    """AdamW with decoupled, masked decay after clipping by the global norm.

    Args:
        learning_rate: A number or a schedule.
        weight_decay: Decoupled decay, multiplied by the learning rate; see
            `decay_mask` for what it touches.
        b1: Decay of the first moment.
        b2: Decay of the second moment.
        eps: Added outside the root.
        clip_norm: Largest norm of the whole gradient; 0 does not clip.
        mu_dtype: Store the first moment in this dtype (bfloat16 halves it).

    Raises:
        InputError: If the decay or the norm is below 0, or not finite.

    References:
        Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization",
        https://arxiv.org/abs/1711.05101.
    """
    check_number("weight_decay", weight_decay, Range(0))
    check_number("clip_norm", clip_norm, Range(0))
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    update = optax.adamw(
        learning_rate,
        b1=b1,
        b2=b2,
        eps=eps,
        weight_decay=weight_decay,
        mask=decay_mask,
        mu_dtype=mu_dtype,
    )
    return optax.chain(clip, update)


def keep_within(limit: float) -> optax.GradientTransformation:
    """Shorten updates so that every parameter stays in [-limit, limit].

    The last of a chain. Weight clipping as a part of the optimiser: parameters are
    within the limit after each update, where the authors of WGAN clip before the next.

    Args:
        limit: Above 0.

    Raises:
        InputError: If it is not.

    References:
        Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, algorithm 1.
    """
    clip_weights({}, limit)  # checks the limit

    def shorten(updates: PyTree, params: Params) -> PyTree:
        moved = clip_weights(optax.apply_updates(params, updates), limit)
        return jax.tree.map(jnp.subtract, moved, params)

    return optax.stateless(shorten)
