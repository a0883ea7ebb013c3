"""Figures that no window shows, written as PNG files, and never the end of a run."""

import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from jaxlab.core.distributed import is_main_process
from jaxlab.core.files.replaced import replaced
from jaxlab.plots.lettering import font_families

__all__ = ["new_figure", "picture", "save_figure"]

_DOTS_PER_INCH = 120
_MOST_LETTERS = 300  # of what a library says

P = ParamSpec("P")
R = TypeVar("R")


def picture(draw: Callable[P, R]) -> Callable[P, R | None]:
    """Make a function that draws return None where it fails, and tell it in one line.

    A run that trained for days must not end because a name or a number cannot be
    drawn, or the disk is full.

    Args:
        draw: Draws and writes pictures.
    """

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            from matplotlib import rc_context

            with rc_context({"font.family": font_families()}):
                return draw(*args, **kwargs)
        except Exception as error:  # matplotlib, NumPy and Pillow raise anything
            why = " ".join(f"{type(error).__name__}: {error}".split())
            _tell(
                f"picture {draw.__name__.replace('_', ' ')} is left out: it could "
                f"not be drawn: {why[:_MOST_LETTERS]}"
            )
            return None

    return drawn


def _tell(line: str) -> None:
    if is_main_process():
        sys.stderr.write(f"{line}\n")


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
    with replaced(path, f"{path.stem}.part.png") as part:  # its ending is the format
        figure.savefig(part, dpi=_DOTS_PER_INCH)
    return path
