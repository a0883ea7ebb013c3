"""A forest as arrays: what growing makes and predicting reads."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.typing import Array, Bool, Int, Num, PyTree

__all__ = ["NUM_WORDS", "Forest", "Nodes", "bins_below", "concatenate", "goes_left"]

NUM_WORDS = 8  # 32-bit words that hold a bit for each of 256 bins


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Nodes:
    """The nodes of one tree, or of many along leading axes (t).

    A node's children lie after it, side by side; the root is node 0, and places that
    are not in use look like leaves of value 0.
    """

    # Not annotated as arrays: shapes and specs of shardings have this structure too.
    left: PyTree  # int32 [q], the left child, the right one follows it; 0: a leaf
    feature: PyTree  # int32 [q]
    bin: PyTree  # int32 [q], bins up to this one go left (of a split on numbers)
    missing_left: PyTree  # bool [q]
    left_bins: PyTree  # uint32 [q, 8], a bit for each bin that goes left, missing too
    value: PyTree  # float32 [q], what a leaf adds to the raw score
    gain: PyTree  # float32 [q], of a split: less objective, without the factor 1/2
    gradient: PyTree  # float32 [q], sum over the node's rows
    hessian: PyTree  # float32 [q], sum over the node's rows
    count: PyTree  # int32 [q], rows that it was grown on


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Forest:
    """Trees whose leaf values add up: raw score k = start[k] + sum over its trees.

    Tree i belongs to output `i % k`: each round adds a tree for each of the k outputs.
    """

    nodes: Nodes  # each leaf with a leading axis of trees
    start: PyTree  # float32 [k]
    num_bins: int = dataclasses.field(metadata={"static": True})  # of the binner

    @property
    def num_outputs(self) -> int:
        """Raw scores a row."""
        return self.start.shape[0]

    @property
    def num_trees(self) -> int:
        """Trees of all rounds and outputs."""
        return self.nodes.left.shape[0]

    @property
    def num_rounds(self) -> int:
        """Rounds of boosting."""
        return self.num_trees // self.num_outputs

    def rounds(self, stop: int, start: int = 0) -> "Forest":
        """Give the forest of the rounds `start` to `stop` (not included)."""
        part = slice(start * self.num_outputs, stop * self.num_outputs)
        return dataclasses.replace(
            self, nodes=jax.tree.map(lambda leaf: leaf[part], self.nodes)
        )


def concatenate(forests: list[Forest]) -> Forest:
    """Put the trees of forests one after the other; the first one's start counts."""
    widest = max(forest.nodes.left.shape[1] for forest in forests)

    def join(*leaves: np.ndarray) -> np.ndarray:
        return np.concatenate([_widen(np.asarray(leaf), widest) for leaf in leaves])

    nodes = jax.tree.map(join, *(forest.nodes for forest in forests))
    return dataclasses.replace(forests[0], nodes=nodes)


def _widen(leaf: np.ndarray, width: int) -> np.ndarray:
    padding = [(0, 0), (0, width - leaf.shape[1]), *[(0, 0)] * (leaf.ndim - 2)]
    return np.pad(leaf, padding)


def bins_below(
    bin: Int[Array, "*q"], missing_left: Bool[Array, "*q"], num_bins: int
) -> Num[Array, "*q 8"]:
    """Write splits on numbers as sets of bins: those up to `bin`, and maybe missing."""
    places = jnp.arange(32 * NUM_WORDS, dtype=jnp.int32).reshape(NUM_WORDS, 32)
    places = jnp.expand_dims(places, tuple(range(bin.ndim)))
    below = places <= bin[..., None, None]
    is_missing = places == num_bins - 1
    chosen = jnp.where(is_missing, missing_left[..., None, None], below)
    bits = jnp.arange(32, dtype=jnp.uint32).reshape((1,) * (chosen.ndim - 1) + (32,))
    return (chosen.astype(jnp.uint32) << bits).sum(-1, dtype=jnp.uint32)


def goes_left(words: Num[Array, "*n"], bins: Num[Array, "*n"]) -> Bool[Array, "*n"]:
    """Tell whether a bin is in a set, given the word that holds its bit."""
    return (words >> (bins.astype(jnp.uint32) & 31)) & 1 == 1
