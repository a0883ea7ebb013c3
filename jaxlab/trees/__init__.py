"""Gradient-boosted trees inside JAX: exact, reproducible, any differentiable loss.

    from jaxlab.trees import XGBoostClassifier
    XGBoostClassifier(n_estimators=200).fit(X, y).predict_proba(X)

The floors, imports only going down:

    estimators/   scikit-learn's interface, loaded when first asked for
    boost/        boost(binned, target, objective, config, key) -> Forest
    grow/         one tree of gradients and hessians, and rows through trees
    table/        features to bytes
    objectives/   losses of a row, and what leaves, metrics and starts need of them
    native        kernels compiled for CPUs, where there is a compiler
"""

import importlib
from typing import Any

_HOME = {
    "XGBoostClassifier": "estimators.xgboost",
    "XGBoostRanker": "estimators.xgboost",
    "XGBoostRegressor": "estimators.xgboost",
    "GradientBoostingClassifier": "estimators.gradient_boosting",
    "GradientBoostingRegressor": "estimators.gradient_boosting",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
