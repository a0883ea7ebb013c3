"""Before the first tree: look at a loss on the data, and find the best constant.

Smooth losses, built in or not, take Newton's method in float64, so that the same
formula starts from the same bits; quantile losses take a weighted quantile.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array
from jaxlab.trees.objectives.objective import Leaf, Objective

__all__ = ["best_constant", "resolve", "weighted_quantile"]

_SAMPLE = 1024  # rows looked at to tell a piecewise linear loss from a smooth one
_MANY_VALUES = 4096  # whole targets below this are counted, not kept by row
_MOST_STEPS = 100
_MOST_HALVINGS = 60
_ROUNDING = 1e-10  # of a sum of losses, relative
_CONVERGED = 1e-12  # step against 1 + |raw|: far below float32
_FLAT = 1e-15  # gradient against its size at 0: the best constant is at infinity
_STALLED = 1e-5  # the same, when no step helps: a loss that computes in float32
_NO_CURVATURE = 1e-12  # against the largest: a direction that changes nothing


def weighted_quantile(values: np.ndarray, weight: np.ndarray, alpha: float) -> float:
    """Give the smallest value with a share of at least alpha of the weight up to it.

    The inverted distribution function, scikit-learn's `_weighted_percentile`.

    Args:
        values: [n].
        weight: [n], at least 0 and not all 0.
        alpha: Level in (0, 1).
    """
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weight[order], dtype=np.float64)
    place = int(np.searchsorted(cumulated, alpha * cumulated[-1]))
    return float(values[order[min(place, len(order) - 1)]])


def _in_words(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _check_traces(objective: Objective) -> None:
    shape = () if objective.num_outputs == 1 else (objective.num_outputs,)
    raw = jax.ShapeDtypeStruct(shape, jnp.float32)
    target = jax.ShapeDtypeStruct((), jnp.float32)
    name = objective.name
    try:
        result = jax.eval_shape(objective.loss, raw, target)
    except Exception as error:
        raise InputError(
            f"objective {name}: the loss is no JAX function of raw {shape} and a "
            f"scalar target ({type(error).__name__}: {_in_words(error)}); write it for "
            "one row with jax.numpy, jnp.where in place of if, no float() and no NumPy"
        ) from error
    if not hasattr(result, "shape") or result.shape != ():
        found = getattr(result, "shape", type(result).__name__)
        raise InputError(
            f"objective {name}: the loss gives {found} for one row, not a scalar; sum "
            "over the outputs, and leave rows and weights to the training"
        )
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise InputError(
            f"objective {name}: the loss gives {result.dtype}, which has no "
            "derivative; compute it in floats of raw"
        )


def _sample(objective: Objective, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spread rows over the data, and raw scores near 0 and near the targets."""
    rows = np.linspace(0, len(target) - 1, _SAMPLE).astype(int)
    some = target[rows]
    noise = np.random.default_rng(0).normal(size=(objective.num_outputs, _SAMPLE))
    near = np.where(np.arange(_SAMPLE) % 2, some, 0.0)
    return (near + noise * max(float(np.std(some)), 1.0)), some


def _pinball_levels(
    gradient: np.ndarray, raw: np.ndarray, target: np.ndarray
) -> tuple[float, ...]:
    """Give the levels if every output's loss is a multiple of a pinball loss."""
    levels = []
    for slope, error in zip(gradient, raw - target, strict=True):
        below, above = slope[error < 0], slope[error > 0]
        if not (len(below) and len(above)):
            return ()
        if np.ptp(below) or np.ptp(above) or not below[0] < 0 < above[0]:
            return ()
        levels.append(round(float(below[0] / (below[0] - above[0])), 6))
    return tuple(levels)


