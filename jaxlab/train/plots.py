"""Pictures of a run, as PNG files in its folder."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxlab.data.batches import Source
from jaxlab.train.figure import new_figure, save_figure
from jaxlab.train.run_folder import read_metrics

__all__ = [
    "compared_curves",
    "confusion_matrix",
    "feature_importance",
    "image_grid",
    "learning_curves",
]
__all__ += ["predicted_against_true", "predictions", "table_predictions"]

_MOST_DOTS = 50  # on a curve
_MOST_POINTS = 5000  # drawn one by one


def learning_curves(folder: pathlib.Path) -> pathlib.Path | None:
    """Draw every metric of `metrics.jsonl` over the steps, train beside test.

    Returns:
        The path of `curves.png`, or None if nothing is logged yet.
    """
    rows = read_metrics(folder)
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
        axes.legend()
    return save_figure(figure, folder / "curves.png")


def compared_curves(
    folder: pathlib.Path, runs: Mapping[str, pathlib.Path], metric: str
) -> pathlib.Path:
    """Draw one metric of several runs over the steps and over the time of training.

    Args:
        folder: Where to write.
        runs: Folders of the runs by name.
        metric: Such as `valid/loss`.

    Returns:
        The path of `compared.png`.
    """
    figure = new_figure(9.0, 3.6)
    both = figure.subplots(1, 2, sharey=True)
    for name, run in runs.items():
        rows = read_metrics(run)
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
    both[0].legend()
    return save_figure(figure, folder / "compared.png")


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
    side = float(np.clip(2.5 + 0.42 * count, 4, 16))
    figure = new_figure(side + 0.8, side)
    axes = figure.add_subplot()
    drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(drawn, ax=axes, label="% of the class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    if count <= 30:
        axes.set_xticks(range(count), class_names, rotation=45, ha="right")
        axes.set_yticks(range(count), class_names)
        for row, column in zip(*np.nonzero(share >= 0.5), strict=True):
            color = "white" if share[row, column] > 50 else "black"
            text = f"{share[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=color, size=7)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    axes.set_title(f"accuracy {accuracy:.2%} of {len(labels)}")
    return save_figure(figure, folder / "confusion.png")


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
        folder: Of the run.
        importance: By feature, at least 0, adding up to 1.
        names: Of the features.
        title: What is measured.
        most: Features shown; the others are added up.

    Returns:
        The path of `importance.png`.
    """
    order = np.argsort(-importance, kind="stable")
    shown, others = order[:most], order[most:]
    labels = [_cut(names[i], 32) for i in shown]
    shares = [100 * float(importance[i]) for i in shown]
    if len(others):
        labels.append(f"{len(others)} others")
        shares.append(100 * float(importance[others].sum()))
    figure = new_figure(6.0, 1.1 + 0.22 * len(labels))
    axes = figure.add_subplot()
    colors = ["tab:blue"] * len(shown) + ["lightgray"] * (len(labels) - len(shown))
    bars = axes.barh(range(len(labels)), shares, color=colors)
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.5 / len(labels))
    axes.set_xlabel("% of the whole")
    axes.set_title(title)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return save_figure(figure, folder / "importance.png")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def predicted_against_true(
    folder: pathlib.Path, target: np.ndarray, predicted: np.ndarray
) -> pathlib.Path:
    """Draw each prediction of a number over its true value: right ones on the line.

    Many points are drawn as a density, counted on a grid.

    Returns:
        The path of `predicted.png`.
    """
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
    error = float(np.sqrt(np.mean(np.square(predicted - target))))
    axes.set_title(f"root mean squared error {error:.4g} ({len(target)} rows)")
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.grid(alpha=0.3)
    axes.set_aspect("equal", adjustable="datalim")
    return save_figure(figure, folder / "predicted.png")


def table_predictions(
    folder: pathlib.Path,
    target: np.ndarray,
    predicted: np.ndarray,
    class_names: Sequence[str] = (),
) -> pathlib.Path:
    """Draw predictions for the rows of a table, as `jaxlab.train.scores` takes them.

    Returns:
        The path of `confusion.png`, or of `predicted.png` for numbers.
    """
    if not class_names:
        return predicted_against_true(folder, target, predicted)
    return confusion_matrix(folder, target, predicted.argmax(1), class_names)


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
        images: uint8, `(n, y, x, c)` with 1 or 3 channels.
        titles: Text above each, if any.
        colors: Of the titles.
        columns: Images in a row.
    """
    columns = min(columns, len(images))
    lines = -(-len(images) // columns)
    figure = new_figure(1.25 * columns, (1.5 if titles else 1.25) * lines)
    for position, image in enumerate(images):
        axes = figure.add_subplot(lines, columns, position + 1)
        axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray")
        axes.set_axis_off()
        if titles:
            color = colors[position] if colors else "black"
            axes.set_title(titles[position], fontsize=7, color=color)
    return save_figure(figure, path)


def predictions(
    folder: pathlib.Path,
    source: Source,
    predicted: np.ndarray,
    class_names: Sequence[str],
    *,
    num_images: int = 32,
) -> list[pathlib.Path]:
    """Draw the confusion matrix, and test images with what they were taken for.

    The first half of the grid are mistakes (as many as there are), in red with
    "predicted (label)"; the rest are the first images that are right.

    Returns:
        The paths of `confusion.png` and `predictions.png`.
    """
    labels = source.rows(np.arange(len(source)))["label"]
    wrong = np.flatnonzero(predicted != labels)[: num_images // 2]
    right = np.flatnonzero(predicted == labels)[: num_images - len(wrong)]
    chosen = np.concatenate([wrong, right])
    titles = [
        class_names[predicted[i]]
        if predicted[i] == labels[i]
        else f"{class_names[predicted[i]]} ({class_names[labels[i]]})"
        for i in chosen
    ]
    colors = ["firebrick" if predicted[i] != labels[i] else "black" for i in chosen]
    images = source.rows(chosen)["image"]
    grid = image_grid(folder / "predictions.png", images, titles, colors=colors)
    return [confusion_matrix(folder, labels, predicted, class_names), grid]
