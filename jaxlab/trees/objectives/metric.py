"""How good predictions are, in one number: for early stopping and for reports.

Definitions are XGBoost's where it has the name, with these differences: logloss and
mlogloss come from raw scores where the link allows it (nothing is clipped), and aucpr
is scikit-learn's average precision; and ndcg and map without @k look at all places,
where XGBoost cuts at the pairs of its objective. Rows are weighted; everything but a
function of the user runs in float32 under jit.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Scalar
from jaxlab.trees.objectives import losses
from jaxlab.trees.objectives.objective import Objective
from jaxlab.trees.objectives.ordering import (
    area_under_roc,
    average_precision,
    mean_ndcg,
    mean_query_precision,
)
from jaxlab.trees.objectives.ranking import Groups

__all__ = ["NAMES", "Metric", "find_metric"]

_TINY = 1e-16  # XGBoost's clip of probabilities and means


class _Rows(NamedTuple):
    """What a metric may look at."""

    prediction: Array  # [outputs, n]
    raw: Array  # [outputs, n]
    target: Array  # [n]
    weight: Array  # [n]
    groups: Groups | None

    def mean(self, values: Array) -> Scalar:
        """Average over rows by weight; values of rows without weight may be NaN."""
        counted = jnp.where(self.weight > 0, values * self.weight, 0.0)
        return jnp.sum(counted) / jnp.sum(self.weight)

    def mean_loss(self, loss: Callable[..., Array]) -> Scalar:
        """Average a loss of raw scores."""
        if len(self.raw) == 1:
            return self.mean(jax.vmap(loss)(self.raw[0], self.target))
        return self.mean(jax.vmap(loss, in_axes=(1, 0))(self.raw, self.target))


@dataclasses.dataclass(frozen=True)
class Metric:
    """A named number.

    Attributes:
        name: As asked for.
        function: Of the rows; on the host, of target and prediction.
        higher_is_better: For early stopping.
        on_host: The function is the user's own: call the metric outside of jit.
    """

    name: str
    function: Callable[..., Any]
    higher_is_better: bool = False
    on_host: bool = False

    def __call__(
        self,
        prediction: Float[Array | np.ndarray, "v n"],
        raw: Float[Array | np.ndarray, "v n"],
        target: Float[Array | np.ndarray, " n"],
        weight: Float[Array | np.ndarray, " n"],
        groups: Groups | None = None,
    ) -> Scalar | float:
        """Evaluate.

        Args:
            prediction: The link of the raw scores.
            raw: Raw scores.
            target: Targets.
            weight: At least 0. Rows of weight 0 count nothing. A user's own function
                does not see the weights.
            groups: Queries, for ndcg and map.

        Raises:
            InputError: If ndcg or map is given no groups.
        """
        if self.on_host:
            found = np.asarray(prediction)
            shaped = found[0] if len(found) == 1 else found.T
            return float(self.function(np.asarray(target), shaped))
        rows = _Rows(
            jnp.asarray(prediction),
            jnp.asarray(raw),
            jnp.asarray(target),
            jnp.asarray(weight),
            groups,
        )
        return jnp.asarray(self.function(rows), jnp.float32)


def _plain(loss: Callable[[Array, Array], Array]) -> Callable[[_Rows], Scalar]:
    return lambda rows: rows.mean(loss(rows.prediction[0], rows.target))


def _rmse(rows: _Rows) -> Scalar:
    return jnp.sqrt(rows.mean(jnp.square(rows.prediction[0] - rows.target)))


def _poisson(mean: Array, target: Array) -> Array:
    log = jnp.log(jnp.maximum(mean, _TINY))
    return jax.lax.lgamma(target + 1.0) + mean - log * target


def _tweedie(power: float, mean: Array, target: Array) -> Array:
    return jax.vmap(losses.Tweedie(power))(jnp.log(jnp.maximum(mean, _TINY)), target)


def _cross_entropy(p: Array, target: Array) -> Array:
    log_p = jnp.log(jnp.maximum(p, _TINY))
    return -target * log_p - (1.0 - target) * jnp.log(jnp.maximum(1.0 - p, _TINY))


def _mlogloss(rows: _Rows) -> Scalar:
    classes = jnp.arange(len(rows.raw))[:, None]
    is_class = classes == rows.target.astype(jnp.int32)[None]
    p = jnp.sum(jnp.where(is_class, rows.prediction, 0.0), axis=0)
    return rows.mean(-jnp.log(jnp.maximum(p, _TINY)))


def _error(threshold: float, rows: _Rows) -> Scalar:
    is_wrong = (rows.prediction[0] > threshold) != (rows.target > 0.5)
    return rows.mean(is_wrong.astype(jnp.float32))


def _merror(rows: _Rows) -> Scalar:
    is_wrong = jnp.argmax(rows.raw, axis=0) != rows.target.astype(jnp.int32)
    return rows.mean(is_wrong.astype(jnp.float32))


def _of_scores(curve: Callable[..., Scalar], rows: _Rows) -> Scalar:
    return curve(rows.raw[0], rows.target, rows.weight)


def _of_queries(measure: Callable[..., Scalar], rows: _Rows) -> Scalar:
    if rows.groups is None:
        raise InputError("ndcg and map need groups; give the queries of these rows")
    return measure(rows.raw[0], rows.target, rows.weight, rows.groups)


_PLAIN: dict[str, Callable[[_Rows], Scalar]] = {
    "rmse": _rmse,
    "mae": _plain(lambda p, y: jnp.abs(p - y)),
    "mape": _plain(lambda p, y: jnp.abs((y - p) / y)),
    "poisson-nloglik": _plain(_poisson),
    "gamma-nloglik": _plain(lambda p, y: y / p + jnp.log(p)),
    "gamma-deviance": _plain(lambda p, y: 2.0 * (jnp.log(p / y) + y / p - 1.0)),
    "merror": _merror,
    "auc": functools.partial(_of_scores, area_under_roc),
    "aucpr": functools.partial(_of_scores, average_precision),
}
_HIGHER = {"auc", "aucpr", "ndcg", "map"}
NAMES = (
    "loss",
    *_PLAIN,
    *("logloss", "mlogloss", "error", "error@t", "quantile", "mphe"),
    *("tweedie-nloglik@p", "ndcg", "ndcg@k", "map", "map@k"),
)


def _by_objective(name: str, objective: Objective) -> Callable[[_Rows], Any] | None:
    """Make the metrics that depend on the loss or the link."""
    loss = objective.loss
    if name == "loss":
        return lambda rows: rows.mean_loss(loss)
    if name == "logloss":
        has_raw = objective.link is losses.sigmoid
        return _of_raw(losses.logistic) if has_raw else _plain(_cross_entropy)
    if name == "mlogloss":
        has_raw = objective.link is losses.softmax
        return _of_raw(losses.softmax_loss) if has_raw else _mlogloss
    if name == "quantile":
        alpha = objective.alpha or (0.5,) * objective.num_outputs
        pinball = losses.Pinball(alpha)
        return lambda rows: rows.mean_loss(pinball) / len(alpha)
    if name == "mphe":
        is_own = isinstance(loss, losses.PseudoHuber)
        return _of_raw(loss if is_own else losses.PseudoHuber())
    return None


def _of_raw(loss: Callable[..., Array]) -> Callable[[_Rows], Scalar]:
    return lambda rows: rows.mean_loss(loss)


def _with_number(name: str, objective: Objective) -> Callable[[_Rows], Any] | None:
    """Make the metrics of the form name@number."""
    kind, _, number = name.partition("@")
    try:
        value = float(number) if number else None
    except ValueError:
        return None
    if kind == "error":
        return functools.partial(_error, 0.5 if value is None else value)
    if kind == "tweedie-nloglik":
        power = 1.5 if value is None else value
        return _plain(functools.partial(_tweedie, power)) if 1 < power < 2 else None
    if value is not None and (value != int(value) or value < 1):
        return None
    top = None if value is None else int(value)
    if kind == "ndcg":
        exponential = getattr(objective.loss, "exponential_gain", True)
        measure = functools.partial(mean_ndcg, top=top, exponential=exponential)
        return functools.partial(_of_queries, measure)
    if kind == "map":
        measure = functools.partial(mean_query_precision, top=top)
        return functools.partial(_of_queries, measure)
    return None


@functools.cache
def _named(name: str, objective: Objective) -> Metric:
    function = (
        _PLAIN.get(name)
        or _by_objective(name, objective)
        or _with_number(name, objective)
    )
    if function is None:
        raise InputError(
            f"metric {name!r} is unknown; use one of {', '.join(NAMES)} (t from 0 to "
            "1, p from 1 to 2, k from 1), or a function of target and prediction"
        )
    return Metric(name, function, name.partition("@")[0] in _HIGHER)


def find_metric(
    name: str | Callable[..., Any] | Metric | None,
    objective: Objective,
    *,
    higher_is_better: bool | None = None,
) -> Metric:
    """Find a metric by its name, or make one of a function.

    Args:
        name: One of `NAMES`; None for the objective's own; or a function of target
            [n] and prediction ([n], or [n, outputs]), such as those of
            sklearn.metrics, that is called on the host.
        objective: What is minimised.
        higher_is_better: For a function; None takes it from scikit-learn's custom,
            names of scores end in `_score`.

    Raises:
        InputError: If the name is unknown.
    """
    if isinstance(name, Metric):
        return name
    if callable(name):
        title = getattr(name, "__name__", type(name).__name__)
        if higher_is_better is None:
            higher_is_better = title.endswith("_score")
        return Metric(title, name, higher_is_better, on_host=True)
    return _named(name or objective.metric, objective)