def resolve(objective: Objective, target: np.ndarray, weight: np.ndarray) -> Objective:
    """Check a loss on the data, and choose how its leaves get their values.

    A loss without curvature (piecewise linear) is given a hessian of 1 a row; if it is
    a pinball loss (or absolute error) its leaves become quantiles.

    Args:
        objective: Built in (given back as it is) or `from_loss`.
        target: [n].
        weight: [n].

    Raises:
        InputError: If the loss is no JAX function of one row, gives no scalar or no
            float, does not depend on raw, or is not finite on the data.
    """
    if not objective.is_custom:
        return objective
    _check_traces(objective)
    raw, some = _sample(objective, np.asarray(target, np.float64)[weight > 0])
    raw, some = raw.astype(np.float32), some.astype(np.float32)
    plain = dataclasses.replace(objective, hessian_factor=1.0, unit_hessian=False)
    try:
        value, gradient, second = _look(plain, raw, some)
    except Exception as error:
        raise InputError(
            f"objective {objective.name}: JAX cannot differentiate the loss twice "
            f"({type(error).__name__}: {_in_words(error)}); use operations that have "
            "derivatives"
        ) from error
    gradient, second = np.asarray(gradient), np.asarray(second)
    is_good = np.isfinite(np.concatenate([value, gradient, second])).all(axis=0)
    if not is_good.all():
        row = int(np.argmin(is_good))
        raise InputError(
            f"objective {objective.name}: the loss or a derivative is not finite at "
            f"raw {raw[:, row].tolist()} and target {some[row]}; let it be finite for "
            "every real raw score, and use a link for limits"
        )
    if not gradient.any():
        raise InputError(
            f"objective {objective.name}: the loss does not change with raw, its "
            "gradient is 0 in all rows; leave out rounding and stop_gradient"
        )
    if second.any():
        return objective
    levels = _pinball_levels(gradient, raw, some)
    leaf = Leaf.QUANTILE if levels else Leaf.NEWTON
    return dataclasses.replace(objective, unit_hessian=True, leaf=leaf, alpha=levels)


@functools.partial(jax.jit, static_argnums=0)
def _look(
    objective: Objective, raw: Array, target: Array
) -> tuple[Array, Array, Array]:
    """Give loss [1, n], gradient and second derivative by row."""
    scores = raw[0] if objective.num_outputs == 1 else raw.T
    value = jax.vmap(objective.loss)(scores, target)
    return value[None], *objective.by_row(raw, target)


@functools.partial(jax.jit, static_argnums=0)
def _total(
    loss: Any, raw: Array, target: Array, weight: Array
) -> tuple[Array, Array, Array, Array]:
    """Sum loss, gradient, Hessian, and size of the gradient over the rows."""

    def rows(raw: Array) -> Array:
        return jax.vmap(loss, in_axes=(None, 0))(raw, target).astype(weight.dtype)

    def total(raw: Array) -> Array:
        return jnp.sum(rows(raw) * weight)

    value, gradient = jax.value_and_grad(total)(raw)
    shares = jax.vmap(jax.grad(loss), in_axes=(None, 0))(raw, target)
    size = jnp.sum(jnp.abs(shares).reshape(len(target), -1) * weight[:, None])
    product = functools.partial(jax.jvp, jax.grad(total), (raw,))
    eye = jnp.eye(raw.size, dtype=raw.dtype).reshape((-1, *raw.shape))
    hessian = jax.lax.map(lambda basis: product((basis,))[1], eye)
    return value, gradient, hessian, size


