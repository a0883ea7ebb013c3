"""What growing a tree is given, and what it gives back."""

import dataclasses
from typing import NamedTuple

from jaxlab.core.typing import PyTree
from jaxlab.trees.grow.split import SplitFeatures, SplitSpec
from jaxlab.trees.grow.tree import Nodes

__all__ = ["Grown", "Masks", "PlacedTable", "TreeSpec"]


@dataclasses.dataclass(frozen=True)
class TreeSpec:
    """What the compiled program of a tree depends on."""

    num_bins: int  # of a histogram, the missing bin included
    num_rows: int  # of all devices, padding included
    max_depth: int  # 0: any
    max_leaves: int
    best_first: bool = False
    implementation: str = "xla"
    is_whole: bool = False  # compiled for the whole tree
    has_counts: bool = False  # a third channel, for min_leaf_rows
    limits: SplitSpec = dataclasses.field(default_factory=SplitSpec)
    axis_name: str | tuple[str, ...] | None = None  # rows are split over it

    @property
    def num_nodes(self) -> int:
        """Places for nodes."""
        return 2 * self.max_leaves - 1

    @property
    def depth(self) -> int:
        """Greatest depth of a node."""
        return self.max_depth or self.max_leaves - 1


class PlacedTable(NamedTuple):
    """The training rows of this device."""

    bins: PyTree  # uint8, [n, j] or [j, n] as the implementation wants it
    columns: PyTree  # uint8 [j, n], the same for the compiled grower, or [0, 0]
    num_rows: PyTree  # int32 scalar: rows in use; the rest is padding
    features: SplitFeatures
    groups: PyTree  # bool [sets, j] of features that may interact; none: all may


class Masks(NamedTuple):
    """Which features may be split on."""

    by_level: PyTree  # uint8 [levels, j]; the last row serves all deeper levels
    priority: PyTree  # float32 [q, j] or [0, j]: a node keeps the features with the
    kept: PyTree  # int32 [levels] least priority, so many of its level's


class Grown(NamedTuple):
    """A tree without leaf values, and where the rows ended."""

    nodes: Nodes  # `value` is -T(G) / (H + l2), float64, for every node
    leaf: PyTree  # int32 [n]
