"""Gradient boosting of any table (Friedman 2001; Chen & Guestrin 2016).

python -m experiments.gbdt_tabular                        breast cancer, in seconds
python -m experiments.gbdt_tabular --data diabetes --algorithm friedman
python -m experiments.gbdt_tabular --data houses.csv --target price --drop id
python -m benchmarks tree_peers RUN_FOLDER                the other libraries, beside it

The model is that of the round with the least loss on the valid rows, as CatBoost keeps
it, and XGBoost and LightGBM if they stop early; `--valid-rate 0` trains on these rows
too and keeps the last round. The test rows are looked at once, at the end.
"""

import dataclasses
import itertools
from typing import Annotated, Literal

import jax
import numpy as np
import tyro

from jaxlab import trees
from jaxlab.core.errors import InputError
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
    Rate,
    Seed,
)
from jaxlab.core.recorded import record
from jaxlab.data.tables.find import Table, Task, find_table
from jaxlab.metrics.scores import table_scores
from jaxlab.plots.tables import feature_importance, table_predictions
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.trees.boost import boosting
from jaxlab.trees.boost.drive import EarlyStopping
from jaxlab.trees.boost.run import Run
from jaxlab.trees.boost.stepping import (
    grown,
    make_state,
    make_step,
    watched_metric,
)
from jaxlab.trees.estimators.importance import importances, normalised
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.objectives.objective import with_friedman_leaves
from jaxlab.trees.table.binning import Binner, fit_binner

# By task: what is minimised, and what is watched; the last one, which falls, chooses.
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
    max_leaves: Natural = 0  # best leaf first, up to so many; 0: level by level
    l2: NotNegative = 1.0  # of leaf values (xgboost)
    subsample: PositiveShare = 1.0  # share of the rows for a round
    colsample_bytree: PositiveShare = 1.0  # share of the features for a tree
    max_bins: Annotated[int, Range(2, 255)] = 255  # for the values of a feature
    valid_rate: Rate = 0.1  # share of the training rows that choose; 0: keep the last
    patience: Natural = 0  # rounds without gain on these that end training; 0: any
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions(log_every=1, save_every=100)


SMOKE = Config(steps=6, max_depth=2)


def find(config: Config) -> Table:
    """Find the table, its rows to train on, to choose by and to test on."""
    if config.patience and not config.valid_rate:
        raise InputError(
            f"patience {config.patience} needs rows to watch; give --valid-rate .1"
        )
    return find_table(
        config.data,
        config.run.data_dir,
        target=config.target,
        drop=config.drop,
        task=config.task,
        test_rate=config.test_rate,
        valid_rate=config.valid_rate,
        seed=config.seed,
    )


def prepare(config: Config, table: Table) -> tuple[Run, Binner]:
    """Put the rows in bins, and begin the rounds."""
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
    binner = fit_binner(
        table.train.features, max_bins=config.max_bins, categorical=coded
    )
    watched = {}
    if len(table.valid):
        bins = boosting.bin_rows(binner, table.valid.features)
        target = table.valid.target.astype(np.float64)
        watched["valid"] = boosting.HeldOut(bins, target)
    rounds = boosting.prepare(
        boosting.bin_rows(binner, table.train.features),
        table.train.target.astype(np.float64),
        objective,
        settings,
        jax.random.key(config.seed),
        evaluations=watched,
        metrics=metrics,
        watches_training=True,
        mesh=make_mesh(config.run.mesh) if config.run.mesh else None,
    )
    return rounds, binner


def main(config: Config) -> dict[str, float]:
    """Train, choose a round, test, draw, and return the final metrics."""
    table = find(config)
    train, valid, test = table.train, table.valid, table.test
    rounds, binner = prepare(config, table)
    with RunFolder("gbdt_tabular", config) as run:
        run.say(f"{config.algorithm} boosting on {table}")
        kind = ESTIMATORS[config.algorithm][bool(table.class_names)]
        run.write_network(
            record(kind),
            class_names=table.class_names,
            data=fingerprint([vars(rows) for rows in (train, valid, test)]),
        )
        # Without patience never over: it only finds the best round.
        stopping = EarlyStopping(config.patience or config.steps)
        fitted = fit(
            make_step(rounds),
            make_state(rounds, config.steps),
            lambda start: itertools.repeat({}),  # each round sees all rows
            steps=config.steps,
            batch_size=len(train),
            run=run,
            is_done=lambda state: (
                config.patience > 0 and stopping.is_over(watched_metric(state))
            ),
        )
        chosen, chosen_by = config.steps, "last"
        if len(valid):
            chosen = stopping.best_round(watched_metric(fitted.state)) + 1
            chosen_by = f"valid/{GOALS[table.task][1][-1]}"
            run.say(f"kept         round {chosen} of {fitted.steps}, by {chosen_by}")
        forest = grown(fitted.state, chosen)
        model = kind.from_forest(forest, binner, classes=table.class_names or None)
        model.save_model(run.path / "model.npz")
        predict = getattr(model, "predict_proba", model.predict)
        predicted, names = predict(test.features), table.class_names
        scores = table_scores(test.target, predicted, names)
        facts = fitted.facts | {"chosen_step": chosen, "chosen_by": chosen_by}
        facts |= {"sets": table.sets}
        run.write_summary(scores, facts)
        table_predictions(run.path, test.target, predicted, names)
        worth = normalised(importances(forest, len(table.feature_names), "total_gain"))
        feature_importance(run.path, worth, table.feature_names, "gain of its splits")
        return run.finish(scores, facts)


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
