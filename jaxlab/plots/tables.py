"""Predictions for the rows of a table, and what its features are worth."""

import pathlib
from collections.abc import Sequence

import numpy as np

from jaxlab.plots.figure import new_figure, picture, save_figure
from jaxlab.plots.images import confusion_matrix
from jaxlab.plots.lettering import shown

__all__ = ["feature_importance", "predicted_against_true", "table_predictions"]

_MOST_POINTS = 5000  # drawn one by one


@picture
def feature_importance(
    folder: pathlib.Path,
    importance: np.ndarray,
    names: Sequence[str],
    title: str = "",
    *,
    most: int = 20,
) -> pathlib.Path:
    """Draw what each feature of a table is worth, the largest on top.

    Args:
        folder: Where to write.
        importance: By feature, at least 0, adding up to 1.
        names: Name of each feature.
        title: What is measured.
        most: Features shown; the others are added up.

    Returns:
        The path of `importance.png`.
    """
    order = np.argsort(-importance, kind="stable")
    first, others = order[:most], order[most:]
    labels = [shown(names[i], 32) for i in first]
    shares = [100 * float(importance[i]) for i in first]
    if len(others):
        labels.append(f"{len(others)} others")
        shares.append(100 * float(importance[others].sum()))
    figure = new_figure(6.0, 1.1 + 0.22 * len(labels))
    axes = figure.add_subplot()
    colors = ["tab:blue"] * len(first) + ["lightgray"] * (len(labels) - len(first))
    bars = axes.barh(range(len(labels)), shares, color=colors)
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.5 / len(labels))
    axes.set_xlabel("% of the whole")
    axes.set_title(shown(title, 60))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return save_figure(figure, folder / "importance.png")


@picture
def predicted_against_true(
    folder: pathlib.Path, target: np.ndarray, predicted: np.ndarray
) -> pathlib.Path:
    """Draw each prediction of a number over its true value: right ones on the line.

    Many points are drawn as a density, counted on a grid. Rows that are not finite are
    left out, and counted in the title.

    Returns:
        The path of `predicted.png`.
    """
    is_known = np.isfinite(target) & np.isfinite(predicted)
    lost, target, predicted = (~is_known).sum(), target[is_known], predicted[is_known]
    if not len(target):
        raise ValueError(f"none of {lost} rows has finite numbers")
    figure = new_figure(5.2, 4.6)
    axes = figure.add_subplot()
    low = float(min(target.min(), predicted.min()))
    high = float(max(target.max(), predicted.max()))
    if len(target) > _MOST_POINTS:
        drawn = axes.hexbin(target, predicted, gridsize=60, bins="log", mincnt=1)
        figure.colorbar(drawn, ax=axes, label="rows")
    else:
        axes.scatter(target, predicted, s=10, alpha=0.5, linewidths=0)
    axes.plot([low, high], [low, high], color="black", linewidth=0.8)
    without = f", {lost} not finite" if lost else ""
    error = float(np.sqrt(np.mean(np.square(predicted - target))))
    axes.set_title(f"root mean squared error {error:.4g} ({len(target)} rows{without})")
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.grid(alpha=0.3)
    axes.set_aspect("equal", adjustable="datalim")
    return save_figure(figure, folder / "predicted.png")


@picture
def table_predictions(
    folder: pathlib.Path,
    target: np.ndarray,
    predicted: np.ndarray,
    class_names: Sequence[str] = (),
) -> pathlib.Path | None:
    """Draw predictions for the rows of a table, as `jaxlab.metrics.scores` takes them.

    Returns:
        The path of `confusion.png`, or of `predicted.png` for numbers.
    """
    if not class_names:
        return predicted_against_true(folder, target, predicted)
    return confusion_matrix(folder, target, predicted.argmax(1), class_names)
