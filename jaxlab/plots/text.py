"""Pictures of sequence models: what they attend to, how far they remember."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxlab.plots.figure import new_figure, picture, save_figure
from jaxlab.plots.lettering import shown

__all__ = ["attention_maps", "gradient_by_lag"]

_MOST_TOKENS = 100  # of a side: more are cut off
_MOST_LETTERS = 16  # of a token


@picture
def attention_maps(
    folder: pathlib.Path,
    weights: np.ndarray,
    sources: Sequence[Sequence[str]],
    targets: Sequence[Sequence[str]],
) -> pathlib.Path:
    """Draw how strongly each token of the output (row) looks at the input (columns).

    Args:
        folder: Folder of the run.
        weights: `(n, t, m)`: by example, each row adding up to 1.
        sources: Pieces of text by example, at most m.
        targets: Pieces of text by example, at most t.

    Returns:
        The path of `attention.png`.
    """
    sources, targets = ([t[:_MOST_TOKENS] for t in all] for all in (sources, targets))
    count = len(weights)
    columns = min(count, 2)
    lines = -(-count // columns)
    widest, tallest = (max(map(len, texts)) for texts in (sources, targets))
    size = (1.0 + 0.2 * widest, 1.0 + 0.2 * tallest)
    figure = new_figure(size[0] * columns, size[1] * lines)
    for place, (of, source, target) in enumerate(
        zip(weights, sources, targets, strict=True), 1
    ):
        axes = figure.add_subplot(lines, columns, place)
        axes.imshow(of[: len(target), : len(source)], cmap="Blues", vmin=0, vmax=1)
        axes.set_xlabel("input")
        axes.set_ylabel("output")
        axes.set_xticks(range(len(source)), map(_visible, source), rotation=90)
        axes.set_yticks(range(len(target)), map(_visible, target))
        axes.tick_params(labelsize=7, length=0)
        axes.xaxis.tick_top()
    return save_figure(figure, folder / "attention.png")


def _visible(piece: str) -> str:
    """Show spaces and ends of lines."""
    return shown(piece.replace(" ", "␣").replace("\n", "↵"), _MOST_LETTERS)


@picture
def gradient_by_lag(
    folder: pathlib.Path, norms: Mapping[str, np.ndarray]
) -> pathlib.Path:
    """Draw how strongly the last output depends on each earlier input.

    Relative to the last input: vectors of tokens have another scale in each model.

    Args:
        folder: Folder of the run.
        norms: By model, the mean norm of the derivative by the lag in tokens, from 0.

    Returns:
        The path of `gradient_by_lag.png`.
    """
    figure = new_figure(6.0, 4.0)
    axes = figure.add_subplot()
    for name, values in norms.items():
        lags = np.arange(len(values))
        tiny = np.finfo(np.float32).tiny  # zero has no logarithm
        relative = np.maximum(values / max(float(values[0]), tiny), tiny)
        axes.semilogy(lags, relative, label=shown(name))
    axes.set_xlabel("lag in tokens")
    axes.set_ylabel("norm of the gradient, over that of lag 0")
    axes.set_title("how the last output depends on an input so many tokens before")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    return save_figure(figure, folder / "gradient_by_lag.png")
