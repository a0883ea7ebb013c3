"""Images side by side, and what a classifier took them for."""

import pathlib
import shutil
from collections.abc import Callable, Sequence

import numpy as np

from jaxlab.core.distributed import is_main_process
from jaxlab.plots.figure import new_figure, picture, save_figure
from jaxlab.plots.lettering import shortened, shown

__all__ = ["confusion_matrix", "image_grid", "predictions", "sample_grid"]

_MOST_LETTERS = 20  # of a name: so many fit above an image


@picture
def confusion_matrix(
    folder: pathlib.Path,
    labels: np.ndarray,
    predicted: np.ndarray,
    class_names: Sequence[str],
) -> pathlib.Path:
    """Draw how often each class (row) was taken for each (column), in percent.

    Returns:
        The path of `confusion.png`.
    """
    count = len(class_names)
    matrix = np.zeros((count, count))
    np.add.at(matrix, (labels, predicted), 1)
    share = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    longest = min(max(map(len, class_names), default=0), _MOST_LETTERS)
    side = float(np.clip(2.5 + 0.42 * count + 0.06 * longest, 4, 16))
    figure = new_figure(side + 0.8, side)
    axes = figure.add_subplot()
    drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(drawn, ax=axes, label="% of the class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    if count <= 30:
        names = [shown(name, _MOST_LETTERS) for name in class_names]
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(count), names, fontsize=8, **turned)
        axes.set_yticks(range(count), names, fontsize=8)
        for row, column in zip(*np.nonzero(share >= 0.5), strict=True):
            color = "white" if share[row, column] > 50 else "black"
            text = f"{share[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=color, size=7)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    axes.set_title(f"accuracy {accuracy:.2%} of {len(labels)}")
    return save_figure(figure, folder / "confusion.png")


@picture
def image_grid(
    path: pathlib.Path,
    images: np.ndarray,
    titles: Sequence[str] = (),
    *,
    colors: Sequence[str] = (),
    columns: int = 8,
) -> pathlib.Path:
    """Draw images side by side.

    Args:
        path: The PNG file to write.
        images: uint8, `(n, y, x, c)`: black is 0 and white 255 in all of them. Of 3
            channels a colour; of any other number the grey of their mean.
        titles: Text above each, if any.
        colors: Colour of each title; black by default.
        columns: Images in a row.
    """
    columns = max(min(columns, len(images)), 1)
    lines = max(-(-len(images) // columns), 1)
    figure = new_figure(1.25 * columns, (1.5 if titles else 1.25) * lines)
    axes = figure.add_subplot()
    axes.set_axis_off()
    # One picture of all: an axes for each image would take seconds.
    side = max(images.shape[1:3])
    gap, room = -(-side // 12), -(-side // 4) if titles else 0
    height, width = images.shape[1] + gap + room, images.shape[2] + gap
    whole = np.full((lines * height, columns * width, 3), 255, np.uint8)
    for position, image in enumerate(images):
        line, column = divmod(position, columns)
        y, x = line * height + room, column * width
        if image.shape[-1] != 3:
            image = image.mean(-1, keepdims=True).round()
        whole[y : y + images.shape[1], x : x + images.shape[2]] = image
        if titles:
            axes.text(
                x + images.shape[2] / 2 - 0.5,
                y - 0.5 - side / 16,
                shown(titles[position], _MOST_LETTERS),
                color=colors[position] if colors else "black",
                fontsize=7,
                ha="center",
            )
    axes.imshow(whole, interpolation="nearest")
    return save_figure(figure, path)


@picture
def sample_grid(folder: pathlib.Path, images: np.ndarray, step: int) -> pathlib.Path:
    """Draw what a generator makes after some updates; see `image_grid`.

    Args:
        folder: Folder of the run.
        images: As `image_grid` draws them.
        step: Updates so far.

    Returns:
        The path of `samples.png`, of which a copy has the step in its name.
    """
    path = folder / "samples.png"
    if image_grid(path, images, columns=10) and is_main_process():
        shutil.copyfile(path, folder / f"samples-{step:06}.png")
    return path


@picture
def predictions(
    folder: pathlib.Path,
    labels: np.ndarray,
    predicted: np.ndarray,
    images: Callable[[np.ndarray], np.ndarray],
    class_names: Sequence[str],
    *,
    num_images: int = 32,
) -> list[pathlib.Path]:
    """Draw the confusion matrix, and images with what they were taken for.

    The first half of the grid are mistakes (as many as there are), in red with
    "predicted (label)"; the rest are images that are right. Both are spread evenly over
    the examples, which may lie class by class.

    Args:
        folder: Where to write.
        labels: Class of each example.
        predicted: Class that each example was taken for.
        images: Gives the images, as `image_grid` draws them, of examples by number.
        class_names: Names of the classes.
        num_images: Number of images in the grid.

    Returns:
        The paths of `confusion.png` and `predictions.png`.
    """
    wrong = _spread(np.flatnonzero(predicted != labels), num_images // 2)
    right = _spread(np.flatnonzero(predicted == labels), num_images - len(wrong))
    chosen = np.concatenate([wrong, right])
    titles = [
        class_names[predicted[i]]
        if predicted[i] == labels[i]
        else _both(class_names[predicted[i]], class_names[labels[i]])
        for i in chosen
    ]
    colors = ["firebrick" if predicted[i] != labels[i] else "black" for i in chosen]
    grid = image_grid(folder / "predictions.png", images(chosen), titles, colors=colors)
    drawn = [confusion_matrix(folder, labels, predicted, class_names), grid]
    return [path for path in drawn if path is not None]


def _both(predicted: str, label: str) -> str:
    """Name two classes in the room of one."""
    both = f"{predicted} ({label})"
    if both == shortened(both, _MOST_LETTERS):
        return both
    most = (_MOST_LETTERS - 3) // 2
    return f"{shortened(predicted, most)} ({shortened(label, most)})"


def _spread(found: np.ndarray, count: int) -> np.ndarray:
    """Take at most `count` values, evenly spaced from the first to the last."""
    places = np.linspace(0, max(len(found) - 1, 0), min(count, len(found)))
    return found[places.round().astype(int)]
