"""MetricsRow over the steps, of one run and of several."""

import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from jaxlab.plots.figure import new_figure, picture, save_figure
from jaxlab.plots.lettering import shown

__all__ = ["compared_curves", "learning_curves"]

MetricsRow: TypeAlias = Mapping[str, Any]

_MOST_DOTS = 50  # on a curve
_LETTERS = 72  # of a note below one column
_FIRST = ("train", "test", "valid")  # sets, in the order of their colours
_NOTE = (
    "train: means over the updates before, as the network was then, with the dropout, "
    "augmentation and label smoothing of training; the others without them. So train "
    "may lie above the others"
)


@picture
def learning_curves(
    folder: pathlib.Path, rows: Sequence[MetricsRow]
) -> pathlib.Path | None:
    """Draw every metric over the steps, train beside the sets that are held out.

    Where both are there, a note says why they differ.

    Args:
        folder: Where to write.
        rows: MetricsRow as a run logs them: `step`, and values by `SET/NAME`.

    Returns:
        The path of `curves.png`, or None if there are no metrics.
    """
    logged = {name for row in rows for name in row if "/" in name}
    if not logged:
        return None
    sets = {name.split("/", 1)[0] for name in logged}
    ordered = [*_FIRST, *sorted(sets - {*_FIRST})]
    names = {name.split("/", 1)[1] for name in logged}
    chosen = sorted(names, key=lambda name: (name != "loss", name != "accuracy", name))
    columns = min(len(chosen), 4)
    lines = -(-len(chosen) // columns)
    figure = new_figure(3.6 * columns, 2.8 * lines)
    for position, name in enumerate(chosen, 1):
        axes = figure.add_subplot(lines, columns, position)
        for color, split in enumerate(ordered):
            points = [
                (row["step"], row[f"{split}/{name}"])
                for row in rows
                if f"{split}/{name}" in row
            ]
            if points:
                is_dotted = split != "train" and len(points) <= _MOST_DOTS
                style = "o-" if is_dotted else "-"
                points = [*zip(*points, strict=True)]
                look = {"label": shown(split), "color": f"C{color}", "markersize": 3}
                axes.plot(*points, style, **look)
        axes.set_title(shown(name.replace("_", " "), 36))
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right")
    if "train" in sets and len(sets) > 1:
        note = textwrap.fill(_NOTE, _LETTERS * columns)
        figure.supxlabel(note, fontsize=6, color="gray")
    return save_figure(figure, folder / "curves.png")


@picture
def compared_curves(
    folder: pathlib.Path, runs: Mapping[str, Sequence[MetricsRow]], metric: str
) -> pathlib.Path | None:
    """Draw one metric of several runs over the steps and over the time of training.

    Args:
        folder: Where to write.
        runs: Rows of metrics of each run, by its name, with `step` and `seconds`.
        metric: Name of the metric, such as `valid/loss`.

    Returns:
        The path of `compared.png`, or None if no run has the metric.
    """
    runs = {
        name: rows for name, rows in runs.items() if any(metric in row for row in rows)
    }
    if not runs:
        return None
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
            axes.plot(across, values, "o-", label=shown(name), markersize=3)
    for axes, label in zip(both, ("step", "seconds of training"), strict=True):
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    both[0].set_ylabel(shown(metric))
    both[0].legend(loc="upper right")
    return save_figure(figure, folder / "compared.png")
