"""The other libraries of boosted trees that are installed, with the same settings.

They are imported when they are asked for: nothing in jaxlab needs them.

python -m benchmarks tree_peers RUN_FOLDER    beside a run of experiments.gbdt_tabular
"""

import argparse
import dataclasses
import functools
import importlib
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from benchmarks.harness import timed
from jaxlab.core.errors import InputError
from jaxlab.core.printed_table import table_lines
from jaxlab.metrics.scores import table_scores

Fit: TypeAlias = Callable[[], Any]  # gives a fitted estimator


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all the libraries understand."""

    num_rounds: int = 100
    learning_rate: float = 0.1
    max_depth: int = 6  # 0: any
    max_leaves: int = 0  # 0: as many as the depth allows
    l2: float = 1.0
    subsample: float = 1.0
    colsample_bytree: float = 1.0  # share of the features for a tree
    max_bins: int = 256  # of values; 255 where one more is for missing values
    seed: int = 0
    friedman: bool = False  # jaxlab's GradientBoosting estimators, not its XGBoost ones
    is_classifier: bool = True
    categorical: tuple[int, ...] = ()  # columns that hold codes of categories

    @property
    def leaves(self) -> int:
        """Leaves of a tree at most."""
        return self.max_leaves or 1 << self.max_depth


def num_cores() -> int:
    """Count what this process may use; LightGBM would take half of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def xgboost(settings: Settings, **more: Any) -> Any:
    """Make an XGBoost estimator."""
    import xgboost

    kind = xgboost.XGBClassifier if settings.is_classifier else xgboost.XGBRegressor
    return kind(
        n_estimators=settings.num_rounds,
        learning_rate=settings.learning_rate,
        max_depth=settings.max_depth,
        max_leaves=settings.max_leaves,
        grow_policy="lossguide" if settings.max_leaves else "depthwise",
        reg_lambda=settings.l2,
        subsample=settings.subsample,
        colsample_bytree=settings.colsample_bytree,
        max_bin=settings.max_bins,
        tree_method="hist",
        n_jobs=num_cores(),
        random_state=settings.seed,
        **more,
    )


def lightgbm(settings: Settings, **more: Any) -> Any:
    """Make a LightGBM estimator."""
    import lightgbm

    kind = lightgbm.LGBMClassifier if settings.is_classifier else lightgbm.LGBMRegressor
    return kind(
        n_estimators=settings.num_rounds,
        learning_rate=settings.learning_rate,
        max_depth=settings.max_depth or -1,
        num_leaves=settings.leaves,
        reg_lambda=settings.l2,
        subsample=settings.subsample,
        subsample_freq=int(settings.subsample < 1),
        colsample_bytree=settings.colsample_bytree,
        max_bin=min(settings.max_bins, 255),
        n_jobs=num_cores(),
        random_state=settings.seed,
        verbose=-1,
        **more,
    )


def scikit_learn(settings: Settings) -> Any:
    """Make scikit-learn's histogram estimator, which has no samples of rows."""
    from sklearn import ensemble

    kind = (
        ensemble.HistGradientBoostingClassifier
        if settings.is_classifier
        else ensemble.HistGradientBoostingRegressor
    )
    return kind(
        max_iter=settings.num_rounds,
        learning_rate=settings.learning_rate,
        max_depth=settings.max_depth or None,
        max_leaf_nodes=settings.leaves,
        l2_regularization=settings.l2,
        max_bins=min(settings.max_bins, 255),
        max_features=settings.colsample_bytree,
        categorical_features=list(settings.categorical) or None,
        early_stopping=False,
        random_state=settings.seed,
    )


def jaxlab(settings: Settings, **more: Any) -> Any:
    """Make jaxlab's own estimator."""
    from jaxlab import trees

    if settings.friedman:
        friedman = (
            trees.GradientBoostingClassifier
            if settings.is_classifier
            else trees.GradientBoostingRegressor
        )
        return friedman(
            n_estimators=settings.num_rounds,
            learning_rate=settings.learning_rate,
            max_depth=settings.max_depth or None,
            max_leaf_nodes=settings.max_leaves or None,
            subsample=settings.subsample,
            max_features=settings.colsample_bytree,
            max_bins=min(settings.max_bins, 255),
            random_state=settings.seed,
            **more,
        )
    kind = trees.XGBoostClassifier if settings.is_classifier else trees.XGBoostRegressor
    return kind(
        n_estimators=settings.num_rounds,
        learning_rate=settings.learning_rate,
        max_depth=settings.max_depth,
        max_leaves=settings.max_leaves,
        grow_policy="lossguide" if settings.max_leaves else "depthwise",
        reg_lambda=settings.l2,
        subsample=settings.subsample,
        colsample_bytree=settings.colsample_bytree,
        max_bin=settings.max_bins,
        categorical_features=list(settings.categorical) or None,
        random_state=settings.seed,
        **more,
    )


