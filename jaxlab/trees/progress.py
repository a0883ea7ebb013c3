"""A progress bar with the newest metric, in a terminal or a notebook."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["show_progress"]


@contextlib.contextmanager
def show_progress(verbose: int) -> Iterator[Callable[[Any], None] | None]:
    """Show rounds as they are done.

    Args:
        verbose: 0 shows nothing.

    Yields:
        What `jaxlab.trees.boosting.train` takes as `watch`.
    """
    if not verbose:
        yield None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("", total=None, text="")

        def watch(now: Any) -> None:
            shown = (f"{name} {values[-1]:.5g}" for name, values in now.scores.items())
            bar.update(task, completed=now.done, total=now.total, text="  ".join(shown))

        yield watch
