"""Visible progress: a live line in a terminal, a widget in a notebook, else lines."""

import html
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress

__all__ = ["Progress", "Speed", "counted", "make_progress"]

T = TypeVar("T")

_PLAIN_SECONDS = 10.0  # between two plain lines
_DRAW_SECONDS = 0.5  # between two redraws of a notebook widget
_QUIET_SECONDS = 2.0  # before a count is told


class Speed:
    """Steps per second of late, and the time left.

    The first step (which compiles) is left out; a moving average follows changes.
    """

    def __init__(self, step: int, steps: int) -> None:
        self._step, self._steps = step, steps
        self._time: float | None = None
        self.steps_per_second = float("nan")

    def update(self, step: int) -> None:
        now = time.perf_counter()
        if self._time is None:
            self._step, self._time = step, now
        elif step > self._step and now - self._time > 0.2:
            current = (step - self._step) / (now - self._time)
            known = self.steps_per_second == self.steps_per_second  # not NaN
            mixed = 0.7 * self.steps_per_second + 0.3 * current
            self.steps_per_second = mixed if known else current
            self._step, self._time = step, now

    def pause(self) -> None:
        """Leave out the time until the next step (of an evaluation, say)."""
        self._time = None

    def time_left(self) -> str:
        """Write the time left as `1:02:03` or `4:05`, or `-:--` when unknown."""
        if not self.steps_per_second > 0:
            return "-:--"
        seconds = round((self._steps - self._step) / self.steps_per_second)
        hours, rest = divmod(max(seconds, 0), 3600)
        minutes, seconds = divmod(rest, 60)
        if hours:
            return f"{hours}:{minutes:02}:{seconds:02}"
        return f"{minutes}:{seconds:02}"


@runtime_checkable
class Progress(Protocol):
    """What the loop tells its viewer."""

    def step(self, step: int) -> None:
        """Say that so many updates are made; called each step, so cheap."""

    def pause(self) -> None:
        """Do not count the time until the next step."""

    def log(self, values: dict[str, float]) -> None:
        """Show the newest metrics."""

    def say(self, text: str) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """Leave the display in its last state."""


# What the names of metrics end in that are shown by default.
_SHOWN = ("loss", "accuracy", "auc", "rmse")


def _short(name: str) -> str:
    return name.removeprefix("train/")


def _is_held_out(name: str) -> bool:
    return not name.startswith("train/")


class _Shared:
    """Speed and the text of the newest metrics, common to the three viewers."""

    shown: tuple[str, ...] = _SHOWN

    def __init__(self, start: int, steps: int, batch_size: int) -> None:
        self.done, self.steps, self._batch_size = start, steps, batch_size
        self._start = start
        self._speed = Speed(start, steps)
        self._loss = ""

    def _count(self, step: int) -> None:
        self.done = step
        self._speed.update(step)

    def pause(self) -> None:
        self._speed.pause()

    def _keep(self, values: dict[str, float]) -> None:
        shown = [
            f"{_short(name)} {values[name]:.4g}"
            for name in sorted(values, key=_is_held_out)
            if name.endswith(self.shown)
        ]
        self._loss = "  ".join(shown) or self._loss

    def _text(self) -> str:
        rate = self._speed.steps_per_second
        known = rate > 0
        speed = f"{rate:.3g} steps/s  {rate * self._batch_size:.4g} examples/s"
        parts = [speed if known else self._waiting(), self._loss]
        if self.done < self.steps:
            parts.append(f"{self._speed.time_left()} left")
        return "  ".join(filter(None, parts))

    def _waiting(self) -> str:
        """Say why there is no speed yet."""
        if self._start >= self.steps:
            return "trained before"
        return "compiling" if self.done == self._start else ""


class _TerminalProgress(_Shared):
    def __init__(self, start: int, steps: int, batch_size: int) -> None:
        super().__init__(start, steps, batch_size)
        self._bar = RichProgress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(
            "", total=steps, completed=start, text=self._text()
        )
        self._bar.start()

    def step(self, step: int) -> None:
        self._count(step)
        self._bar.update(self._task, completed=step, text=self._text())

    def log(self, values: dict[str, float]) -> None:
        self._keep(values)
        self._bar.update(self._task, text=self._text())

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()


class _PlainProgress(_Shared):
    _shown = 0.0

    def step(self, step: int) -> None:
        self._count(step)

    def log(self, values: dict[str, float]) -> None:
        self._keep(values)
        if time.monotonic() - self._shown > _PLAIN_SECONDS or self.done == self.steps:
            self._shown = time.monotonic()
            self.say(f"step {self.done}/{self.steps}  {self._text()}")

    def say(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        return


class _NotebookProgress(_Shared):
    def __init__(self, start: int, steps: int, batch_size: int) -> None:
        super().__init__(start, steps, batch_size)
        from IPython.display import display

        self._drawn = time.monotonic()
        self._widget: Any = display(self, display_id=True)

    def _repr_html_(self) -> str:
        return (
            f"<progress value={self.done} max={self.steps}></progress> "
            f"<code>{self.done}/{self.steps}  {html.escape(self._text())}</code>"
        )

    def _draw(self) -> None:
        # Throttled: notebooks in browsers crash under a redraw each step.
        if time.monotonic() - self._drawn > _DRAW_SECONDS:
            self._drawn = time.monotonic()
            self._widget.update(self)

    def step(self, step: int) -> None:
        self._count(step)
        self._draw()

    def log(self, values: dict[str, float]) -> None:
        self._keep(values)
        self._draw()

    def say(self, text: str) -> None:
        print(text)  # noqa: T201

    def close(self) -> None:
        self._widget.update(self)


class _NoProgress(_PlainProgress):
    def log(self, values: dict[str, float]) -> None:
        return

    def say(self, text: str) -> None:
        return


def make_progress(
    start: int,
    steps: int,
    batch_size: int,
    *,
    visible: bool = True,
    shown: tuple[str, ...] = _SHOWN,
) -> Progress:
    """Choose the viewer for where the output goes.

    Args:
        start: Updates made before.
        steps: Updates of the whole run.
        batch_size: Examples an update, for the speed.
        visible: False on all but one process of a run.
        shown: Endings of the names of metrics to show; `("",)` shows all.
    """
    viewer: type[_Shared]
    console = Console()
    if not visible:
        viewer = _NoProgress
    elif console.is_jupyter:
        viewer = _NotebookProgress
    elif console.is_terminal and not console.is_dumb_terminal:
        viewer = _TerminalProgress
    else:
        viewer = _PlainProgress
    progress = viewer(start, steps, batch_size)
    progress.shown = shown
    return progress


def counted(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Give items, and say on stderr how many are done if they take over two seconds.

    Args:
        items: What takes long.
        total: Number of the items.
        what: What is done with them, such as `reading images`.
    """
    is_live = sys.stderr.isatty()
    every = _DRAW_SECONDS if is_live else _PLAIN_SECONDS
    due, was_told = time.monotonic() + _QUIET_SECONDS, False
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() >= due or (was_told and done == total):
            due, was_told = time.monotonic() + every, True
            end = "" if is_live and done < total else "\n"
            start = "\r" if is_live else ""
            sys.stderr.write(f"{start}{what}: {done:,} of {total:,}{end}")
            sys.stderr.flush()
