"""Several runs of one experiment below one folder, side by side."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jaxlab.plots.curves import compared_curves
from jaxlab.train.run_folder import RunFolder, read_metrics

__all__ = ["train_all"]

C = TypeVar("C")


def train_all(
    run: RunFolder,
    configs: Mapping[str, C],
    train: Callable[[C, RunFolder], tuple[dict[str, float], dict[str, Any]]],
    metric: str,
) -> list[dict[str, Any]]:
    """Train several configurations, each in a folder of its own below that of a run.

    Asked again, those that are done are not trained anew. Draws `compared.png`.

    Args:
        run: The run that they are parts of.
        configs: Configurations by name, with a field `run` as `RunFolder` wants it.
        train: Trains one, and gives its metrics and other facts.
        metric: What to draw, such as `valid/loss`.

    Returns:
        By configuration its `name`, facts, metrics and `seconds` of training.
    """
    rows, run.was_finished = [], True
    for name, config in configs.items():
        options = config.run  # type: ignore[attr-defined]
        options = dataclasses.replace(options, run_dir=str(run.path / name))
        alone: Any = dataclasses.replace(config, run=options)  # type: ignore[type-var]
        with RunFolder(
            run.experiment, alone, free=run.free, resume_path=run.path
        ) as part:
            metrics, facts = train(alone, part)
            part.finish(metrics, **facts)
            seconds = part.work["training_seconds"]
        rows.append({"name": name, **facts, **metrics, "seconds": seconds})
        run.was_finished &= part.was_finished
        run.earlier_seconds += part.earlier_seconds
    logged = {name: read_metrics(run.path / name) for name in configs}
    compared_curves(run.path, logged, metric)
    return rows
