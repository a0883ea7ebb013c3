"""What training refuses before it starts."""

from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Range, check_number
from jaxlab.trees.boost.config import Config
from jaxlab.trees.grow.tree import Forest
from jaxlab.trees.table.binning import Binner

__all__ = [
    "RANGES",
    "check_config",
    "check_origin",
    "check_rows",
    "check_scores",
    "check_weight",
]


_SHARE = Range(0.0, 1.0, is_open=True)
# By setting of `Config`; estimators check theirs, under other names, with the same.
RANGES = {
    "num_rounds": Range(0),
    "learning_rate": Range(0.0),
    "max_depth": Range(0),
    "max_leaves": Range(0),
    "l2": Range(0.0),
    "l1": Range(0.0),
    "min_gain": Range(0.0),
    "min_hessian": Range(0.0),
    "max_delta_step": Range(0.0),
    "subsample": _SHARE,
    "top_rate": _SHARE,
    "other_rate": _SHARE,
    "colsample_bytree": _SHARE,
    "colsample_bylevel": _SHARE,
    "colsample_bynode": _SHARE,
}
_OF_GOSS = ("top_rate", "other_rate")


def check_rows(num_rows: int, target: np.ndarray, weight: np.ndarray | None) -> None:
    """Refuse a target or weights that do not fit the rows.

    Raises:
        InputError: If a shape is wrong, or a weight is not finite, negative, or all 0.
    """
    if target.shape != (num_rows,):
        raise InputError(
            f"target has shape {target.shape}, but there are {num_rows} rows; "
            "give one number a row"
        )
    if weight is not None:
        if weight.shape != target.shape:
            raise InputError(
                f"weight has shape {weight.shape}, but there are {len(target)} rows; "
                "give one number a row"
            )
        check_weight("weight", weight)


def check_weight(name: str, weight: np.ndarray) -> None:
    """Refuse weights of rows that are not finite, negative, or all 0.

    Args:
        name: What the user calls them.
        weight: One number a row.

    Raises:
        InputError: With the least and the greatest.
    """
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise InputError(
            f"{name} goes from {weight.min()} to {weight.max()}; weights must be "
            "finite, not negative, and not all zero"
        )


def check_scores(offset: Any, shape: tuple[int, int]) -> None:
    """Refuse raw scores to start from that do not fit the rows.

    Raises:
        InputError: If the shape is not [outputs, rows].
    """
    if offset is not None and np.shape(offset) not in (shape, shape[1:]):
        raise InputError(
            f"offset has shape {np.shape(offset)}, but there are {shape[0]} outputs "
            f"and {shape[1]} rows; give one number for each"
        )


def check_origin(
    init: Forest, num_outputs: int, binner: Binner, held_out: dict[str, Binner]
) -> None:
    """Refuse forests and held-out rows that were binned for other features.

    Raises:
        InputError: If features, bins or outputs are others than in training.
    """
    used = int(np.asarray(init.nodes.feature).max(initial=-1)) + 1
    if init.num_bins != binner.num_bins or used > binner.num_features:
        raise InputError(
            f"init splits {used} features into {init.num_bins} bins, but the rows have "
            f"{binner.num_features} features in {binner.num_bins}; bin the rows with "
            "the binner that the forest was trained with"
        )
    if init.num_outputs != num_outputs:
        raise InputError(
            f"init has {init.num_outputs} outputs, but the objective {num_outputs}; go "
            "on with the objective that the forest was trained with"
        )
    for name, other in held_out.items():
        size, own = (other.num_features, other.num_bins), binner.num_bins
        if size != (binner.num_features, own):
            raise InputError(
                f"evaluation {name!r} has {size[0]} features in {size[1]} bins, but "
                f"training has {binner.num_features} in {own}; bin it with the binner "
                "of the training rows"
            )


def check_config(config: Config, num_features: int) -> None:
    """Refuse settings out of range.

    Raises:
        InputError: With the setting and what is allowed.
    """
    for name, allowed in RANGES.items():
        if config.sampling == "goss" or name not in _OF_GOSS:
            check_number(name, getattr(config, name), allowed)
    if not config.max_depth and not config.max_leaves:
        raise InputError(
            "max_depth 0 and max_leaves 0 would let a tree grow without end; give one"
        )
    if config.max_leaves == 1:
        raise InputError(
            "max_leaves 1 cannot be used; give 0 for any number, or at least 2"
        )
    _check_features(config, num_features)
    if config.sampling not in ("uniform", "goss"):
        raise InputError(f"sampling {config.sampling!r} is not uniform or goss")
    top, other = config.top_rate, config.other_rate
    if config.sampling == "goss" and (top == 1 or other > 1 - top):
        raise InputError(
            f"top_rate {top} and other_rate {other} must be above 0 and together at "
            "most 1, such as 0.2 and 0.1"
        )


def _check_features(config: Config, num_features: int) -> None:
    signs = config.monotone
    if signs and (len(signs) != num_features or not set(signs) <= {-1, 0, 1}):
        raise InputError(
            f"monotone {signs} must be a sign, -1, 0 or 1, for each of {num_features} "
            "features"
        )
    for group in config.interactions:
        wrong = [feature for feature in group if not 0 <= feature < num_features]
        if wrong:
            raise InputError(
                f"interactions name feature {wrong[0]}, but there are {num_features}; "
                f"use indices from 0 to {num_features - 1}"
            )
