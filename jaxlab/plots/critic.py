"""Pictures of a critic in the plane: its contours, the data, the generator's points."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxlab.core.distributed import is_main_process
from jaxlab.core.files.npz import read_npz
from jaxlab.core.files.replaced import replaced
from jaxlab.plots.figure import new_figure, picture, save_figure
from jaxlab.plots.lettering import shown

__all__ = [
    "Stage",
    "animation",
    "final_picture",
    "keep_stage",
    "places_in_plane",
    "read_stages",
    "side_by_side",
    "stage_panels",
]

_LEVELS = 24  # contours
_DATA, _FAKE = "black", "tab:red"
_MOST_PANELS = 8
_FRAME_SECONDS, _LAST_SECONDS = 0.25, 2.0


class Stage(NamedTuple):
    """One moment of training.

    Attributes:
        step: Updates of the generator so far.
        samples: Points of the generator (n, 2).
        scores: The critic's at `places_in_plane` of some side, (side * side,).
    """

    step: int
    samples: np.ndarray
    scores: np.ndarray


def places_in_plane(extent: float, side: int) -> np.ndarray:
    """Give a square grid of places (side * side, 2) in [-extent, extent]."""
    line = np.linspace(-extent, extent, side, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


@picture
def keep_stage(folder: pathlib.Path, stage: Stage) -> pathlib.Path:
    """Keep a moment to draw it later, on one process.

    Returns:
        The path of a file with its step as the name.
    """
    path = folder / f"{stage.step}.npz"
    if not is_main_process():
        return path
    folder.mkdir(exist_ok=True)
    with replaced(path) as part, part.open("wb") as file:
        np.savez(file, samples=stage.samples, scores=stage.scores)
    return path


def read_stages(folder: pathlib.Path) -> list[Stage]:
    """Read the moments that were kept in a folder, in order."""
    steps = sorted((int(file.stem), file) for file in folder.glob("*.npz"))
    return [Stage(step, **read_npz(file)) for step, file in steps]


@picture
def stage_panels(
    folder: pathlib.Path, real: np.ndarray, stages: Sequence[Stage], extent: float
) -> pathlib.Path:
    """Draw some moments side by side, closer to each other at first.

    Args:
        folder: Folder of the run.
        real: Points of the data (n, 2).
        stages: In order of their steps.
        extent: Of the picture and of `places_in_plane`.

    Returns:
        The path of `stages.png`.
    """
    last = len(stages) - 1
    chosen = {0, *np.geomspace(1, max(last, 1), _MOST_PANELS - 1).round().astype(int)}
    shown = {f"step {stages[i].step:,}": stages[i] for i in sorted(chosen) if i <= last}
    return save_figure(_panels(real, shown, extent), folder / "stages.png")


@picture
def side_by_side(
    folder: pathlib.Path, real: np.ndarray, stages: Mapping[str, Stage], extent: float
) -> pathlib.Path:
    """Draw the last moments of several runs by name; see `stage_panels`.

    Returns:
        The path of `losses.png`.
    """
    return save_figure(_panels(real, stages, extent), folder / "losses.png")


@picture
def final_picture(
    folder: pathlib.Path, real: np.ndarray, stage: Stage, extent: float
) -> pathlib.Path:
    """Draw one moment large, with its scale; see `stage_panels`.

    Returns:
        The path of `final.png`.
    """
    figure = new_figure(7.2, 6.0)
    axes = figure.add_subplot()
    drawn = _draw(axes, real, stage, extent, size=4.0)
    figure.colorbar(drawn, ax=axes, label="critic, its mean subtracted")
    axes.set_title(f"step {stage.step:,}")
    _legend(figure, axes)
    return save_figure(figure, folder / "final.png")


@picture
def animation(
    folder: pathlib.Path, real: np.ndarray, stages: Sequence[Stage], extent: float
) -> pathlib.Path:
    """Draw all moments one after another; see `stage_panels`.

    Returns:
        The path of `stages.gif`.
    """
    from PIL import Image

    path = folder / "stages.gif"
    if not is_main_process():
        return path
    frames = []
    for stage in stages:
        figure = new_figure(4.4, 4.6)
        axes = figure.add_subplot()
        _draw(axes, real, stage, extent, size=3.0)
        axes.set_title(f"step {stage.step:,}", loc="left")
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        frames.append(Image.fromarray(pixels).quantize(128))
    times = [int(1000 * _FRAME_SECONDS)] * (len(frames) - 1)
    times.append(int(1000 * _LAST_SECONDS))
    first, *rest = frames
    with replaced(path, f"{path.stem}.part.gif") as part:  # Pillow reads the ending
        first.save(part, save_all=True, append_images=rest, duration=times, loop=0)
    return path


def _panels(real: np.ndarray, stages: Mapping[str, Stage], extent: float) -> Any:
    lines = max(1, round(len(stages) ** 0.5 / 1.4))
    columns = -(-len(stages) // lines)
    figure = new_figure(3.0 * columns, 3.2 * lines + 0.3)
    for place, (name, stage) in enumerate(stages.items(), 1):
        axes = figure.add_subplot(lines, columns, place)
        _draw(axes, real, stage, extent, size=2.0)
        axes.set_title(shown(name, 30), fontsize=10)
    _legend(figure, axes)
    return figure


def _draw(axes: Any, real: np.ndarray, stage: Stage, extent: float, size: float) -> Any:
    """Draw the contours of a critic under points of the data and of the generator."""
    side = round(len(stage.scores) ** 0.5)
    scores = stage.scores.reshape(side, side)
    scores = scores - scores.mean()
    line = np.linspace(-extent, extent, side)
    # A critic that is constant still needs levels that ascend.
    most = max(float(np.abs(scores).max(initial=0.0, where=scores == scores)), 1e-6)
    levels = np.linspace(-most, most, _LEVELS + 1)
    drawn = axes.contourf(line, line, scores, levels, cmap="PuOr_r", alpha=0.75)
    look = {"colors": "white", "linewidths": 0.4, "linestyles": "solid"}
    axes.contour(line, line, scores, levels, **look)
    points = {"s": size, "linewidths": 0, "rasterized": True}
    axes.scatter(*real.T, color=_DATA, label="data", **points)
    axes.scatter(*stage.samples.T, color=_FAKE, alpha=0.6, label="generator", **points)
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axes.set(xticks=[], yticks=[])
    return drawn


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    labels.append("critic: orange is real")
    from matplotlib.patches import Patch

    handles.append(Patch(color="tab:orange", alpha=0.7))
    look = {"markerscale": 4, "fontsize": 9, "frameon": False}
    figure.legend(handles, labels, loc="outside lower center", ncols=3, **look)
