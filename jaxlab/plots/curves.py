"""MetricsRow over the steps, of one run and of several."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from jaxlab.plots.figure import new_figure, save_figure

__all__ = ["compared_curves", "learning_curves"]

MetricsRow: TypeAlias = Mapping[str, Any]

_MOST_DOTS = 50  # on a curve


def learning_curves(
    folder: pathlib.Path, rows: Sequence[MetricsRow]
) -> pathlib.Path | None:
    """Draw every metric over the steps, train beside test.

    Args:
        folder: Where to write.
        rows: MetricsRow as a run logs them: `step`, and values by `SET/NAME`.

    Returns:
        The path of `curves.png`, or None if there are no metrics.
    """
    names = {name.split("/", 1)[1] for row in rows for name in row if "/" in name}
    if not names:
        return None
    shown = sorted(names, key=lambda name: (name != "loss", name != "accuracy", name))
    columns = min(len(shown), 4)
    lines = -(-len(shown) // columns)
    figure = new_figure(3.6 * columns, 2.8 * lines)
    for position, name in enumerate(shown, 1):
        axes = figure.add_subplot(lines, columns, position)
        for color, split in enumerate(("train", "test", "valid")):
            points = [
                (row["step"], row[f"{split}/{name}"])
                for row in rows
                if f"{split}/{name}" in row
            ]
            if points:
                is_dotted = split != "train" and len(points) <= _MOST_DOTS
                style = "o-" if is_dotted else "-"
                points = [*zip(*points, strict=True)]
                look = {"label": split, "color": f"C{color}", "markersize": 3}
                axes.plot(*points, style, **look)
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right")
    return save_figure(figure, folder / "curves.png")


def compared_curves(
    folder: pathlib.Path, runs: Mapping[str, Sequence[MetricsRow]], metric: str
) -> pathlib.Path:
    """Draw one metric of several runs over the steps and over the time of training.

    Args:
        folder: Where to write.
        runs: Rows of metrics of each run, by its name, with `step` and `seconds`.
        metric: Name of the metric, such as `valid/loss`.

    Returns:
        The path of `compared.png`.
    """
    figure = new_figure(9.0, 3.6)
    both = figure.subplots(1, 2, sharey=True)
    for name, rows in runs.items():
        steps, values = zip(
            *[(row["step"], row[metric]) for row in rows if metric in row], strict=True
        )
        timed = [(row["step"], row["seconds"]) for row in rows if "seconds" in row]
        known, seconds = np.array([(0, 0.0), *timed]).T
        times = np.interp(steps, known, seconds)
        for axes, across in zip(both, (steps, times), strict=True):
            axes.plot(across, values, "o-", label=name, markersize=3)
    for axes, label in zip(both, ("step", "seconds of training"), strict=True):
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    both[0].set_ylabel(metric)
    both[0].legend(loc="upper right")
    return save_figure(figure, folder / "compared.png")
