"""What boosting minimises: a loss of one row in JAX, and how leaves use it.

Built-in and custom objectives take one path: `Objective.derivatives` differentiates the
loss, `jaxlab.trees.objectives.start` finds the first score, both from the loss alone.
"""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Scalar
from jaxlab.trees.objectives import losses
from jaxlab.trees.objectives.diagonal import gradient_and_curvature

__all__ = [
    "Domain",
    "Leaf",
    "Objective",
    "check_target",
    "from_loss",
    "huber_delta",
    "is_allowed",
    "with_friedman_leaves",
]

# XGBoost's floor of a hessian, before the weight: no leaf is divided by zero.
_SMALLEST_CURVATURE = 1e-16
# Of 23, so that a weight of up to 8 times a derivative is exact: whole weights then
# train the very trees of rows that are repeated.
_MANTISSA_BITS = 20

# 2^31 - 1 is the largest gain of NDCG.
_LARGEST_RELEVANCE = 31


class Domain(enum.Enum):
    """The targets that a loss is made for, in words for an error message."""

    REAL = "finite numbers"
    NON_NEGATIVE = "numbers of at least 0"
    POSITIVE = "numbers above 0"
    PROBABILITY = "numbers from 0 to 1"
    BINARY = "0 or 1"
    LABEL = "class numbers 0, 1, ... below the number of outputs"
    RELEVANCE = f"whole relevance degrees from 0 to {_LARGEST_RELEVANCE}"


def is_allowed(domain: Domain, target: np.ndarray, num_outputs: int) -> np.ndarray:
    """Give a mask of the targets that are in the domain, and finite in float32.

    Args:
        domain: The domain.
        target: [n].
        num_outputs: Of the model: the number of classes for LABEL.
    """
    is_whole = target == np.floor(target)
    tests: dict[Domain, Callable[[], np.ndarray]] = {
        Domain.REAL: lambda: np.ones(target.shape, bool),
        Domain.NON_NEGATIVE: lambda: target >= 0,
        Domain.POSITIVE: lambda: target > 0,
        Domain.PROBABILITY: lambda: (target >= 0) & (target <= 1),
        Domain.BINARY: lambda: (target == 0) | (target == 1),
        Domain.LABEL: lambda: is_whole & (target >= 0) & (target < num_outputs),
        Domain.RELEVANCE: lambda: (
            is_whole & (target >= 0) & (target <= _LARGEST_RELEVANCE)
        ),
    }
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(target.astype(np.float32))
    return np.asarray(is_finite & tests[domain]())


class Leaf(enum.Enum):
    """How a leaf gets its value.

    NEWTON: -G/(H + lambda), sums over the leaf's rows. QUANTILE: the alpha-quantile of
    target - raw, alpha by output. HUBER: Friedman 2001, algorithm 4, around the median.
    """

    NEWTON = "newton"
    QUANTILE = "quantile"
    HUBER = "huber"


@dataclasses.dataclass(frozen=True)
class Objective:
    """A loss, and what training must know beside it. Hashable, so static under jit.

    Attributes:
        name: For messages and for saved models.
        loss: `loss(raw, target)`, a scalar for one row; raw is a scalar for one output
            and (num_outputs,) for several. With `leaf` HUBER it takes delta third; with
            `needs_all_rows` it is a `jaxlab.trees.objectives.ranking.Ranking`.
        num_outputs: Raw scores a row.
        link: From raw scores to predictions.
        hessian_factor: Multiplies every second derivative (XGBoost: 2 for softmax).
        unit_hessian: The second derivative is zero or of no use: count 1 a row.
        leaf: How a leaf gets its value.
        alpha: Quantile levels by output for QUANTILE; for HUBER the level of |target -
            raw| that is delta.
        leaf_factor: Multiplies every leaf.
        domain: The targets allowed.
        metric: Name of the metric to report, in `jaxlab.trees.objectives.metric`.
        max_delta_step: What the largest leaf is by default, 0 for no limit.
        needs_all_rows: Rows meet in the loss (ranking): `derivatives` wants all of
            them, and the groups as `aux`.
        is_custom: `jaxlab.trees.objectives.start.resolve` has to look at the loss.
    """

    name: str
    loss: Any
    num_outputs: int = 1
    link: Callable[[Array], Array] = losses.identity
    hessian_factor: float = 1.0
    unit_hessian: bool = False
    leaf: Leaf = Leaf.NEWTON
    alpha: tuple[float, ...] = ()
    leaf_factor: float = 1.0
    domain: Domain = Domain.REAL
    metric: str = "loss"
    max_delta_step: float = 0.0
    needs_all_rows: bool = False
    is_custom: bool = False

    def derivatives(
        self,
        raw: Float[Array, "v n"],
        target: Float[Array, " n"],
        weight: Float[Array, " n"],
        aux: Any = None,
    ) -> tuple[Float[Array, "v n"], Float[Array, "v n"]]:
        """Differentiate the weighted loss by the raw scores.

        Row by row, unless `needs_all_rows`: any split of the rows gives the same bits.

        Args:
            raw: Raw scores.
            target: Targets.
            weight: At least 0. Rows of weight 0 count nothing, whatever their loss.
            aux: Delta for HUBER, groups for ranking.

        Returns:
            Gradient, and hessian, above 0 where the weight is. Where a loss is not
            convex its hessian is the floor.
        """
        counts = (weight > 0)[None]
        if self.needs_all_rows:
            gradient, curvature = self.loss.derivatives(raw, target, weight, aux)
        else:
            gradient, curvature = self.by_row(raw, target, aux)
        curvature = curvature.astype(jnp.float32) * self.hessian_factor
        curvature = jnp.maximum(curvature, _SMALLEST_CURVATURE)
        gradient, curvature = (
            jax.lax.reduce_precision(values.astype(jnp.float32), 8, _MANTISSA_BITS)
            * weight[None]
            for values in (gradient, curvature)
        )
        return jnp.where(counts, gradient, 0.0), jnp.where(counts, curvature, 0.0)

    def by_row(
        self, raw: Float[Array, "v n"], target: Float[Array, " n"], aux: Any = None
    ) -> tuple[Float[Array, "v n"], Float[Array, "v n"]]:
        """Give the first and second derivative of each row's own loss."""
        rest = (aux,) if self.leaf is Leaf.HUBER else ()

        def row(raw: Array, target: Array) -> tuple[Array, Array]:
            def loss(raw: Array) -> Array:
                return self.loss(raw, target, *rest)

            if self.unit_hessian:
                return jax.grad(loss)(raw), jnp.ones_like(raw)
            return gradient_and_curvature(loss, raw)

        if self.num_outputs > 1:
            return jax.vmap(row, in_axes=(1, 0), out_axes=1)(raw, target)
        gradient, curvature = jax.vmap(row)(raw[0], target)
        return gradient[None], curvature[None]


