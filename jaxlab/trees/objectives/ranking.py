"""Learning to rank: pairs of rows of one query (Burges 2010, "From RankNet...").

A pair whose first row is the more relevant one costs softplus(-(s_first - s_second)),
times |change of NDCG if the two swapped places| for LambdaMART. Conventions, defaults
and normalisations are XGBoost's. Queries lie in buckets of similar lengths, padded with
-1; a bucket is worked through in chunks, so that memory is bounded.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Bool, Float, Scalar
from jaxlab.trees.objectives.diagonal import gradient_and_curvature

__all__ = ["Groups", "Ranking", "gain", "make_groups", "map_queries"]

_SHORTEST = 8  # rows a query, padded
_MOST_PAIRS = 2**21  # held at once
_NEARLY_EQUAL = 0.01  # XGBoost's guard of 1 / |difference of scores|


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Groups:
    """Which rows belong to which query.

    Attributes:
        rows: By bucket [queries, length], numbers of rows, -1 for padding.
        ideal: By bucket, the DCG of the best order, cumulated over positions.
        place: [n], where each row is in the buckets laid end to end.
    """

    # Any: as a pytree it may hold shardings or shapes in place of arrays.
    rows: tuple[Any, ...]
    ideal: tuple[Any, ...]
    place: Any


def gain(relevance: Any, *, exponential: bool = True) -> Any:
    """Give 2^relevance - 1, what a row at the first place is worth, or relevance."""
    return 2.0**relevance - 1.0 if exponential else 1.0 * relevance


def _sizes_to_order(
    size: int, sizes: np.ndarray | None, qid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows query by query, and the sizes of the queries."""
    if (sizes is None) == (qid is None):
        raise InputError("groups of rows need either sizes or qid; give one of them")
    if qid is not None:
        if len(qid) != size:
            raise InputError(
                f"qid has {len(qid)} rows, the target {size}; give one a row"
            )
        _, query = np.unique(qid, return_inverse=True)
        return np.argsort(query, kind="stable"), np.bincount(query)
    sizes = np.asarray(sizes, np.int64)
    if sizes.sum() != size or (sizes < 0).any():
        raise InputError(
            f"group sizes sum to {sizes.sum()}, but there are {size} rows; the sizes "
            "of consecutive queries have to add up to the rows"
        )
    return np.arange(size), sizes[sizes > 0]


def make_groups(
    target: np.ndarray,
    *,
    sizes: np.ndarray | None = None,
    qid: np.ndarray | None = None,
    exponential: bool = True,
) -> Groups:
    """Lay out queries on the host.

    Args:
        target: [n], relevance.
        sizes: [q], numbers of rows of consecutive queries.
        qid: [n], or the query of each row, in any order.
        exponential: Whether a row is worth 2^relevance - 1, or relevance.

    Raises:
        InputError: If neither or both of sizes and qid are given, or do not fit.
    """
    order, sizes = _sizes_to_order(len(target), sizes, qid)
    starts = np.cumsum(sizes) - sizes
    lengths = np.maximum(_SHORTEST, 1 << np.ceil(np.log2(sizes)).astype(int))
    worth = np.asarray(gain(target.astype(np.float64), exponential=exponential))
    rows, ideal = [], []
    place = np.zeros(len(target), np.int32)
    offset = 0
    for length in np.unique(lengths):
        chosen = lengths == length
        slots = np.arange(length)[None]
        is_row = slots < sizes[chosen, None]
        index = order[np.where(is_row, starts[chosen, None] + slots, 0)]
        best = -np.sort(-np.where(is_row, worth[index], 0.0), axis=1)
        ideal.append(np.cumsum(best / np.log2(slots + 2.0), axis=1, dtype=np.float64))
        flat = offset + np.arange(index.size).reshape(index.shape)
        place[index[is_row]] = flat[is_row]
        rows.append(np.where(is_row, index, -1))
        offset += index.size
    return Groups(
        tuple(jnp.asarray(bucket, jnp.int32) for bucket in rows),
        tuple(jnp.asarray(bucket, jnp.float32) for bucket in ideal),
        jnp.asarray(place),
    )


def _in_chunks(function: Any, queries: tuple[Array, Array], most: int) -> Any:
    """Apply to all queries, or to `most` at a time, filled up with empty queries."""
    count = len(queries[0])
    if count <= most:
        return function(queries)
    chunks = -(-count // most)
    filled = [
        jnp.pad(x, ((0, chunks * most - count), (0, 0)), constant_values=-1)
        for x in queries
    ]
    parts = jax.lax.map(
        function, tuple(x.reshape(chunks, most, *x.shape[1:]) for x in filled)
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], parts)


