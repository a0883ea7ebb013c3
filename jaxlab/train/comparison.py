"""Several runs of one experiment below one folder, side by side."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from jaxlab.plots.curves import compared_curves
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_folder import RunFolder
from jaxlab.train.loop import Fitted

__all__ = ["Trained", "train_all"]

C = TypeVar("C")


class Trained(NamedTuple):
    """One run of several.

    Attributes:
        metrics: Final metrics of the run, by name.
        facts: Other values for the run's summary, as JSON data.
        fitted: The last state and what training took, as `fit` returns it.
    """

    metrics: dict[str, float]
    facts: dict[str, Any]
    fitted: Fitted


def train_all(
    run: RunFolder,
    configs: Mapping[str, C],
    train: Callable[[C, RunFolder], Trained],
    metric: str,
) -> list[dict[str, Any]]:
    """Train several configurations, each in a folder of its own below that of a run.

    Asked again, those that are done are not trained anew. Draws `compared.png`.

    Args:
        run: The run that they are parts of.
        configs: Configurations by name, with a field `run` as `RunFolder` wants it.
        train: Trains one, and returns its metrics, other facts, and what `fit` did.
        metric: What to draw, such as `valid/loss`.

    Returns:
        By configuration its `name`, facts, metrics and `seconds` of training.
    """
    rows = []
    for name, config in configs.items():
        options = config.run  # type: ignore[attr-defined]
        options = dataclasses.replace(options, run_dir=str(run.path / name))
        alone: Any = dataclasses.replace(config, run=options)  # type: ignore[type-var]
        with RunFolder(
            run.experiment, alone, free=run.free, resume_path=run.path
        ) as part:
            metrics, facts, fitted = train(alone, part)
            part.finish(metrics, fitted.facts | facts)
            run.count_earlier(part)
        rows.append({"name": name, **facts, **metrics, "seconds": fitted.seconds})
    logged = {name: read_metrics(run.path / name) for name in configs}
    compared_curves(run.path, logged, metric)
    return rows
