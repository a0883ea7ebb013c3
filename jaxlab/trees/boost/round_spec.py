"""What a round of boosting is given: a specification, numbers, rows."""

import dataclasses
from typing import Any, NamedTuple

from jax.sharding import Mesh

from jaxlab.core.typing import PyTree
from jaxlab.trees.grow.problem import PlacedTable, TreeSpec
from jaxlab.trees.grow.split import SplitNumbers
from jaxlab.trees.objectives.objective import Objective

__all__ = ["RoundNumbers", "RoundSpec", "TrainData", "Watched"]


@dataclasses.dataclass(frozen=True)
class RoundSpec:
    """What the compiled program depends on."""

    tree: TreeSpec
    objective: Objective
    metrics: tuple[str, ...] = ()
    watches_training: bool = False  # metrics of the training rows, before the others
    friedman: bool = False
    is_weighted: bool = False
    sampling: str = "none"  # none, uniform, goss
    top_rate: float = 0.2
    other_rate: float = 0.1
    column_rates: tuple[float, float, float] = (1.0, 1.0, 1.0)
    mesh: Mesh | None = None


class RoundNumbers(NamedTuple):
    """Numbers that may change without compiling."""

    learning_rate: Any
    rules: SplitNumbers
    subsample: Any


class TrainData(NamedTuple):
    """The training rows, padded; split over the devices of a mesh."""

    table: PlacedTable  # `num_rows` counts those of all devices
    target: PyTree  # float32 [n]
    weight: PyTree  # float32 [n], 0 for padding
    groups: PyTree  # of all rows, or None


class Watched(NamedTuple):
    """Held-out rows, padded; whole on every device."""

    bins: PyTree  # uint8 [n, j]
    target: PyTree
    weight: PyTree  # 0 for padding
    groups: PyTree
