"""Gradient-boosted trees inside JAX: exact, reproducible, any differentiable loss.

    from jaxlab.trees import XGBoostClassifier
    XGBoostClassifier(n_estimators=200).fit(X, y).predict_proba(X)

Estimators (scikit-learn's interface), loaded when first asked for:

    xgboost              second order, regularised: XGBoost's settings
    gradient_boosting    Friedman's algorithm: scikit-learn's settings
    second_order, friedman    settings and training of the two families
    dart        dropout of trees
    settings, classes, inputs, estimator, importance, saving, progress    their parts

The functional core, from the whole to its parts:

    boosting    boost(binned, target, objective, config, key) -> Forest
    run         rounds on the devices, driven from the host;  stepping: for loops of
                their own;  config: what the user says, and what is compiled
    round       one round;  placement, sampling, leaf: its parts
    grow        one tree;  plan, expand, split, histogram, fixed_point: its parts
    objective   a loss and how leaves use it;  catalogue, losses, domain, diagonal,
                ranking, start, metric, ordering
    binning     features to bytes;  columns, cuts, codes, sketch
    predict     rows through trees
    tree        Nodes and Forest, the arrays
    native      kernels compiled for CPUs, where there is a compiler
"""

import importlib
from typing import Any

_HOME = {
    "XGBoostClassifier": "xgboost",
    "XGBoostRanker": "xgboost",
    "XGBoostRegressor": "xgboost",
    "GradientBoostingClassifier": "gradient_boosting",
    "GradientBoostingRegressor": "gradient_boosting",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
