"""Pictures of what a model says of a table."""

import numpy as np

from jaxlab.plots import tables as plots


def test_importance_shows_the_greatest_and_adds_up_the_others(tmp_path, rng, picture):
    names = [f"a rather long name of feature number {i}" for i in range(40)]
    path = plots.feature_importance(tmp_path, rng.dirichlet(np.ones(40)), names, "gain")
    assert path == tmp_path / "importance.png"
    picture(path)
    picture(plots.feature_importance(tmp_path, np.array([1.0]), ["only"]))
    picture(plots.feature_importance(tmp_path, np.zeros(2), ["never", "split"]))


def test_predictions_of_a_table_are_drawn_by_what_they_are(tmp_path, rng, picture):
    target = rng.normal(size=50)
    path = plots.table_predictions(tmp_path, target, target + 0.1)
    assert path == tmp_path / "predicted.png"
    picture(path)
    many = rng.normal(size=6000)
    picture(plots.table_predictions(tmp_path, many, many + rng.normal(size=6000)))
    chances = rng.dirichlet(np.ones(3), 50)
    labels = rng.integers(0, 3, 50)
    path = plots.table_predictions(tmp_path, labels, chances, ("a", "b", "c"))
    assert path == tmp_path / "confusion.png"


def test_names_and_numbers_of_any_kind_are_drawn(tmp_path, rng, picture):
    names = ["$price$", "a_{", "猫" * 30, ""]
    worth = np.array([0.5, np.nan, 0.5, 0.0])
    picture(plots.feature_importance(tmp_path, worth, names, "gain in $"))
    target = rng.normal(size=6)
    predicted = target + np.array([0.1, np.nan, np.inf, 0.2, 0.0, -0.1])
    picture(plots.table_predictions(tmp_path, target, predicted))
    picture(plots.table_predictions(tmp_path, target[:1], target[:1]))


def test_numbers_of_which_none_is_known_are_told(tmp_path, told):
    nothing = np.full(3, np.nan)
    for target in (nothing, nothing[:0]):
        assert plots.predicted_against_true(tmp_path, target, target) is None
    assert "none of 3 rows has finite numbers" in told[0]
    assert len(told) == 2
