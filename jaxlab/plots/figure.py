"""Figures that no window shows, written as PNG files."""

import pathlib
from typing import Any

from jaxlab.core.distributed import is_main_process

__all__ = ["new_figure", "save_figure"]

_DOTS_PER_INCH = 120


def new_figure(width: float, height: float) -> Any:
    """Make a figure that no window shows and no global state keeps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: pathlib.Path) -> pathlib.Path:
    """Write a figure at once, on one process."""
    if not is_main_process():
        return path
    part = path.with_suffix(".part.png")
    figure.savefig(part, dpi=_DOTS_PER_INCH)
    return part.replace(path)