def map_queries(function: Any, groups: Groups, columns: Any, pairs: int) -> list[Any]:
    """Apply a function to every query, some at a time.

    Args:
        function: Of the columns of one query [t] (0 for padding), the mask of its rows
            [t] and its ideal DCG [t].
        groups: The queries.
        columns: Pytree of arrays [n].
        pairs: Elements that the function holds for a query of t rows, divided by t.

    Returns:
        By bucket, what the function gives, stacked over the queries.
    """
    results = []
    for rows, ideal in zip(groups.rows, groups.ideal, strict=True):
        length = rows.shape[1]

        def one(query: tuple[Array, Array]) -> Any:
            index, best = query
            is_row = index >= 0
            taken = jax.tree.map(
                lambda column: jnp.where(is_row, column[jnp.maximum(index, 0)], 0),
                columns,
            )
            return function(taken, is_row, best)

        most = max(1, _MOST_PAIRS // (length * min(pairs, length)))
        results.append(_in_chunks(jax.vmap(one), (rows, ideal), most))
    return results


def _pair_loss(difference: Scalar) -> Scalar:
    """RankNet's loss of the score of the more relevant row minus that of the other."""
    return jax.nn.softplus(-difference)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """RankNet's loss (rank:pairwise), or LambdaMART's lambdas for NDCG (rank:ndcg).

    Attributes:
        by_ndcg: Weigh pairs by the change of NDCG.
        top: Pair only the rows that are now in the first `top` places with those below
            them; None for all pairs. NDCG is cut there too.
        normalize_query: Scale the lambdas of a query by log2(1 + sum) / sum.
        normalize_score: Divide a pair by 0.01 + |difference of scores|.
        exponential_gain: Whether a row is worth 2^relevance - 1, or relevance.
    """

    by_ndcg: bool
    top: int | None = 32
    normalize_query: bool = True
    normalize_score: bool = True
    exponential_gain: bool = True

    def derivatives(
        self,
        raw: Float[Array, "1 n"],
        target: Float[Array, " n"],
        weight: Float[Array, " n"],
        groups: Groups,
    ) -> tuple[Float[Array, "1 n"], Float[Array, "1 n"]]:
        """Sum lambdas, and their derivatives, over the pairs of each row.

        Args:
            raw: Scores.
            target: Relevance.
            weight: A row of weight 0 is in no pair; else not used here.
            groups: The queries.

        Returns:
            Gradient and hessian, without weights; 0 for rows in no pair.
        """
        columns = {"score": raw[0], "relevance": target, "counts": weight > 0}
        pairs = len(target) if self.top is None else self.top
        found = map_queries(self._query, groups, columns, pairs)
        flat = [
            jnp.concatenate([part.ravel() for part in both])
            for both in zip(*found, strict=True)
        ]
        return flat[0][groups.place][None], flat[1][groups.place][None]

    def _query(
        self, columns: dict[str, Array], is_row: Bool[Array, " t"], ideal: Array
    ) -> tuple[Float[Array, " t"], Float[Array, " t"]]:
        length = is_row.shape[0]
        top = length if self.top is None else min(self.top, length)
        counts = is_row & columns["counts"]
        order = jnp.argsort(jnp.where(counts, -columns["score"], jnp.inf), stable=True)
        score = columns["score"][order]
        relevance = columns["relevance"][order]
        counts = counts[order]
        # First rows of pairs lie in the first places, second rows anywhere below.
        first, second = score[:top, None], score[None]
        better = relevance[:top, None] - relevance[None]
        is_pair = (jnp.arange(top)[:, None] < jnp.arange(length)[None]) & (better != 0)
        is_pair &= counts[:top, None] & counts[None]
        sign = jnp.sign(better)
        difference = sign * (first - second)
        slope, curvature = jax.vmap(
            jax.vmap(lambda d: gradient_and_curvature(_pair_loss, d))
        )(difference)
        scale = jnp.ones_like(difference)
        if self.by_ndcg:
            scale = self._ndcg_change(relevance, counts, ideal, top)
        if self.normalize_score:
            # Not where all scores are equal, as before the first tree.
            highest = jnp.max(jnp.where(counts, score, -jnp.inf))
            is_spread = highest != jnp.min(jnp.where(counts, score, jnp.inf))
            near = 1.0 / (_NEARLY_EQUAL + jnp.abs(difference))
            scale = scale * jnp.where(is_spread, near, 1.0)
        slope = jnp.where(is_pair, slope * scale, 0.0)
        curvature = jnp.where(is_pair, curvature * scale, 0.0)
        lambdas, hessian = self._by_row(sign * slope, curvature, length)
        total = -2.0 * jnp.sum(slope)
        if self.normalize_query:
            some = jnp.where(total > 0, total, 1.0)  # 1 leaves no pairs as they are
            norm = jnp.log1p(some) / (some * math.log(2.0))
            lambdas, hessian = lambdas * norm, hessian * norm
        back = jnp.argsort(order)
        return lambdas[back], hessian[back]

    def _ndcg_change(
        self, relevance: Array, counts: Array, ideal: Array, top: int
    ) -> Array:
        worth = gain(relevance, exponential=self.exponential_gain)
        worth = jnp.where(counts, worth, 0.0)
        place = jnp.arange(worth.shape[0], dtype=worth.dtype)
        discount = 1.0 / jnp.log2(place + 2.0)
        swap = worth[:top, None] - worth[None]
        change = jnp.abs(swap * (discount[:top, None] - discount[None]))
        best = ideal[top - 1]
        return jnp.where(best > 0, change / jnp.where(best > 0, best, 1.0), 0.0)

    def _by_row(
        self, slope: Array, curvature: Array, length: int
    ) -> tuple[Array, Array]:
        """Give each pair's slope to its first row, and its opposite to the second."""
        rest = length - slope.shape[0]
        first = jnp.pad(jnp.sum(slope, axis=1), (0, rest))
        both = jnp.pad(jnp.sum(curvature, axis=1), (0, rest))
        return first - jnp.sum(slope, axis=0), both + jnp.sum(curvature, axis=0)
