"""One round of boosting on the devices, and several of them in one call."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxlab.core.typing import Array
from jaxlab.trees.boost.leaf import newton_leaves, searched_leaves
from jaxlab.trees.boost.round_spec import RoundNumbers, RoundSpec, TrainData, Watched
from jaxlab.trees.grow import fixed_point
from jaxlab.trees.grow.grow import grow_tree
from jaxlab.trees.grow.histogram import is_by_rows
from jaxlab.trees.grow.predict import find_leaves
from jaxlab.trees.grow.sampling import draw_masks, goss, uniform_rows
from jaxlab.trees.grow.tree import Nodes
from jaxlab.trees.objectives.metric import find_metric
from jaxlab.trees.objectives.objective import Leaf, huber_delta

__all__ = ["NUM_SLOTS", "measure", "run_rounds"]

NUM_SLOTS = 16  # rounds that one call can run


@functools.partial(jax.jit, static_argnums=0, donate_argnames=("raw", "eval_raws"))
def run_rounds(
    spec: RoundSpec,
    data: TrainData,
    evals: tuple[Watched, ...],
    numbers: RoundNumbers,
    key: Array,
    raw: Array,
    eval_raws: tuple[Array, ...],
    first: Array,
    count: Array,
) -> tuple[Array, tuple[Array, ...], Nodes, Array]:
    """Run the rounds `first` to `first + count`.

    Returns:
        Raw scores of the training and the held-out rows; the trees, [slots, outputs,
        nodes]; and the metrics, [slots, evals, metrics]. Slots from `count` on are 0.
    """
    body = functools.partial(_rounds, spec)
    if spec.mesh is None:
        return body(data, evals, numbers, key, raw, eval_raws, first, count)
    rows, by_output = P(spec.tree.axis_name), P(None, spec.tree.axis_name)
    is_rows = is_by_rows(spec.tree.implementation)
    table = data.table._replace(
        bins=rows if is_rows else by_output,
        columns=P(),
        num_rows=P(),
        features=P(),  # type: ignore[arg-type]  # a prefix of the tree
        groups=P(),
    )
    specs = TrainData(table, rows, rows, P())
    return jax.shard_map(
        body,
        mesh=spec.mesh,
        in_specs=(specs, P(), P(), P(), by_output, P(), P(), P()),
        out_specs=(by_output, P(), P(), P()),
        check_vma=False,
    )(data, evals, numbers, key, raw, eval_raws, first, count)


def _rounds(
    spec: RoundSpec,
    data: TrainData,
    evals: tuple[Watched, ...],
    numbers: RoundNumbers,
    key: Array,
    raw: Array,
    eval_raws: tuple[Array, ...],
    first: Array,
    count: Array,
) -> tuple[Array, tuple[Array, ...], Nodes, Array]:
    one = _Round(spec, data, evals, numbers, key)
    shapes = jax.eval_shape(one.run, first, raw, eval_raws)
    slots = jax.tree.map(
        lambda leaf: jnp.zeros((NUM_SLOTS, *leaf.shape), leaf.dtype), shapes[2:]
    )

    def body(place: Array, carry: Any) -> Any:
        raw, eval_raws, slots = carry
        raw, eval_raws, *results = one.run(first + place, raw, eval_raws)
        slots = jax.tree.map(
            lambda slot, new: slot.at[place].set(new), slots, tuple(results)
        )
        return raw, eval_raws, slots

    start = (raw, eval_raws, tuple(slots))
    raw, eval_raws, (nodes, scores) = jax.lax.fori_loop(0, count, body, start)
    return raw, eval_raws, nodes, scores


class _Round:
    """The parts of a round, with what they share."""

    def __init__(
        self,
        spec: RoundSpec,
        data: TrainData,
        evals: tuple[Watched, ...],
        numbers: RoundNumbers,
        key: Array,
    ) -> None:
        self.spec, self.evals, self.numbers, self.key = spec, evals, numbers, key
        self.objective, self.axis = spec.objective, spec.tree.axis_name
        self.num_local = len(data.target)
        self.offset = jnp.int32(0)
        if self.axis is not None:
            self.offset = jax.lax.axis_index(self.axis) * self.num_local
        here = jnp.clip(data.table.num_rows - self.offset, 0, self.num_local)
        self.table = data.table._replace(num_rows=here.astype(jnp.int32))
        self.data = data

    def run(self, number: Array, raw: Array, eval_raws: tuple[Array, ...]) -> Any:
        """Add one tree for each output."""
        key = jax.random.fold_in(self.key, number)
        row_key, column_key = jax.random.split(key)
        delta = self._delta(raw)
        gradient, hessian = self._derivatives(raw, delta)
        structure = hessian
        if self.spec.friedman:
            structure = jnp.broadcast_to(self.data.weight[None], gradient.shape)
        used, factor = self._sample(row_key, gradient)
        if factor is not None:  # rows that stand for others
            gradient, hessian = gradient * factor[None], hessian * factor[None]
            structure = structure * factor[None]
        keys = jax.random.split(column_key, len(raw))
        alpha = jnp.asarray(self.objective.alpha or (0.5,), jnp.float64)
        alpha = jnp.broadcast_to(alpha, (len(raw),))

        def tree(of_output: Any) -> tuple[Nodes, Array]:
            raw, gradient, structure, hessian, key, alpha = of_output
            return self._tree(
                raw, gradient, structure, hessian, key, alpha, used, delta
            )

        inputs = (raw, gradient, structure, hessian, keys, alpha)
        if len(raw) == 1:
            nodes, change = tree(jax.tree.map(lambda leaf: leaf[0], inputs))
            nodes, change = jax.tree.map(lambda leaf: leaf[None], (nodes, change))
        else:
            nodes, change = jax.lax.map(tree, inputs)
        eval_raws = tuple(
            self._follow(nodes, one, scores)
            for one, scores in zip(self.evals, eval_raws, strict=True)
        )
        raw = raw + change
        return raw, eval_raws, nodes, self._scores(raw, eval_raws)

    def _whole(self, local: Array, axis: int = 0) -> Array:
        """Bring together what lies on the devices."""
        if self.axis is None:
            return local
        return jax.lax.all_gather(local, self.axis, axis=axis, tiled=True)

    def _local(self, whole: Array) -> Array:
        if self.axis is None:
            return whole
        size = self.num_local
        return jax.lax.dynamic_slice_in_dim(whole, self.offset, size, whole.ndim - 1)

    def _delta(self, raw: Array) -> Any:
        if self.objective.leaf is not Leaf.HUBER:
            return jnp.float32(0)
        target, weight = self._whole(self.data.target), self._whole(self.data.weight)
        return huber_delta(self.objective, self._whole(raw, 1), target, weight)

    def _derivatives(self, raw: Array, delta: Any) -> tuple[Array, Array]:
        data = self.data
        if not self.objective.needs_all_rows:
            return self.objective.derivatives(raw, data.target, data.weight, delta)
        target, weight = self._whole(data.target), self._whole(data.weight)
        whole = self.objective.derivatives(
            self._whole(raw, 1), target, weight, data.groups
        )
        return self._local(whole[0]), self._local(whole[1])

    def _sample(self, key: Array, gradient: Array) -> tuple[Any, Any]:
        """Draw the rows of this round."""
        if self.spec.sampling == "none":
            return None, None
        num_rows = self.spec.tree.num_rows
        if self.spec.sampling == "uniform":
            return self._local(
                uniform_rows(key, num_rows, self.numbers.subsample)
            ), None
        size = self._whole(jnp.abs(gradient).sum(0))
        is_row = jnp.arange(num_rows, dtype=jnp.int32) < self.data.table.num_rows
        spec = self.spec
        kept, factor = goss(key, size, is_row, spec.top_rate, spec.other_rate)
        return self._local(kept), self._local(factor)

    def _tree(
        self,
        raw: Array,
        gradient: Array,
        structure: Array,
        hessian: Array,
        key: Array,
        alpha: Array,
        used: Any,
        delta: Any,
    ) -> tuple[Nodes, Array]:
        """Grow one tree, and give what it adds to the scores."""
        spec = self.spec.tree
        levels = min(spec.depth + 1, 64)
        num_features = len(self.table.features.num_values)
        masks = draw_masks(
            key, num_features, spec.num_nodes, levels, *self.spec.column_rates
        )
        grown = grow_tree(
            self.table, gradient, structure, used, masks, self.numbers.rules, spec
        )
        nodes = grown.nodes
        value = nodes.value
        if self.objective.leaf is not Leaf.NEWTON:
            value = self._search(raw, grown.leaf, used, alpha, delta)
        elif self.spec.friedman:
            g, h = (
                part if used is None else jnp.where(used, part, 0)
                for part in (gradient, hessian)
            )
            bits = fixed_point.num_bits(spec.num_rows)
            value = newton_leaves(g, h, grown.leaf, spec.num_nodes, bits, self.axis)
        value = value * (self.objective.leaf_factor * self.numbers.learning_rate)
        value = jnp.where(nodes.left > 0, 0.0, value).astype(jnp.float32)
        # Without it XLA computes a leaf's value anew for each of its rows.
        value = jax.lax.optimization_barrier(value)
        return dataclasses.replace(nodes, value=value), value[grown.leaf]

    def _search(
        self, raw: Array, leaf: Array, used: Any, alpha: Array, delta: Any
    ) -> Array:
        """Search the value of each leaf, over the rows of all devices."""
        counts = self.data.weight > 0
        counts = counts if used is None else counts & used
        counts = self._whole(counts.astype(jnp.float32))
        # scikit-learn's GradientBoosting takes a row's value without weights too.
        has_weight = self.spec.is_weighted or self.spec.friedman
        weight = self._whole(self.data.weight) if has_weight else None
        residual = self._whole(self.data.target - raw)
        return searched_leaves(
            self.objective,
            residual,
            weight,
            counts,
            self._whole(leaf),
            self.spec.tree.num_nodes,
            alpha,
            delta,
        )

    def _follow(self, nodes: Nodes, one: Watched, scores: Array) -> Array:
        def change(of_output: Nodes) -> Array:
            leaf = find_leaves(of_output, one.bins, self.spec.tree.depth)
            return of_output.value[leaf]

        return scores + jax.lax.map(change, nodes)

    def _scores(self, raw: Array, eval_raws: tuple[Array, ...]) -> Array:
        evals = self.evals
        if self.spec.watches_training:
            target, weight = (
                self._whole(self.data.target),
                self._whole(self.data.weight),
            )
            evals = (Watched(None, target, weight, self.data.groups), *evals)
            eval_raws = (self._whole(raw, 1), *eval_raws)
        return measure(self.spec, evals, eval_raws)


@functools.partial(jax.jit, static_argnums=0)
def measure(
    spec: RoundSpec, sets: tuple[Watched, ...], raws: tuple[Array, ...]
) -> Array:
    """Give the spec's metrics of raw scores, [sets, metrics]."""
    found = [
        find_metric(name, spec.objective)(
            spec.objective.link(raw), raw, one.target, one.weight, one.groups
        )
        for one, raw in zip(sets, raws, strict=True)
        for name in spec.metrics
    ]
    shape = (len(sets), len(spec.metrics))
    return jnp.stack(found).reshape(shape) if found else jnp.zeros(shape)