def from_loss(
    loss: Callable[..., Any],
    *,
    num_outputs: int = 1,
    link: str | Callable[[Array], Array] | None = None,
    name: str = "custom",
) -> Objective:
    """Make an objective of any loss that JAX can differentiate.

    Args:
        loss: `loss(raw, target)` to a scalar for one row, written with jax.numpy. Must
            be finite for every real raw score. Define it once: two functions with the
            same text are compiled twice.
        num_outputs: Raw scores a row; above 1, raw has that shape.
        link: From raw scores [outputs, rows] to predictions, or `identity` (as None),
            `sigmoid`, `softmax`, `exp`.
        name: For messages.

    Raises:
        InputError: If the link's name is unknown, or the loss no function.
    """
    if not callable(loss):
        raise InputError(
            f"objective {loss!r} is not a function; give loss(raw, target) -> scalar"
        )
    if isinstance(link, str) and link not in losses.LINKS:
        raise InputError(
            f"link {link!r} is unknown; use {', '.join(losses.LINKS)}, or a function "
            "of raw scores"
        )
    chosen = losses.LINKS[link] if isinstance(link, str) else link or losses.identity
    return Objective(name, loss, num_outputs=num_outputs, link=chosen, is_custom=True)


def huber_delta(
    objective: Objective,
    raw: Float[Array, "1 n"],
    target: Float[Array, " n"],
    weight: Float[Array, " n"],
) -> Scalar:
    """Give the alpha-quantile of |target - raw|, HUBER's `aux`, anew for each tree."""
    error = jnp.abs(target - raw[0])
    error, weight = jax.lax.sort((error, weight), num_keys=1)
    cumulated = jnp.cumsum(weight)
    level = objective.alpha[0] * cumulated[-1]
    return error[jnp.searchsorted(cumulated, level)]


def with_friedman_leaves(objective: Objective) -> Objective:
    """Give leaves as Friedman 2001 and scikit-learn's GradientBoosting have them.

    The loss's own second derivative without XGBoost's factors, and (K - 1)/K of the
    step for K > 1 classes. (Grow the tree itself with a hessian of `weight`.)
    """
    classes = objective.num_outputs if objective.domain is Domain.LABEL else 1
    factor = (classes - 1) / classes if classes > 1 else 1.0
    return dataclasses.replace(
        objective, hessian_factor=1.0, leaf_factor=factor, max_delta_step=0.0
    )


def check_target(objective: Objective, target: np.ndarray) -> None:
    """Refuse targets that the loss is not made for.

    Raises:
        InputError: With the first such target and its row.
    """
    allowed = is_allowed(objective.domain, target, objective.num_outputs)
    if not allowed.all():
        row = int(np.argmin(allowed))
        raise InputError(
            f"target {target[row]!s} in row {row} cannot be used by objective "
            f"{objective.name}, which needs {objective.domain.value} within float32; "
            "remove or mend such rows, or choose another objective"
        )
