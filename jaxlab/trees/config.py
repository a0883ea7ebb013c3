"""What boosting does, as its user says it and as the compiled program needs it."""

import dataclasses
from typing import Any, Literal

import numpy as np
from jax.sharding import Mesh

from jaxlab.trees.binning import Binner
from jaxlab.trees.grow import can_compile
from jaxlab.trees.histogram import choose
from jaxlab.trees.objective import Objective
from jaxlab.trees.placement import padded_rows
from jaxlab.trees.plan import Shape
from jaxlab.trees.round import Hyper, Plan
from jaxlab.trees.split import Limits, Rules
from jaxlab.trees.tree import Forest, Nodes

__all__ = ["Config", "empty_forest", "make_hyper", "make_plan"]

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


def make_plan(
    config: Config,
    objective: Objective,
    binner: Binner,
    num_rows: int,
    *,
    metrics: tuple[str, ...] = (),
    watches_training: bool = False,
    is_weighted: bool = False,
    mesh: Mesh | None = None,
) -> Plan:
    """Collect what the compiled program depends on."""
    num_devices = 1 if mesh is None else mesh.size
    implementation = choose(config.implementation)
    limits = Limits(
        has_categories=bool(binner.is_categorical.any()),
        has_monotone=any(config.monotone),
        max_onehot=config.max_onehot,
    )
    # A hessian of 1 a row counts the rows, which `min_hessian` can then limit.
    counts_rows = config.friedman or objective.unit_hessian
    counts_rows &= not is_weighted and config.sampling != "goss"
    has_counts = config.min_leaf_rows > 1 and not counts_rows
    axis_name = None if mesh is None else tuple(mesh.axis_names)
    is_whole = can_compile(
        implementation, has_counts=has_counts, num_devices=num_devices
    )
    rows = padded_rows(num_rows, num_devices)
    shape = Shape(
        num_bins=binner.num_bins,
        num_rows=rows,
        max_depth=config.max_depth,
        max_leaves=_num_leaves(config, num_rows),
        best_first=config.best_first,
        implementation=implementation,
        is_whole=is_whole,
        has_counts=has_counts,
        limits=limits,
        axis_name=axis_name,
    )
    return Plan(
        shape=shape,
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


def _num_leaves(config: Config, num_rows: int) -> int:
    """Bound the leaves of a tree; by the rows in sizes that data sets share."""
    most = 1 << (max(num_rows, 2) - 1).bit_length()
    if config.max_depth and config.max_depth < 31:
        most = min(most, 1 << config.max_depth)
    return min(config.max_leaves, most) if config.max_leaves else most


def _rules(config: Config, plan: Plan) -> Rules:
    least = config.min_hessian
    if config.min_leaf_rows > 1 and not plan.shape.has_counts:
        least = max(least, float(config.min_leaf_rows))
    return Rules(
        l2=np.float64(config.l2),
        l1=np.float64(config.l1),
        min_hessian=np.float64(least),
        min_gain=np.float64(max(config.min_gain, 0 if config.friedman else _EPSILON)),
        min_rows=np.float64(config.min_rows),
        max_delta_step=np.float64(config.max_delta_step or np.inf),
        min_leaf_rows=np.float64(config.min_leaf_rows),
    )


def make_hyper(config: Config, plan: Plan) -> Hyper:
    """Collect the numbers that may change without compiling."""
    return Hyper(
        np.float32(config.learning_rate),
        _rules(config, plan),
        np.float32(config.subsample),
    )


def empty_forest(
    first: np.ndarray, config: Config, binner: Binner, num_rows: int
) -> Forest:
    """Make a forest without trees.

    Args:
        first: Raw scores to start from, float32 [outputs].
        config: For the greatest size of a tree.
        binner: For the number of bins.
        num_rows: Likewise.
    """
    width = 2 * _num_leaves(config, num_rows) - 1
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
