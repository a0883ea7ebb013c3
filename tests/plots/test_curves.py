"""Curves show what was logged."""

import numpy as np
import pytest

from jaxlab.plots import curves


@pytest.fixture
def axes(monkeypatch):
    """Collect the axes of what is drawn."""
    drawn, save_figure = [], curves.save_figure

    def save(figure, path):
        drawn.extend(figure.axes)
        return save_figure(figure, path)

    monkeypatch.setattr(curves, "save_figure", save)
    return drawn


def test_learning_curves_show_every_metric(tmp_path, picture):
    rows = [{"step": t, "train/loss": 1 / t, "seconds": t} for t in (1, 2, 3)]
    rows.append({"step": 3, "test/loss": 0.4, "test/accuracy": 0.5})
    path = curves.learning_curves(tmp_path, rows)
    assert path == tmp_path / "curves.png"
    picture(path)


def test_no_metrics_make_no_picture(tmp_path):
    assert curves.learning_curves(tmp_path, []) is None


def test_runs_are_compared_over_steps_and_time(tmp_path, axes):
    runs = {}
    for number, name in enumerate(("a", "b"), 1):
        runs[name] = rows = []
        for step in (2, 4, 6):
            rows.append({"step": step - 1, "valid/loss": number / step})
            rows.append({"step": step, "train/loss": 1.0, "seconds": number * step})
    path = curves.compared_curves(tmp_path, runs, "valid/loss")
    assert path == tmp_path / "compared.png"
    assert path.exists()
    for number, (over_steps, over_time) in enumerate(
        zip(axes[0].lines, axes[1].lines, strict=True), 1
    ):
        np.testing.assert_allclose(over_steps.get_xdata(), [1, 3, 5])
        np.testing.assert_allclose(
            over_time.get_xdata(), [number, 3 * number, 5 * number]
        )
        np.testing.assert_allclose(over_time.get_ydata(), number / np.array([2, 4, 6]))


def test_why_train_may_lie_above_is_said_where_both_are_drawn(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, _: figures.append(figure))
    rows = [{"step": 1, "train/loss": 1.0}]
    curves.learning_curves(tmp_path, rows)
    curves.learning_curves(tmp_path, [*rows, {"step": 1, "valid/loss": 0.5}])
    alone, both = figures
    assert alone.get_supxlabel() == ""
    assert "train may lie above" in both.get_supxlabel()


def test_any_set_any_name_and_any_number_is_drawn(tmp_path, axes):
    rows = [
        {"step": 1, "train/loss": float("nan"), "odd$/lo$s": float("inf")},
        {"step": 2, "valid/auc": float("nan"), "held_out/loss": 1.0},
    ]
    assert curves.learning_curves(tmp_path, rows).exists()
    loss = next(one for one in axes if one.get_title() == "loss")
    assert {line.get_label() for line in loss.lines} == {"train", "held_out"}


def test_runs_without_the_metric_are_left_out(tmp_path, axes):
    runs = {"$a": [{"step": 1, "valid/loss": 1.0}], "b": [], "c": [{"step": 1}]}
    assert curves.compared_curves(tmp_path, runs, "valid/loss").exists()
    assert len(axes[0].lines) == 1
    assert curves.compared_curves(tmp_path, {"b": []}, "valid/loss") is None
