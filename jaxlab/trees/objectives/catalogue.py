"""The objectives that have a name: XGBoost's, and scikit-learn's beside them.

Where two libraries mean the same loss, the names are synonyms. Two pairs differ in the
slope where a raw score equals its target, and each follows its library:
reg:absoluteerror and absolute_error, reg:quantileerror and quantile.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.trees.objectives import losses
from jaxlab.trees.objectives.objective import Domain, Leaf, Objective, from_loss
from jaxlab.trees.objectives.ranking import Ranking

__all__ = ["NAMES", "find_objective", "settings_of"]


def _between(name: str, value: Any, lower: float | int, upper: float | int) -> float:
    if not lower < value < upper:
        raise InputError(f"{name} {value!r} is not between {lower:g} and {upper:g}")
    return float(value)


def _levels(name: str, value: Any) -> tuple[float, ...]:
    levels = tuple(_between(name, float(level), 0, 1) for level in np.atleast_1d(value))
    if not levels:
        raise InputError(f"{name} {value!r} is empty; 0.5 gives the median")
    return levels


_line_search = functools.partial(
    Objective, unit_hessian=True, leaf=Leaf.QUANTILE, alpha=(0.5,), metric="mae"
)


def _quantile(quantile_alpha: Any = 0.5) -> Objective:
    alpha = _levels("quantile_alpha", quantile_alpha)
    return _line_search(
        "reg:quantileerror",
        losses.Pinball(alpha),
        num_outputs=len(alpha),
        alpha=alpha,
        metric="quantile",
    )


def _quantile_below(alpha: Any = 0.9) -> Objective:
    levels = _levels("alpha", alpha)
    return _line_search(
        "quantile",
        losses.Pinball(levels, "below"),
        num_outputs=len(levels),
        alpha=levels,
        metric="quantile",
    )


def _huber(alpha: float | int = 0.9) -> Objective:
    levels = (_between("alpha", alpha, 0, 1),)
    return _line_search("huber", losses.huber, leaf=Leaf.HUBER, alpha=levels)


def _pseudo_huber(huber_slope: float | int = 1.0) -> Objective:
    slope = _between("huber_slope", huber_slope, 0, np.inf)
    return Objective("reg:pseudohubererror", losses.PseudoHuber(slope), metric="mphe")


def _logistic() -> Objective:
    return Objective(
        "binary:logistic",
        losses.logistic,
        link=losses.sigmoid,
        domain=Domain.PROBABILITY,
        metric="logloss",
    )


def _focal(
    focal_gamma: float | int = 2.0, focal_alpha: float | int = 0.25
) -> Objective:
    gamma = _between("focal_gamma", focal_gamma, -1e-300, np.inf)
    loss = losses.Focal(gamma, _between("focal_alpha", focal_alpha, 0, 1))
    return Objective(
        "binary:focal",
        loss,
        link=losses.sigmoid,
        domain=Domain.BINARY,
        metric="logloss",
    )


def _softmax(num_classes: int | None = None) -> Objective:
    if num_classes is None or num_classes < 2:
        raise InputError(
            f"num_classes {num_classes} is not at least 2, as multi:softprob needs; "
            "give the number of classes"
        )
    return Objective(
        "multi:softprob",
        losses.softmax_loss,
        num_outputs=num_classes,
        link=losses.softmax,
        hessian_factor=2.0,
        domain=Domain.LABEL,
        metric="mlogloss",
    )


def _log_loss(num_classes: int | None = None) -> Objective:
    return _softmax(num_classes) if (num_classes or 2) > 2 else _logistic()


def _poisson(max_delta_step: float | int = 0.7) -> Objective:
    # XGBoost's hessian is exp(raw + max_delta_step), to keep early steps small.
    step = _between("max_delta_step", max_delta_step, -1e-300, np.inf)
    return Objective(
        "count:poisson",
        losses.poisson,
        link=losses.exp,
        hessian_factor=float(np.exp(step)),
        domain=Domain.NON_NEGATIVE,
        metric="poisson-nloglik",
        max_delta_step=step,
    )


def _tweedie(tweedie_variance_power: float | int = 1.5) -> Objective:
    power = _between("tweedie_variance_power", tweedie_variance_power, 1, 2)
    return Objective(
        "reg:tweedie",
        losses.Tweedie(power),
        link=losses.exp,
        domain=Domain.NON_NEGATIVE,
        metric=f"tweedie-nloglik@{power:g}",
    )


def _ranking(
    by_ndcg: bool,
    *,
    lambdarank_num_pair_per_sample: int | None = 32,
    lambdarank_normalization: bool = True,
    lambdarank_score_normalization: bool = True,
    ndcg_exp_gain: bool = True,
) -> Objective:
    top = lambdarank_num_pair_per_sample
    if top is not None and top < 1:
        raise InputError(
            f"lambdarank_num_pair_per_sample {top} is not at least 1; None pairs all"
        )
    loss = Ranking(
        by_ndcg=by_ndcg,
        top=top,
        normalize_query=lambdarank_normalization,
        normalize_score=lambdarank_score_normalization,
        exponential_gain=ndcg_exp_gain,
    )
    return Objective(
        "rank:ndcg" if by_ndcg else "rank:pairwise",
        loss,
        hessian_factor=2.0,
        domain=Domain.RELEVANCE if by_ndcg and ndcg_exp_gain else Domain.NON_NEGATIVE,
        metric="ndcg" if top is None else f"ndcg@{top}",
        needs_all_rows=True,
    )


_MAKERS: dict[str, Callable[..., Objective]] = {
    "reg:squarederror": functools.partial(
        Objective, "reg:squarederror", losses.squared, metric="rmse"
    ),
    "reg:absoluteerror": functools.partial(
        _line_search, "reg:absoluteerror", losses.absolute
    ),
    "absolute_error": functools.partial(
        _line_search, "absolute_error", losses.absolute_below
    ),
    "reg:quantileerror": _quantile,
    "quantile": _quantile_below,
    "huber": _huber,
    "reg:pseudohubererror": _pseudo_huber,
    "binary:logistic": _logistic,
    "binary:focal": _focal,
    "exponential": functools.partial(
        Objective,
        "exponential",
        losses.exponential,
        link=losses.sigmoid_of_double,
        domain=Domain.BINARY,
    ),
    "multi:softprob": _softmax,
    "log_loss": _log_loss,
    "count:poisson": _poisson,
    "reg:gamma": functools.partial(
        Objective,
        "reg:gamma",
        losses.gamma,
        link=losses.exp,
        domain=Domain.POSITIVE,
        metric="gamma-deviance",
    ),
    "reg:tweedie": _tweedie,
    "rank:pairwise": functools.partial(_ranking, False),
    "rank:ndcg": functools.partial(_ranking, True),
}
_SYNONYMS = {
    "squared_error": "reg:squarederror",
    "pseudo_huber": "reg:pseudohubererror",
    "multi:softmax": "multi:softprob",
    "poisson": "count:poisson",
    "gamma": "reg:gamma",
    "tweedie": "reg:tweedie",
}
NAMES = (*_MAKERS, *_SYNONYMS)


def _settings(maker: Callable[..., Objective]) -> set[str]:
    """Name the settings that an objective takes."""
    if getattr(maker, "func", None) is Objective:
        return set()
    return set(inspect.signature(maker).parameters) - {"by_ndcg"}


def settings_of(objective: Any) -> set[str]:
    """Name the settings that an objective takes by its name; none if it is unknown."""
    if not isinstance(objective, str):
        return set()
    maker = _MAKERS.get(_SYNONYMS.get(objective, objective))
    return _settings(maker) - {"num_classes"} if maker else set()


def find_objective(
    objective: str | Callable[..., Any] | Objective,
    *,
    num_classes: int | None = None,
    **settings: Any,
) -> Objective:
    """Find an objective by its name, or make one of a loss.

    Args:
        objective: One of `NAMES`; or a loss (see `from_loss`), for `num_classes` above
            2 with that many raw scores; or an objective, which is given back.
        num_classes: For classification with several classes.
        settings: Of the objective: quantile_alpha, huber_slope and so on; of a loss:
            num_outputs, link, name.

    Raises:
        InputError: If the name or a setting is unknown, or a value out of range.
    """
    if isinstance(objective, Objective):
        return objective
    if callable(objective):
        if num_classes is not None and num_classes > 2:
            settings.setdefault("num_outputs", num_classes)
        return from_loss(objective, **settings)
    maker = _MAKERS.get(_SYNONYMS.get(objective, objective))
    if maker is None:
        raise InputError(
            f"objective {objective!r} is unknown; use one of {', '.join(NAMES)}, or a "
            "function loss(raw, target)"
        )
    allowed = _settings(maker)
    for name in settings:
        if name not in allowed:
            known = ", ".join(sorted(allowed - {"num_classes"})) or "none"
            raise InputError(
                f"{name} is no setting of objective {objective}; it takes: {known}"
            )
    if "num_classes" in allowed:
        settings["num_classes"] = num_classes
    return maker(**settings)
