"""What training refuses, before anything is compiled."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees.boost.boosting import Config, HeldOut, bin_rows, prepare, train
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.table.binning import fit_binner

ROWS, FEATURES = 60, 3
CONFIG = Config(num_rounds=2, max_depth=2)


@pytest.fixture
def table(rng):
    X = rng.normal(size=(ROWS, FEATURES))
    return X, X[:, 0] + X[:, 1] > 0


def begin(X, y, *, config=CONFIG, objective="binary:logistic", **options):
    binned = bin_rows(fit_binner(X), X)
    key = jax.random.key(0)
    return prepare(
        binned, y.astype(float), find_objective(objective), config, key, **options
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"monotone": (1, 0)}, "for each of 3 features"),
        ({"monotone": (2, 0, 0)}, "a sign, -1, 0 or 1"),
        ({"interactions": ((0, 3),)}, "name feature 3.*indices from 0 to 2"),
        ({"sampling": "goss", "top_rate": 1.0}, "together at most 1"),
        ({"sampling": "goss", "top_rate": 0.7, "other_rate": 0.5}, "at most 1"),
        (
            {"learning_rate": -0.1},
            "learning_rate -0.1 must be at least 0",
        ),
        ({"subsample": 0.0}, "subsample 0.0 must be above 0 and at most 1"),
        ({"max_depth": 0}, "grow without end"),
        ({"max_leaves": 1}, "max_leaves 1 cannot be used; give 0 for any number"),
    ],
)
def test_settings_out_of_range_are_named(table, settings, message):
    with pytest.raises(InputError, match=message):
        begin(*table, config=dataclasses.replace(CONFIG, **settings))


def test_rows_that_do_not_fit_are_refused(table):
    X, y = table
    with pytest.raises(InputError, match=r"target has shape \(59,\).*60 rows"):
        begin(X, y[1:])
    with pytest.raises(InputError, match=r"weight has shape \(2,\)"):
        begin(X, y, weight=np.ones(2))
    with pytest.raises(InputError, match="not all zero"):
        begin(X, y, weight=np.zeros(ROWS))
    with pytest.raises(InputError, match=r"offset has shape \(3,\)"):
        begin(X, y, offset=np.zeros(3))
    begin(X, y, offset=np.zeros(ROWS), weight=np.ones(ROWS))


def test_other_features_outputs_and_bins_are_refused(table, rng):
    X, y = table
    binned = bin_rows(fit_binner(X), X)
    forest = train(
        binned, y * 1.0, find_objective("binary:logistic"), CONFIG, jax.random.key(0)
    ).forest
    with pytest.raises(InputError, match="init has 1 outputs, but the objective 3"):
        begin(X, y, objective=find_objective("log_loss", num_classes=3), init=forest)
    narrow = X[:, :1]
    with pytest.raises(InputError, match="the rows have 1 features"):
        begin(narrow, y, init=forest)
    held_out = HeldOut(bin_rows(fit_binner(narrow), narrow), y * 1.0)
    with pytest.raises(InputError, match="evaluation 'valid' has 1 features"):
        begin(X, y, evaluations={"valid": held_out})
    few = rng.integers(0, 3, size=X.shape)
    with pytest.raises(InputError, match="in 17"):
        begin(few, y, init=forest)
