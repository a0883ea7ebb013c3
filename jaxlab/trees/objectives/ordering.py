"""Measures of an order of rows: areas under curves, NDCG, average precision."""

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Float, Scalar
from jaxlab.trees.objectives.ranking import Groups, gain, map_queries

__all__ = ["area_under_roc", "average_precision", "mean_ndcg", "mean_query_precision"]


def _cumulate(
    score: Array, target: Array, weight: Array
) -> tuple[Array, Array, Array, Array]:
    """Sort rows from the highest score down, and cumulate the weight of each class.

    Returns:
        Weight of class 1 by row; weight of class 1 and of class 0 down to the last row
        of equal score; weight of class 0 above the first row of equal score.
    """
    one = jnp.where(weight > 0, weight * target, 0.0)
    zero = jnp.where(weight > 0, weight * (1.0 - target), 0.0)
    score, one, zero = jax.lax.sort((-score, one, zero), num_keys=1)
    is_new = jnp.concatenate([jnp.ones(1, bool), score[1:] != score[:-1]])
    is_last = jnp.roll(is_new, -1)
    ones, zeros = jnp.cumsum(one), jnp.cumsum(zero)

    def at_last(cumulated: Array) -> Array:
        return jax.lax.cummin(jnp.where(is_last, cumulated, jnp.inf), reverse=True)

    before = jnp.concatenate([jnp.zeros(1, zeros.dtype), zeros[:-1]])
    above = jax.lax.cummax(jnp.where(is_new, before, 0.0))
    return one, at_last(ones), at_last(zeros), above


def area_under_roc(
    score: Float[Array, " n"], target: Float[Array, " n"], weight: Float[Array, " n"]
) -> Scalar:
    """Give the share of pairs of classes in the right order; ties count half.

    NaN where one class has no weight.
    """
    one, ones, zeros, above = _cumulate(score, target, weight)
    below = zeros[-1] - 0.5 * (zeros + above)
    return jnp.sum(one * below) / (ones[-1] * zeros[-1])


def average_precision(
    score: Float[Array, " n"], target: Float[Array, " n"], weight: Float[Array, " n"]
) -> Scalar:
    """Sum precision times the rise of recall over the distinct scores."""
    one, ones, zeros, _ = _cumulate(score, target, weight)
    precision = ones / jnp.maximum(ones + zeros, jnp.finfo(ones.dtype).tiny)
    return jnp.sum(one * precision) / ones[-1]


def _mean_over_queries(
    measure: object,
    score: Array,
    target: Array,
    weight: Array,
    groups: Groups,
) -> Scalar:
    columns = {"score": score, "relevance": target, "weight": weight}
    found = map_queries(measure, groups, columns, 1)
    value = jnp.concatenate([value for value, _ in found])
    weights = jnp.concatenate([weight for _, weight in found])
    return jnp.sum(value * weights) / jnp.sum(weights)


def _sorted(columns: dict[str, Array], is_row: Array) -> tuple[Array, Array]:
    """Give relevance by place, 0 for padding, and the query's weight."""
    key = jnp.where(is_row, -columns["score"], jnp.inf)
    _, relevance = jax.lax.sort((key, columns["relevance"]), num_keys=1)
    return relevance, jnp.max(columns["weight"])


def mean_ndcg(
    score: Float[Array, " n"],
    target: Float[Array, " n"],
    weight: Float[Array, " n"],
    groups: Groups,
    *,
    top: int | None = None,
    exponential: bool = True,
    empty: float = 1.0,
) -> Scalar:
    """Average the normalised discounted cumulative gain over queries.

    Args:
        score: Higher is ranked first; equal scores keep the order of the rows.
        target: Relevance.
        weight: Of the rows' queries.
        groups: Queries, of the same `exponential`.
        top: Places that count; None for all.
        exponential: Whether a row is worth 2^relevance - 1, or relevance.
        empty: The value of a query without a relevant row.
    """

    def measure(
        columns: dict[str, Array], is_row: Array, ideal: Array
    ) -> tuple[Array, Array]:
        relevance, weight = _sorted(columns, is_row)
        length = len(relevance)
        cut = length if top is None else min(top, length)
        place = jnp.arange(cut, dtype=score.dtype) + 2.0
        worth = gain(relevance[:cut], exponential=exponential)
        # Padding comes last and is worth nothing.
        found = jnp.sum(worth / jnp.log2(place))
        best = ideal[cut - 1]
        value = jnp.where(best > 0, found / jnp.where(best > 0, best, 1.0), empty)
        return value, weight

    return _mean_over_queries(measure, score, target, weight, groups)


def mean_query_precision(
    score: Float[Array, " n"],
    target: Float[Array, " n"],
    weight: Float[Array, " n"],
    groups: Groups,
    *,
    top: int | None = None,
    empty: float = 1.0,
) -> Scalar:
    """Average over queries the average precision (MAP).

    Args:
        score: Higher is ranked first; equal scores keep the order of the rows.
        target: Relevant where not 0.
        weight: Of the rows' queries.
        groups: Queries.
        top: Places whose precision counts; None for all. The sum is divided by the
            relevant rows, or by `top` if there are more, as in XGBoost.
        empty: The value of a query without a relevant row.
    """

    def measure(
        columns: dict[str, Array], is_row: Array, ideal: Array
    ) -> tuple[Array, Array]:
        del ideal
        relevance, weight = _sorted(columns, is_row)
        hit = (relevance > 0).astype(jnp.float32)
        place = jnp.arange(len(hit), dtype=hit.dtype) + 1.0
        precision = hit * jnp.cumsum(hit) / place
        cut = top or len(hit)
        counted = jnp.where(place <= cut, precision, 0.0)
        hits = jnp.minimum(jnp.sum(hit), cut)
        value = jnp.sum(counted) / jnp.maximum(hits, 1.0)
        return jnp.where(hits > 0, value, empty), weight

    return _mean_over_queries(measure, score, target, weight, groups)
