"""Gradient boosting of any table (Friedman 2001; Chen & Guestrin 2016).

python -m experiments.gbdt_tabular                        breast cancer, in seconds
python -m experiments.gbdt_tabular --data diabetes --algorithm friedman
python -m experiments.gbdt_tabular --data houses.csv --target price --drop id
python -m benchmarks tree_peers RUN_FOLDER                the other libraries, beside it
"""

import dataclasses
import itertools
from typing import Annotated, Literal

import jax
import numpy as np
import tyro

from jaxlab import trees
from jaxlab.core.mesh import make_mesh
from jaxlab.core.pytree import fingerprint
from jaxlab.core.ranges import (
    Count,
    InnerShare,
    Natural,
    NotNegative,
    Positive,
    PositiveShare,
    Range,
    Seed,
)
from jaxlab.core.recorded import record
from jaxlab.data.tables.find import Table, TableRows, Task, find_table
from jaxlab.metrics.scores import table_scores
from jaxlab.plots.tables import feature_importance, table_predictions
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.trees.boost import boosting
from jaxlab.trees.boost.drive import EarlyStopping
from jaxlab.trees.boost.stepping import (
    grown,
    make_state,
    make_step,
    watched_metric,
)
from jaxlab.trees.estimators.importance import importances, normalised
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.objectives.objective import with_friedman_leaves
from jaxlab.trees.table.binning import fit_binner

# By task: what is minimised, and what is watched, the last one to stop early.
GOALS: dict[Task, tuple[str, tuple[str, ...]]] = {
    "regression": ("reg:squarederror", ("mae", "rmse")),
    "binary": ("binary:logistic", ("auc", "logloss")),
    "multiclass": ("multi:softprob", ("merror", "mlogloss")),
}
ESTIMATORS = {  # of numbers, of classes: what the trained forest is saved as
    "xgboost": (trees.XGBoostRegressor, trees.XGBoostClassifier),
    "friedman": (trees.GradientBoostingRegressor, trees.GradientBoostingClassifier),
}


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "breast_cancer"  # diabetes, digits, iris, wine, a .csv or .npz, folder
    target: str = ""  # column of a file to predict: its name or position
    drop: tuple[str, ...] = ()  # columns to leave out
    task: Task = "auto"
    test_rate: InnerShare = 0.2  # share of the rows held out
    seed: Seed = 0
    steps: Count = 200  # rounds of boosting
    algorithm: Literal["xgboost", "friedman"] = "xgboost"
    learning_rate: Positive = 0.1
    max_depth: Natural = 4  # 0: any, if max_leaves is given
    max_leaves: Natural = (
        0  # split the best leaf first, up to so many; 0: level by level
    )
    l2: NotNegative = 1.0  # of leaf values (xgboost)
    subsample: PositiveShare = 1.0  # share of the rows for a round
    colsample_bytree: PositiveShare = 1.0  # share of the features for a tree
    max_bins: Annotated[int, Range(2, 255)] = 255  # for the values of a feature
    patience: Natural = 0  # rounds without gain that end training; 0: any
    valid_rate: InnerShare = 0.1  # share of the training rows to watch for that
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions(log_every=1, save_every=100)


SMOKE = Config(steps=6, max_depth=2)


def find_rows(config: Config) -> tuple[Table, TableRows, dict[str, TableRows]]:
    """Find the table, the rows to train on, and the sets that are watched."""
    table = find_table(
        config.data,
        config.run.data_dir,
        target=config.target,
        drop=config.drop,
        task=config.task,
        test_rate=config.test_rate,
        seed=config.seed,
    )
    train, sets = table.train, {"test": table.test}
    if config.patience:
        stratify = bool(table.class_names)
        train, sets["valid"] = train.split(config.valid_rate, config.seed, stratify)
    return table, train, sets


def main(config: Config) -> dict[str, float]:
    """Train, evaluate, draw, and return the final metrics."""
    table, train, sets = find_rows(config)
    goal, metrics = GOALS[table.task]
    objective = find_objective(goal, num_classes=len(table.class_names) or None)
    settings = boosting.Config(
        num_rounds=config.steps,
        best_first=config.max_leaves > 0,
        learning_rate=config.learning_rate,
        max_depth=config.max_depth,
        max_leaves=config.max_leaves,
        l2=config.l2,
        subsample=config.subsample,
        colsample_bytree=config.colsample_bytree,
    )
    if config.algorithm == "friedman":
        objective = with_friedman_leaves(objective)
        settings = dataclasses.replace(settings, friedman=True, l2=0.0, min_hessian=0.0)
    coded = np.flatnonzero(table.is_categorical)
    binner = fit_binner(train.features, max_bins=config.max_bins, categorical=coded)
    held_out = {
        name: boosting.HeldOut(
            boosting.bin_rows(binner, rows.features), rows.target.astype(np.float64)
        )
        for name, rows in sets.items()
    }
    rounds = boosting.prepare(
        boosting.bin_rows(binner, train.features),
        train.target.astype(np.float64),
        objective,
        settings,
        jax.random.key(config.seed),
        evaluations=held_out,
        metrics=metrics,
        watches_training=True,
        mesh=make_mesh(config.run.mesh) if config.run.mesh else None,
    )
    with RunFolder("gbdt_tabular", config) as run:
        run.say(f"{config.algorithm} boosting on {table}")
        kind = ESTIMATORS[config.algorithm][bool(table.class_names)]
        rows = [(part.features, part.target) for part in (table.train, table.test)]
        contents = fingerprint(rows)
        run.write_network(record(kind), class_names=table.class_names, data=contents)
        # The last metric of each goal is one that falls.
        stopping = EarlyStopping(config.patience) if config.patience else None
        fitted = fit(
            make_step(rounds),
            make_state(rounds, config.steps),
            lambda start: itertools.repeat({}),  # each round sees all rows
            steps=config.steps,
            batch_size=len(train),
            run=run,
            is_done=lambda state: (
                stopping is not None and stopping.is_over(watched_metric(state))
            ),
        )
        kept = config.steps
        if stopping is not None:
            kept = stopping.best_round(watched_metric(fitted.state)) + 1
        forest = grown(fitted.state, kept)
        model = kind.from_forest(forest, binner, classes=table.class_names or None)
        model.save_model(run.path / "model.npz")
        predict = getattr(model, "predict_proba", model.predict)
        predicted, names = predict(table.test.features), table.class_names
        scores = table_scores(table.test.target, predicted, names)
        facts = fitted.facts | {"rounds": forest.num_rounds}
        run.write_summary(scores, facts)
        table_predictions(run.path, table.test.target, predicted, names)
        worth = normalised(importances(forest, len(table.feature_names), "total_gain"))
        feature_importance(run.path, worth, table.feature_names, "gain of its splits")
        return run.finish(scores, facts)


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
