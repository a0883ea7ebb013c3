"""What boosting does, as its user says it and as the compiled program needs it."""

import dataclasses
from typing import Any, Literal

import numpy as np
from jax.sharding import Mesh

from jaxlab.trees.boost.round_spec import RoundNumbers, RoundSpec
from jaxlab.trees.grow.layout import num_leaves, tree_spec
from jaxlab.trees.grow.split import SplitNumbers
from jaxlab.trees.grow.tree import Forest, Nodes
from jaxlab.trees.objectives.objective import Objective
from jaxlab.trees.table.binning import Binner

__all__ = ["Config", "empty_forest", "make_numbers", "make_spec"]

Sampling = Literal["uniform", "goss"]
_EPSILON = 1e-6  # least gain of XGBoost: below it lies rounding


@dataclasses.dataclass(frozen=True)
class Config:
    """What boosting does. The defaults are XGBoost's."""

    num_rounds: int = 100
    learning_rate: float = 0.3
    max_depth: int = 6  # 0: any, if max_leaves is given
    max_leaves: int = 0  # 0: as many as the depth allows
    best_first: bool = (
        False  # split the leaf with the greatest gain, not level by level
    )
    l2: float = 1.0  # reg_lambda
    l1: float = 0.0  # reg_alpha
    min_gain: float = 0.0  # gamma
    min_hessian: float = 1.0  # min_child_weight
    min_rows: int = 2  # of a node to be split
    min_leaf_rows: int = 1
    max_delta_step: float = 0.0  # 0: any
    subsample: float = 1.0  # share of rows for a round
    sampling: Sampling = "uniform"
    top_rate: float = 0.2  # goss: share of rows with the largest gradients, all kept
    other_rate: float = 0.1  # goss: share of rows drawn from the others
    colsample_bytree: float = 1.0
    colsample_bylevel: float = 1.0
    colsample_bynode: float = 1.0
    max_onehot: int = 4  # categories up to which one is split off from the others
    monotone: tuple[int, ...] = ()  # by feature: 1 rising, -1 falling, 0 free
    interactions: tuple[tuple[int, ...], ...] = ()  # sets that may meet on a path
    friedman: bool = False  # trees on residuals, leaves by line search
    implementation: str = "auto"  # of histograms


def make_spec(
    config: Config,
    objective: Objective,
    binner: Binner,
    num_rows: int,
    *,
    metrics: tuple[str, ...] = (),
    watches_training: bool = False,
    is_weighted: bool = False,
    mesh: Mesh | None = None,
) -> RoundSpec:
    """Collect what the compiled program depends on."""
    # A hessian of 1 a row counts the rows, which `min_hessian` can then limit.
    counts_rows = config.friedman or objective.unit_hessian
    counts_rows &= not is_weighted and config.sampling != "goss"
    tree = tree_spec(
        binner,
        num_rows,
        max_depth=config.max_depth,
        max_leaves=config.max_leaves,
        best_first=config.best_first,
        max_onehot=config.max_onehot,
        has_monotone=any(config.monotone),
        has_counts=config.min_leaf_rows > 1 and not counts_rows,
        implementation=config.implementation,
        mesh=mesh,
    )
    return RoundSpec(
        tree=tree,
        objective=objective,
        metrics=metrics,
        watches_training=watches_training,
        friedman=config.friedman,
        is_weighted=is_weighted,
        sampling=_sampling(config),
        top_rate=config.top_rate,
        other_rate=config.other_rate,
        column_rates=(
            config.colsample_bytree,
            config.colsample_bylevel,
            config.colsample_bynode,
        ),
        mesh=mesh,
    )


def _sampling(config: Config) -> str:
    if config.sampling == "goss":
        return "goss"
    return "uniform" if config.subsample < 1 else "none"


def _rules(config: Config, spec: RoundSpec) -> SplitNumbers:
    least = config.min_hessian
    if config.min_leaf_rows > 1 and not spec.tree.has_counts:
        least = max(least, float(config.min_leaf_rows))
    return SplitNumbers(
        l2=np.float64(config.l2),
        l1=np.float64(config.l1),
        min_hessian=np.float64(least),
        min_gain=np.float64(max(config.min_gain, 0 if config.friedman else _EPSILON)),
        min_rows=np.float64(config.min_rows),
        max_delta_step=np.float64(config.max_delta_step or np.inf),
        min_leaf_rows=np.float64(config.min_leaf_rows),
    )


def make_numbers(config: Config, spec: RoundSpec) -> RoundNumbers:
    """Collect the numbers that may change without compiling."""
    return RoundNumbers(
        np.float32(config.learning_rate),
        _rules(config, spec),
        np.float32(config.subsample),
    )


def empty_forest(
    first: np.ndarray, config: Config, binner: Binner, num_rows: int
) -> Forest:
    """Make a forest without trees.

    Args:
        first: Raw scores to start from, float32 [outputs].
        config: Settings, which bound the size of a tree.
        binner: Binner of the features, which tells the number of bins.
        num_rows: Number of training rows, which bounds the size too.
    """
    width = 2 * num_leaves(num_rows, config.max_depth, config.max_leaves) - 1
    like = {
        "left": np.int32,
        "feature": np.int32,
        "bin": np.int32,
        "missing_left": np.bool_,
        "count": np.int32,
    }
    fields: dict[str, Any] = {
        field.name: np.zeros((0, width), like.get(field.name, np.float32))
        for field in dataclasses.fields(Nodes)
    }
    fields["left_bins"] = np.zeros((0, width, 8), np.uint32)
    return Forest(Nodes(**fields), first, binner.num_bins)
