"""Growing one tree in JAX: static shapes, and no word to the host.

Two policies stand on one step, `_expand`, which parts some nodes in two and finds the
best splits of their children:

    depth-wise   all nodes of a level at once
    best-first   always the leaf with the greatest gain (leaf-wise, loss-guided)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array
from jaxlab.trees.grow import fixed_point
from jaxlab.trees.grow.histogram import build_histograms, is_by_rows
from jaxlab.trees.grow.problem import Grown, Masks, PlacedTable, TreeSpec
from jaxlab.trees.grow.split import SplitNumbers, find_splits, leaf_weight
from jaxlab.trees.grow.tree import NUM_WORDS, Nodes, goes_left

__all__ = ["Grower"]

_MOST_BYTES = 1 << 30  # of histograms kept for subtraction; beyond, both are built
_BATCH = 128  # nodes expanded at once


class _State(NamedTuple):
    position: Array  # node of each row
    left: Array  # [q + 1], the last place takes what is not to be kept
    feature: Array
    bin: Array
    missing_left: Array
    left_bins: Array
    gain: Array  # of the best split found
    total: Array  # int64 [q + 1, c]
    left_total: Array
    count: Array  # type: ignore[assignment]  # not the tuple's method
    depth: Array
    bounds: Array  # float64 [q + 1, 2]
    groups: Array  # bool [q + 1, sets], that hold all features of the path
    path: Array  # bool [q + 1, j], features split on above
    slot: Array  # of the histogram
    num_nodes: Array
    num_leaves: Array


class Grower:
    """The algorithm in JAX; methods take and give a `_State`."""

    def __init__(
        self,
        table: PlacedTable,
        gradient: Array,
        hessian: Array,
        used: Any,
        masks: Masks,
        rules: SplitNumbers,
        units: Array,
        spec: TreeSpec,
    ) -> None:
        self.table, self.masks, self.rules = table, masks, rules
        self.units, self.spec = units, spec
        is_used = jnp.arange(len(gradient), dtype=jnp.int32) < table.num_rows
        self.is_used = is_used if used is None else is_used & used
        channels = [
            fixed_point.quantize(values, unit)
            for values, unit in zip((gradient, hessian), units, strict=True)
        ]
        if spec.has_counts:
            channels.append(self.is_used.astype(jnp.int64))
        self.values = jnp.stack(channels, axis=1)
        self.num_features = len(table.features.num_values)

    def grow(self) -> Grown:
        state = self._start()
        if self.spec.max_leaves > 1:
            state, histogram = self._evaluate_root(state)
            if self.spec.best_first:
                state = self._best_first(state, histogram)
            else:
                state = self._by_depth(state, histogram)
        return self._finish(state)

    def _sum(self, local: Array) -> Array:
        axis = self.spec.axis_name
        return local if axis is None else jax.lax.psum(local, axis)

    def _start(self) -> _State:
        size, channels = self.spec.num_nodes + 1, self.values.shape[1]
        sets, features = len(self.table.groups), self.num_features

        def zeros(dtype: Any, *more: int) -> Array:
            return jnp.zeros((size, *more), dtype)

        total = self._sum(
            jnp.where(self.is_used[:, None], self.values, 0).sum(0, dtype=jnp.int64)
        )
        count = self._sum(self.is_used.sum(dtype=jnp.int32))
        infinite = jnp.asarray([[-jnp.inf, jnp.inf]], jnp.float64)
        return _State(
            position=jnp.zeros(len(self.is_used), jnp.int32),
            left=zeros(jnp.int32),
            feature=zeros(jnp.int32),
            bin=zeros(jnp.int32),
            missing_left=zeros(bool),
            left_bins=zeros(jnp.uint32, NUM_WORDS),
            gain=jnp.full(size, -jnp.inf, jnp.float64),
            total=zeros(jnp.int64, channels).at[0].set(total),
            left_total=zeros(jnp.int64, channels),
            count=zeros(jnp.int32).at[0].set(count),
            depth=zeros(jnp.int32),
            bounds=jnp.tile(infinite, (size, 1)),
            groups=jnp.ones((size, sets), bool),
            path=zeros(bool, features),
            slot=zeros(jnp.int32),
            num_nodes=jnp.int32(1),
            num_leaves=jnp.int32(1),
        )

    def _finish(self, state: _State) -> Grown:
        def kept(leaf: Array) -> Array:
            is_split = state.left > 0
            shaped = is_split.reshape((-1,) + (1,) * (leaf.ndim - 1))
            return jnp.where(shaped, leaf, jnp.zeros_like(leaf))[:-1]

        g = state.total[:-1, 0] * self.units[0]
        h = state.total[:-1, 1] * self.units[1]
        low, high = state.bounds[:-1, 0], state.bounds[:-1, 1]
        nodes = Nodes(
            state.left[:-1],
            kept(state.feature),
            kept(state.bin),
            kept(state.missing_left),
            kept(state.left_bins),
            jnp.clip(leaf_weight(g, h, self.rules), low, high),
            kept(state.gain).astype(jnp.float32),
            g.astype(jnp.float32),
            h.astype(jnp.float32),
            state.count[:-1],
        )
        is_real = jnp.arange(len(state.position)) < self.table.num_rows
        return Grown(nodes, jnp.where(is_real, state.position, 0))

    def _can_split(self, state: _State, ids: Array) -> Array:
        return (state.gain[ids] > self.rules.min_gain) & (state.left[ids] == 0)

    def _by_depth(self, state: _State, histogram: Array) -> _State:
        """Expand level by level, in loops over levels of similar width.

        One body for all levels would look at as many nodes in the first level as in
        the last; one for each level would take long to compile.
        """
        depth, first = 0, jnp.int32(0)
        for width in (4, 32, _BATCH):
            levels = min(self.spec.depth, width.bit_length()) - depth
            if levels < 1:
                break
            width = min(width, self.spec.max_leaves)
            blank = jnp.zeros((2 * width, *histogram.shape[1:]), jnp.int64)
            kept = blank.at[: len(histogram)].set(histogram)

            def level(_: Any, carry: Any, width: int = width) -> Any:
                state, first, kept = carry
                stop = state.num_nodes
                ids = first + jnp.arange(width, dtype=jnp.int32)
                state, kept = self._expand(state, ids, ids < stop, kept)
                return state, stop, kept

            state, first, histogram = jax.lax.fori_loop(
                0, levels, level, (state, first, kept)
            )
            depth += levels
        return state if self.spec.depth <= depth else self._by_batches(state, first)

    def _by_batches(self, state: _State, first: Array) -> _State:
        """Expand deep levels a batch at a time, without kept histograms."""

        def is_open(carry: tuple[_State, Array]) -> Array:
            return carry[1] < carry[0].num_nodes

        def expand(carry: tuple[_State, Array]) -> tuple[_State, Array]:
            state, first = carry
            ids = first + jnp.arange(_BATCH, dtype=jnp.int32)
            stop = state.num_nodes
            state, _ = self._expand(state, ids, ids < stop, None)
            return state, jnp.minimum(first + _BATCH, stop)

        return jax.lax.while_loop(is_open, expand, (state, first))[0]

    def _best_first(self, state: _State, histogram: Array) -> _State:
        size = histogram.nbytes
        keeps = self.spec.max_leaves * size <= _MOST_BYTES
        pool = jnp.zeros((self.spec.max_leaves, *histogram.shape[1:]), jnp.int64)
        pool = pool.at[0].set(histogram[0]) if keeps else pool[:1]

        def step(_: Any, carry: tuple[_State, Array]) -> tuple[_State, Array]:
            state, pool = carry
            waiting = jnp.where(state.left == 0, state.gain, -jnp.inf)[:-1]
            best = waiting.argmax().astype(jnp.int32)[None]
            old, new = state.slot[best], state.num_leaves[None]
            parent = pool[old] if keeps else None
            left = state.num_nodes
            state, children = self._expand(state, best, best >= 0, parent)
            if keeps:
                was_split = state.num_nodes > left
                old = jnp.where(was_split, old, len(pool))
                new = jnp.where(was_split, new, len(pool))
                pool = pool.at[old].set(children[:1], mode="drop")
                pool = pool.at[new].set(children[1:], mode="drop")
                slot = state.slot.at[left].set(old[0]).at[left + 1].set(new[0])
                state = state._replace(slot=slot)
            return state, pool

        return jax.lax.fori_loop(0, self.spec.max_leaves - 1, step, (state, pool))[0]

    def _expand(
        self, state: _State, ids: Array, valid: Array, parents: Array | None
    ) -> tuple[_State, Array]:
        """Part nodes in two, and find the best splits of the children.

        Args:
            state: What is grown so far.
            ids: Nodes that may be split, in order.
            valid: Which of them are meant.
            parents: Histograms of the level, looked up by the nodes' slots (depth-wise)
                or given in order; None: both children are built from their rows.

        Returns:
            The new state, and the children's histograms, left and right in turns.
        """
        trash = self.spec.num_nodes
        ids = jnp.where(valid, ids, trash)
        valid &= self._can_split(state, ids)
        rank = jnp.cumsum(valid, dtype=jnp.int32) - 1
        valid &= rank < self.spec.max_leaves - state.num_leaves
        ids = jnp.where(valid, ids, trash)
        left = jnp.where(valid, state.num_nodes + 2 * rank, trash)
        right = jnp.where(valid, left + 1, trash)
        slots = state.slot[ids]
        state = self._route(state, ids, left, right)
        pair = jnp.stack([left, right], axis=1).reshape(-1)
        state = self._describe_children(state, ids, left, right)
        added = valid.sum(dtype=jnp.int32)
        state = state._replace(
            num_nodes=state.num_nodes + 2 * added, num_leaves=state.num_leaves + added
        )
        if parents is None:
            histogram = self._build(state, pair)
        else:
            left_is_small = state.count[left] <= state.count[right]
            small = jnp.where(left_is_small, left, right)
            built = self._build(state, small)
            parent = parents if self.spec.best_first else parents[slots]
            flag = left_is_small[:, None, None, None]
            rest = parent - built
            histogram = jnp.stack(
                [jnp.where(flag, built, rest), jnp.where(flag, rest, built)], axis=1
            ).reshape(-1, *built.shape[1:])
        slot = state.slot.at[pair].set(_count(pair))
        return self._evaluate(state._replace(slot=slot), pair, histogram), histogram

    def _route(self, state: _State, ids: Array, left: Array, right: Array) -> _State:
        """Send each row of the split nodes to its child, and count the children."""
        trash = self.spec.num_nodes
        child = jnp.zeros_like(state.left).at[ids].set(left).at[trash].set(0)
        at = state.position
        bins = self._bins_of(state.feature[at])
        words = state.left_bins[at, bins.astype(jnp.int32) >> 5]
        new = child[at] + jnp.where(goes_left(words, bins), 0, 1)
        position = jnp.where(child[at] > 0, new, at)
        sizes = (
            jnp.zeros(trash + 1, jnp.int32)
            .at[position]
            .add(self.is_used.astype(jnp.int32))
        )
        pair = jnp.concatenate([left, right])
        count = state.count.at[pair].set(self._sum(sizes[pair]))
        return state._replace(
            position=position, count=count, left=state.left.at[ids].set(left)
        )

    def _bins_of(self, feature: Array) -> Array:
        rows = jnp.arange(len(feature), dtype=jnp.int32)
        if is_by_rows(self.spec.implementation):
            return self.table.bins[rows, feature]
        return self.table.bins[feature, rows]

    def _describe_children(
        self, state: _State, ids: Array, left: Array, right: Array
    ) -> _State:
        left_total = state.left_total[ids]
        total = state.total.at[left].set(left_total)
        total = total.at[right].set(state.total[ids] - left_total)
        depth = state.depth[ids] + 1
        state = state._replace(
            total=total, depth=state.depth.at[left].set(depth).at[right].set(depth)
        )
        if len(self.table.groups):
            feature = state.feature[ids]
            kept = state.groups[ids] & self.table.groups[:, feature].T
            path = state.path[ids].at[_count(ids), feature].set(True)
            state = state._replace(
                groups=state.groups.at[left].set(kept).at[right].set(kept),
                path=state.path.at[left].set(path).at[right].set(path),
            )
        if self.spec.limits.has_monotone:
            state = self._bound_children(state, ids, left, right)
        return state._replace(left=state.left.at[-1].set(0))

    def _bound_children(
        self, state: _State, ids: Array, left: Array, right: Array
    ) -> _State:
        """Hold all leaves of a side on that side of the middle (as XGBoost does)."""
        low, high = state.bounds[ids, 0], state.bounds[ids, 1]
        weights = []
        for side in (left, right):
            total = state.total[side]
            g, h = total[:, 0] * self.units[0], total[:, 1] * self.units[1]
            weights.append(jnp.clip(leaf_weight(g, h, self.rules), low, high))
        middle = (weights[0] + weights[1]) / 2
        sign = self.table.features.monotone[state.feature[ids]]
        rises, falls = sign > 0, sign < 0
        left_bounds = [jnp.where(falls, middle, low), jnp.where(rises, middle, high)]
        right_bounds = [jnp.where(rises, middle, low), jnp.where(falls, middle, high)]
        bounds = state.bounds.at[left].set(jnp.stack(left_bounds, axis=1))
        return state._replace(
            bounds=bounds.at[right].set(jnp.stack(right_bounds, axis=1))
        )

    def _build(self, state: _State, ids: Array) -> Array:
        """Build the histograms of nodes from their rows, over all devices."""
        trash, none = self.spec.num_nodes, jnp.int32(len(ids))
        slot = jnp.full(trash + 1, none).at[ids].set(_count(ids))
        slot = slot.at[trash].set(none)[state.position]
        return self._sum(
            build_histograms(
                self.table.bins,
                self.values,
                jnp.where(self.is_used, slot, none).astype(jnp.int32),
                num_slots=len(ids),
                num_bins=self.spec.num_bins,
                implementation=self.spec.implementation,
            )
        )

    def _evaluate_root(self, state: _State) -> tuple[_State, Array]:
        ids = jnp.zeros(1, jnp.int32)
        histogram = self._build(state, ids)
        return self._evaluate(state, ids, histogram), histogram

    def _evaluate(self, state: _State, ids: Array, histogram: Array) -> _State:
        """Find and note the best splits of nodes."""
        splits = find_splits(
            histogram,
            state.total[ids],
            state.bounds[ids],
            self._mask(state, ids),
            self.units,
            self.table.features,
            self.rules,
            self.spec.limits,
        )
        may_split = state.depth[ids] < self.spec.depth
        may_split &= state.count[ids] >= jnp.maximum(self.rules.min_rows, 2)
        may_split &= ids < self.spec.num_nodes
        return state._replace(
            gain=state.gain.at[ids].set(jnp.where(may_split, splits.gain, -jnp.inf)),
            feature=state.feature.at[ids].set(splits.feature),
            bin=state.bin.at[ids].set(splits.bin),
            missing_left=state.missing_left.at[ids].set(splits.missing_left),
            left_bins=state.left_bins.at[ids].set(splits.left_bins),
            left_total=state.left_total.at[ids].set(splits.left),
        )

    def _mask(self, state: _State, ids: Array) -> Array:
        """Tell which features nodes may be split on."""
        level = jnp.minimum(state.depth[ids], len(self.masks.by_level) - 1)
        mask = self.masks.by_level[level] > 0
        if len(self.masks.priority):
            place = jnp.minimum(ids, len(self.masks.priority) - 1)
            order = jnp.where(mask, self.masks.priority[place], jnp.inf)
            rank = jnp.argsort(jnp.argsort(order, axis=1, stable=True), axis=1)
            mask &= rank < self.masks.kept[level][:, None]
        if len(self.table.groups):
            mask &= self._may_interact(state, ids)
        return mask

    def _may_interact(self, state: _State, ids: Array) -> Array:
        """Allow features of the path, and of the sets that hold the whole path."""
        kept = state.groups[ids]  # [k, sets]
        allowed = (kept[:, :, None] & self.table.groups[None]).any(1)
        is_root = ~state.path[ids].any(1, keepdims=True)
        return allowed | state.path[ids] | is_root


def _count(ids: Array) -> Array:
    return jnp.arange(len(ids), dtype=jnp.int32)
