"""XGBoost's settings, as the functional core has them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Range, check_number
from jaxlab.trees.boost.boosting import Config
from jaxlab.trees.boost.checks import RANGES
from jaxlab.trees.boost.dart import Dart
from jaxlab.trees.estimators.inputs import feature_places, read_choice
from jaxlab.trees.objectives import losses
from jaxlab.trees.objectives.catalogue import find_objective, settings_of
from jaxlab.trees.objectives.objective import Objective

__all__ = ["config_of", "dart_of", "objective_of", "raw_base_score", "raw_scores"]

# What XGBoost's settings are called in the functional core.
_CORE_NAMES = {
    "max_depth": "max_depth",
    "max_leaves": "max_leaves",
    "reg_lambda": "l2",
    "reg_alpha": "l1",
    "gamma": "min_gain",
    "min_child_weight": "min_hessian",
    "subsample": "subsample",
    "colsample_bytree": "colsample_bytree",
    "colsample_bylevel": "colsample_bylevel",
    "colsample_bynode": "colsample_bynode",
}


def config_of(
    estimator: Any, objective: Objective, features: Sequence[str], num_features: int
) -> Config:
    """Read an estimator's settings.

    Args:
        estimator: With XGBoost's attributes.
        objective: For the settings that it brings.
        features: Names of the features; empty without.
        num_features: How many there are.

    Raises:
        InputError: If one cannot be used.
    """
    for name, core_name in _CORE_NAMES.items():
        check_number(name, getattr(estimator, name), RANGES[core_name])
    rate = dataclasses.replace(
        RANGES["learning_rate"], is_open=True
    )  # 0 would learn nothing
    check_number("learning_rate", estimator.learning_rate, rate)
    check_number("n_estimators", estimator.n_estimators, Range(1))
    step = estimator.max_delta_step
    if step is not None:
        check_number("max_delta_step", step, RANGES["max_delta_step"])
    policy = read_choice(
        "grow_policy", estimator.grow_policy, ("depthwise", "lossguide")
    )
    method = read_choice(
        "sampling_method", estimator.sampling_method, ("uniform", "goss")
    )
    if method == "goss":
        for name in ("top_rate", "other_rate"):
            check_number(name, getattr(estimator, name), RANGES[name])
        if estimator.top_rate + estimator.other_rate > 1:
            raise InputError(
                f"top_rate {estimator.top_rate} and other_rate {estimator.other_rate} "
                "are more than all rows; let them add up to at most 1"
            )
    return Config(
        num_rounds=int(estimator.n_estimators),
        learning_rate=float(estimator.learning_rate),
        max_depth=int(estimator.max_depth),
        max_leaves=int(estimator.max_leaves),
        best_first=policy == "lossguide",
        l2=float(estimator.reg_lambda),
        l1=float(estimator.reg_alpha),
        min_gain=float(estimator.gamma),
        min_hessian=float(estimator.min_child_weight),
        max_delta_step=float(objective.max_delta_step if step is None else step),
        subsample=float(estimator.subsample),
        sampling=method,
        top_rate=float(estimator.top_rate),
        other_rate=float(estimator.other_rate),
        colsample_bytree=float(estimator.colsample_bytree),
        colsample_bylevel=float(estimator.colsample_bylevel),
        colsample_bynode=float(estimator.colsample_bynode),
        max_onehot=int(estimator.max_cat_to_onehot),
        monotone=_monotone(estimator.monotone_constraints, features, num_features),
        interactions=tuple(
            tuple(feature_places(group, features, num_features))
            for group in estimator.interaction_constraints or ()
        ),
        implementation=estimator.implementation,
    )


def _monotone(
    given: Any, features: Sequence[str], num_features: int
) -> tuple[int, ...]:
    """Read constraints by place or by name."""
    if given is None:
        return ()
    if isinstance(given, dict):
        signs = [0] * num_features
        places = feature_places(list(given), features, num_features)
        for place, sign in zip(places, given.values(), strict=True):
            signs[place] = sign
    else:
        signs = list(given)
    if len(signs) != num_features or not set(signs) <= {-1, 0, 1}:
        raise InputError(
            f"monotone_constraints {given!r} cannot be used; give one of -1, 0, 1 for "
            f"each of the {num_features} features, or a dictionary by feature"
        )
    return tuple(int(sign) for sign in signs)


def dart_of(estimator: Any) -> Dart | None:
    """Read the settings of DART, if the booster is one."""
    if read_choice("booster", estimator.booster, ("gbtree", "dart")) == "gbtree":
        return None
    check_number("rate_drop", estimator.rate_drop, Range(0, 1))
    check_number("skip_drop", estimator.skip_drop, Range(0, 1))
    sampling, scaling = ("uniform", "weighted"), ("tree", "forest")
    return Dart(
        rate_drop=float(estimator.rate_drop),
        skip_drop=float(estimator.skip_drop),
        one_drop=bool(estimator.one_drop),
        by_weight=read_choice("sample_type", estimator.sample_type, sampling)
        == "weighted",
        as_forest=read_choice("normalize_type", estimator.normalize_type, scaling)
        == "forest",
    )


def objective_of(
    estimator: Any, name: Any, num_classes: int | None, link: Any
) -> Objective:
    """Find the objective, with those of the estimator's settings that it takes."""
    if callable(name) and not isinstance(name, Objective):
        outputs = estimator.num_outputs
        settings = {} if outputs is None else {"num_outputs": outputs}
        return find_objective(name, num_classes=num_classes, link=link, **settings)
    settings = {
        setting: getattr(estimator, setting)
        for setting in settings_of(name)
        if hasattr(estimator, setting)
    }
    if settings.get("max_delta_step", 0) is None:
        del settings["max_delta_step"]
    return find_objective(name, num_classes=num_classes, **settings)


def raw_scores(objective: Objective, prediction: np.ndarray) -> np.ndarray:
    """Invert the link: log odds of a probability, the logarithm of a mean.

    A link of the user's own is not inverted: then predictions are raw scores.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if objective.link in (losses.exp, losses.softmax):
            return np.log(prediction)
        if objective.link is losses.sigmoid:
            return np.log(prediction) - np.log1p(-prediction)
        if objective.link is losses.sigmoid_of_double:
            return 0.5 * (np.log(prediction) - np.log1p(-prediction))
    return prediction


def raw_base_score(objective: Objective, base_score: Any) -> np.ndarray:
    """Give the raw scores [outputs] of one prediction for all rows.

    Raises:
        InputError: If it has no raw score.
    """
    given = np.asarray(base_score, np.float64)
    found = np.reshape(raw_scores(objective, np.atleast_1d(given)), given.shape)
    if not np.isfinite(found).all() or found.shape not in (
        (),
        (objective.num_outputs,),
    ):
        raise InputError(
            f"base_score {base_score!r} is no prediction of objective "
            f"{objective.name}; give one number, or one for each of "
            f"{objective.num_outputs} outputs: a probability between 0 and 1 for "
            "classes, a positive mean for logarithmic links"
        )
    return np.broadcast_to(found, objective.num_outputs)