def fits(settings: Settings, X: np.ndarray, y: np.ndarray) -> dict[str, Fit]:
    """Give what each library that is installed fits, by name."""
    kinds = ["q"] * X.shape[1]
    for column in settings.categorical:
        kinds[column] = "c"
    known: dict[str, Fit] = {
        "jaxlab": lambda: jaxlab(settings).fit(X, y),
        "xgboost": lambda: xgboost(
            settings, feature_types=kinds, enable_categorical=True
        ).fit(X, y),
        "lightgbm": lambda: lightgbm(settings).fit(
            X, y, categorical_feature=list(settings.categorical)
        ),
        "lightgbm quantised": lambda: lightgbm(settings, use_quantized_grad=True).fit(
            X, y, categorical_feature=list(settings.categorical)
        ),
        "sklearn": lambda: scikit_learn(settings).fit(X, y),
    }
    return {name: fit for name, fit in known.items() if is_installed(name.split()[0])}


def is_installed(name: str) -> bool:
    """Import a library, if it is there."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def version(name: str) -> str:
    """Name a library with its version."""
    found = importlib.import_module(name.split()[0]).__version__
    return f"{name} {found}"


def predict(model: Any, X: np.ndarray) -> np.ndarray:
    """Predict numbers [n], or probabilities [n, classes]."""
    return getattr(model, "predict_proba", model.predict)(X)


def compare(folder: pathlib.Path, data_dir: str = "") -> list[dict[str, Any]]:
    """Fit each library that is installed twice, as a run of trees was.

    Args:
        folder: Run folder of `experiments.gbdt_tabular`.
        data_dir: Where its table lies, as the run was told.

    Returns:
        The rows of a table.

    Raises:
        InputError: If the folder holds no finished run of trees.
    """
    from experiments import gbdt_tabular  # not where only fits are measured

    config, num_rounds = _read_run(folder, data_dir)
    table = gbdt_tabular.find(config)
    train, test = table.train, table.test
    names = {field.name for field in dataclasses.fields(Settings)}
    settings = Settings(
        num_rounds=num_rounds,
        friedman=config.algorithm == "friedman",
        is_classifier=bool(table.class_names),
        categorical=tuple(np.flatnonzero(table.is_categorical).tolist()),
        **{name: value for name, value in vars(config).items() if name in names},
    )
    rows = []
    for name, fit in fits(settings, train.features, train.target).items():
        if name == "lightgbm quantised":
            continue
        seconds = []
        for _ in range(2):
            model, spent = timed(fit)
            seconds.append(spent)
        predict(model, test.features)
        predicted, spent = timed(functools.partial(predict, model, test.features))
        rows.append(
            {
                "library": version(name),
                **table_scores(test.target, predicted, table.class_names),
                "first_fit_s": round(seconds[0], 4),
                "second_fit_s": round(seconds[1], 4),
                "predict_s": round(spent, 5),
            }
        )
    return rows


def _read_run(folder: pathlib.Path, data_dir: str) -> tuple[Any, int]:
    """Read the configuration of a run of trees, and how many rounds it kept."""
    from experiments import gbdt_tabular
    from jaxlab.train.run_files import read_config
    from jaxlab.train.run_options import RunOptions

    try:
        experiment, saved = read_config(folder)
        rounds = json.loads((folder / "summary.json").read_text())["chosen_step"]
        if experiment != "gbdt_tabular":
            raise KeyError("gbdt_tabular")
    except (InputError, OSError, ValueError, KeyError):
        raise InputError(
            f"folder {folder} holds no finished run of experiments.gbdt_tabular; give "
            "the run folder that one has printed"
        ) from None
    names = {field.name for field in dataclasses.fields(gbdt_tabular.Config)}
    known = {name: value for name, value in saved.items() if name in names}
    known["drop"] = tuple(known.get("drop", ()))
    return gbdt_tabular.Config(**known, run=RunOptions(data_dir=data_dir)), rounds


def main(args: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks tree_peers")
    parser.add_argument("run_folder", type=pathlib.Path, help="of a run of trees")
    parser.add_argument("--data-dir", default="", help="as the run was told")
    chosen = parser.parse_args(args)
    try:
        rows = compare(chosen.run_folder, chosen.data_dir)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    print("\n".join(table_lines(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
