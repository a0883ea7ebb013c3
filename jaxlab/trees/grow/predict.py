"""Following rows through trees: raw scores, leaves, and scores after each round."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Int, UInt8
from jaxlab.trees.grow.tree import Forest, Nodes, goes_left
from jaxlab.trees.native import has_native

__all__ = [
    "Predictor",
    "add_trees",
    "depth_of",
    "find_leaves",
    "padded_size",
    "predict_leaves",
    "predict_raw",
]

_MOST_FEATURES = 1 << 16  # that the kernel's nodes can name
_ROWS = 1 << 16  # rows walked at once where nothing is compiled, to bound memory


def padded_size(size: int, *, least: int = 8) -> int:
    """Round a size up to one of eight an octave, so that programs are shared."""
    if size <= least:
        return least
    step = max(1 << (size - 1).bit_length() - 4, 1)
    return -(-size // step) * step


def depth_of(nodes: Nodes) -> np.ndarray:
    """Give the depth of each tree: steps from its root to its deepest leaf."""
    left = np.asarray(nodes.left)
    level = np.zeros_like(left)
    trees = np.arange(len(left))
    for place in range(left.shape[1]):  # children lie after their parents
        child = left[:, place]
        inner = child > 0
        for side in (0, 1):
            level[trees[inner], child[inner] + side] = level[inner, place] + 1
    return level.max(1, initial=0)


def find_leaves(
    nodes: Nodes, bins: UInt8[Array, "n j"], depth: Any
) -> Int[Array, " n"]:
    """Give the leaf of one tree that each row ends in.

    Args:
        nodes: Of one tree.
        bins: Rows.
        depth: Steps to make, at least the tree's depth.
    """
    rows = jnp.arange(len(bins), dtype=jnp.int32)

    def step(_: Any, at: Array) -> Array:
        bin = bins[rows, nodes.feature[at]]
        word = nodes.left_bins[at, bin.astype(jnp.int32) >> 5]
        child = nodes.left[at]
        return jnp.where(
            child > 0, child + jnp.where(goes_left(word, bin), 0, 1), at
        ).astype(jnp.int32)

    start = jnp.zeros(len(bins), jnp.int32)
    return jax.lax.fori_loop(0, depth, step, start)


def add_trees(
    raw: Float[Array, "v n"],
    bins: UInt8[Array, "n j"],
    num_rows: Any,
    nodes: Nodes,
    num_trees: Any,
    depth: Any,
    *,
    num_bins: int,
    compiled: bool,
    has_categories: bool = False,
) -> Float[Array, "v n"]:
    """Add the leaf values of trees to raw scores, in the order of the trees.

    Args:
        raw: Raw scores so far; tree i adds to output i % v.
        bins: Rows.
        num_rows: Rows that matter; what the others get is not said.
        nodes: Of at least `num_trees` trees.
        num_trees: Trees to add.
        depth: At least the depth of every tree.
        num_bins: Of the binner.
        compiled: Whether to use the CPU kernel.
        has_categories: Whether some splits are on categories.
    """
    if compiled:
        fields = (nodes.left, nodes.feature, nodes.bin, nodes.missing_left)
        packed = jnp.stack([field.astype(jnp.int32) for field in fields], axis=1)
        call = jax.ffi.ffi_call(
            "jaxlab_predict", jax.ShapeDtypeStruct(raw.shape, jnp.float32)
        )
        output = jnp.arange(len(nodes.left), dtype=jnp.int32) % len(raw)
        counts = (jnp.asarray(c, jnp.int32).reshape(1) for c in (num_rows, num_trees))
        rows, trees = counts
        return call(
            bins,
            rows,
            packed,
            nodes.left_bins,
            nodes.value,
            output,
            trees,
            raw,
            num_bins=num_bins,
            has_sets=has_categories,
        )

    def add(tree: Array, raw: Array) -> Array:
        one = jax.tree.map(lambda leaf: leaf[tree], nodes)
        return raw.at[tree % len(raw)].add(one.value[find_leaves(one, bins, depth)])

    return jax.lax.fori_loop(0, num_trees, add, raw)


_add_trees = jax.jit(
    add_trees, static_argnames=("num_bins", "compiled", "has_categories")
)


@jax.jit
def _leaves(nodes: Nodes, bins: Array, depth: Array) -> Array:
    def of_tree(one: Nodes) -> Array:
        return find_leaves(one, bins, depth)

    return jax.lax.map(of_tree, nodes)


def _pad_trees(forest: Forest) -> Nodes:
    """Add empty trees up to a size that other forests have too."""
    missing = padded_size(forest.num_trees) - forest.num_trees

    def pad(leaf: Any) -> np.ndarray:
        return np.pad(np.asarray(leaf), [(0, missing)] + [(0, 0)] * (leaf.ndim - 1))

    return jax.tree.map(pad, forest.nodes)


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A forest laid out for predicting many times."""

    forest: Forest

    @functools.cached_property
    def has_categories(self) -> bool:
        """Whether a split parts bins other than a split on numbers would."""
        nodes = jax.tree.map(np.asarray, self.forest.nodes)
        is_split = nodes.left > 0
        words = nodes.left_bins[is_split].astype("<u4").view(np.uint8)
        values = np.arange(self.forest.num_bins - 1)
        is_left = np.unpackbits(words, axis=-1, bitorder="little")[:, values]
        return bool((is_left != (values <= nodes.bin[is_split][:, None])).any())

    @functools.cached_property
    def num_features(self) -> int:
        """Features that rows must at least have."""
        return int(np.asarray(self.forest.nodes.feature).max(initial=-1)) + 1

    @functools.cached_property
    def nodes(self) -> Nodes:
        """The trees on the device, padded."""
        return jax.tree.map(jnp.asarray, _pad_trees(self.forest))

    @functools.cached_property
    def depth(self) -> int:
        """The greatest depth of a tree."""
        return int(depth_of(self.forest.nodes).max(initial=0))

    def raw(
        self, bins: np.ndarray, *, rounds: int | None = None, start: Any = None
    ) -> np.ndarray:
        """Give raw scores, [outputs, rows].

        Args:
            bins: uint8 [rows, features], of the forest's binner.
            rounds: Rounds to count; all by default.
            start: Raw scores to add to, in place of the forest's start.

        Raises:
            InputError: If the forest does not have so many rounds, or the rows lack
                features.
        """
        self._check_features(bins)
        forest, num_rows = self.forest, len(bins)
        compiled = has_native() and bins.shape[1] <= _MOST_FEATURES
        rounds = forest.num_rounds if rounds is None else rounds
        if not 0 <= rounds <= forest.num_rounds:
            raise InputError(
                f"rounds {rounds} is not from 0 to {forest.num_rounds}, the rounds of "
                "the forest; give fewer, or None for all"
            )
        parts = []
        step = num_rows if compiled else _ROWS
        for begin in range(0, num_rows, max(step, 1)):
            part = _pad_rows(bins[begin : begin + step])
            size = min(step, num_rows - begin)
            if start is None:
                raw = np.broadcast_to(
                    np.asarray(forest.start, np.float32)[:, None],
                    (forest.num_outputs, len(part)),
                )
            else:
                raw = np.zeros((forest.num_outputs, len(part)), np.float32)
                raw[:, :size] = start[:, begin : begin + size]
            added = _add_trees(
                jnp.asarray(raw),
                jnp.asarray(part),
                np.int32(size),
                self.nodes,
                np.int32(rounds * forest.num_outputs),
                np.int32(self.depth),
                num_bins=forest.num_bins,
                compiled=compiled,
                has_categories=self.has_categories,
            )
            parts.append(np.asarray(added)[:, :size])
        if not parts:
            return np.zeros((forest.num_outputs, 0), np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def leaves(self, bins: np.ndarray) -> np.ndarray:
        """Give the leaf of each row in each tree, int32 [rows, trees]."""
        self._check_features(bins)
        parts = [np.zeros((0, self.forest.num_trees), np.int32)]
        for begin in range(0, len(bins), _ROWS):
            part = bins[begin : begin + _ROWS]
            found = _leaves(
                self.nodes, jnp.asarray(_pad_rows(part)), np.int32(self.depth)
            )
            parts.append(np.asarray(found)[: self.forest.num_trees, : len(part)].T)
        return np.concatenate(parts)

    def _check_features(self, bins: np.ndarray) -> None:
        if bins.shape[1] < self.num_features:
            raise InputError(
                f"the rows have {bins.shape[1]} features, but the forest splits on "
                f"feature {self.num_features - 1}; bin them with its own binner"
            )


def _pad_rows(bins: np.ndarray) -> np.ndarray:
    missing = padded_size(len(bins)) - len(bins)
    return np.pad(bins, ((0, missing), (0, 0))) if missing else bins


def predict_raw(forest: Forest, bins: np.ndarray, **options: Any) -> np.ndarray:
    """Give raw scores of binned rows, [outputs, rows]; see `Predictor.raw`."""
    return Predictor(forest).raw(bins, **options)


def predict_leaves(forest: Forest, bins: np.ndarray) -> np.ndarray:
    """Give the leaf of each binned row in each tree, int32 [rows, trees]."""
    return Predictor(forest).leaves(bins)