def _by_value(target: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge rows with equal targets where that is cheap, and pad to a power of two."""
    target, weight = target[weight > 0], weight[weight > 0]
    is_small = target.min() >= 0 and target.max() < _MANY_VALUES
    if is_small and np.array_equal(target, np.floor(target)):
        weight = np.bincount(target.astype(np.int64), weights=weight)
        target = np.flatnonzero(weight).astype(np.float64)
        weight = weight[weight > 0]
    length = max(16, 1 << (len(target) - 1).bit_length())
    pad = length - len(target)
    return (
        np.concatenate([target, np.full(pad, target[0])]),
        np.concatenate([weight, np.zeros(pad)]),
    )


def _newton_step(gradient: np.ndarray, hessian: np.ndarray, scale: float) -> np.ndarray:
    """Divide by the size of the curvature: downhill where the loss is not convex.

    Directions without curvature take a step by the slope, of at most 1: 0 for softmax,
    where a constant in all outputs changes nothing.
    """
    values, vectors = np.linalg.eigh(hessian)
    sizes = np.abs(values)
    matters = sizes > _NO_CURVATURE * max(float(sizes.max()), 1e-300)
    return -(vectors @ ((vectors.T @ gradient) / np.where(matters, sizes, scale)))


def _newton(objective: Objective, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    target, weight = _by_value(target, weight / weight.max())
    size = objective.num_outputs
    shape = () if size == 1 else (size,)

    def evaluate(raw: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
        found = _total(objective.loss, jnp.asarray(raw.reshape(shape)), *data)
        value, gradient, hessian, scale = (np.asarray(x, np.float64) for x in found)
        return (
            float(value),
            gradient.reshape(size),
            hessian.reshape(size, size),
            float(scale),
        )

    with jax.enable_x64(True):
        data = (jnp.asarray(target), jnp.asarray(weight))
        raw = np.zeros(size)
        now = evaluate(raw)
        scale = now[3]
        for _ in range(_MOST_STEPS):
            value, gradient, hessian, _ = now
            _check_finite(objective, value, gradient)
            error = np.abs(gradient).max()
            step = _newton_step(gradient, hessian, max(scale, 1e-300))
            near = np.abs(step) <= _CONVERGED * (1 + np.abs(raw))
            if near.all() or error <= _FLAT * scale:
                return raw + step if near.all() else raw
            for _ in range(_MOST_HALVINGS):
                tried = evaluate(raw + step)
                if _is_better(tried, now):
                    break
                step = step / 2
            else:
                if error <= _STALLED * scale:
                    return raw
                break
            raw, now = raw + step, tried
    raise InputError(
        f"objective {objective.name}: no constant score is best (gradient "
        f"{now[1].tolist()} at {raw.tolist()}); give a base_score, or a loss that is "
        "bounded below on these targets"
    )


def _is_better(tried: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Compare losses, and gradients where the losses differ by rounding alone."""
    is_flatter = bool(np.abs(tried[1]).max() < np.abs(now[1]).max())
    return tried[0] < now[0] or (
        is_flatter and tried[0] <= now[0] + _ROUNDING * abs(now[0])
    )


def _check_finite(objective: Objective, value: float, gradient: np.ndarray) -> None:
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise InputError(
            f"objective {objective.name}: loss {value} and gradient "
            f"{gradient.tolist()} over all rows are not finite; give a base_score, or "
            "a loss that is finite for these targets"
        )


def best_constant(
    objective: Objective, target: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Find the constant raw scores of the least loss.

    Args:
        objective: From `find_objective`, or `resolve` for a custom loss.
        target: [n], in the objective's domain.
        weight: [n], at least 0 and not all 0.

    Returns:
        Float64 [num_outputs], values of float32 (so that rounding is settled here).
        Softmax: log shares of the classes with mean 0. Losses whose best constant is
        at infinity (one class only) give a large number. Ranking and piecewise linear
        losses that are no pinball start at 0.

    Raises:
        InputError: If the loss is not finite on the data or has no least value.
    """
    target = np.asarray(target, np.float64)
    weight = np.asarray(weight, np.float64)
    if objective.leaf in (Leaf.QUANTILE, Leaf.HUBER):
        counts = weight > 0
        is_median = objective.leaf is Leaf.HUBER
        levels = (0.5,) if is_median else objective.alpha
        found = np.array(
            [weighted_quantile(target[counts], weight[counts], a) for a in levels]
        )
    elif objective.needs_all_rows or objective.unit_hessian:
        found = np.zeros(objective.num_outputs)
    else:
        found = _newton(objective, target, weight)
    return found.astype(np.float32).astype(np.float64)
