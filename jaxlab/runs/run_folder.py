"""The folder of a run: its configuration, metrics, checkpoints, pictures, summary."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import jax

from jaxlab.core.distributed import is_main_process
from jaxlab.core.errors import InputError, WriteError
from jaxlab.core.pytree import fingerprint_text
from jaxlab.core.ranges import check_fields
from jaxlab.core.recorded import Recorded
from jaxlab.data.text.vocabulary import Vocabulary
from jaxlab.runs.checkpoint import Checkpoints
from jaxlab.runs.checksums import saved_steps
from jaxlab.runs.claimed_folder import ClaimedFolder
from jaxlab.runs.events import Events
from jaxlab.runs.interrupts import Interrupted
from jaxlab.runs.run_files import (
    FORMAT,
    METRICS_FILE,
    NETWORK_FILE,
    VOCABULARY_FILE,
    as_json,
    difference,
    drop_metrics,
    not_written,
    read_config,
    read_network,
    write_fields,
    write_json,
    write_text,
)

__all__ = ["RunFolder"]

# What a session writes before its first update, and what only later ones do.
_MADE_FIRST = (
    "config.json",
    NETWORK_FILE,
    VOCABULARY_FILE,
    "checkpoints",
    "frozen",
    "tensorboard",
)
_WORTH_KEEPING = (METRICS_FILE, "summary.json", "model.npz")
_PACKAGES = ("jaxlab", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunFolder:
    """One run on disk.

    Opening a new folder writes `config.json`; opening an existing one checks that it
    holds the same configuration. Nothing that is there is ever overwritten by another
    run: a second process on the folder is refused, and so is another configuration.
    """

    def __init__(
        self,
        experiment: str,
        config: Any,
        *,
        free: tuple[str, ...] = (),
        resume_path: str | pathlib.Path = "",
        is_visible: bool = True,
    ) -> None:
        """Open or make the folder of a run.

        Args:
            experiment: Its name, such as `vit_cifar`.
            config: A frozen dataclass whose field `run` is a `RunOptions`; all other
                fields define what the run computes.
            free: Fields that may differ when the run is resumed, since they say what
                happens after training.
            resume_path: What `--run-dir` must name to resume, if it is not this folder.
            is_visible: Whether to tell what happens, on one process.

        Raises:
            InputError: If a field is out of its range, or the folder holds another run,
                or is in use.
        """
        check_fields(config)
        self.experiment, self.options = experiment, config.run
        self._started = time.perf_counter()
        self._is_main = is_main_process()
        parent = pathlib.Path("runs") / experiment
        self._folder = ClaimedFolder(self.options.run_dir, parent)
        self.path = self._folder.path
        self.resume_path = pathlib.Path(resume_path or self.path)
        self.free = free
        self.is_visible = is_visible and self._is_main
        self._earlier_seconds = 0.0  # of the sessions before this one
        self._moved: list[str] = []  # data of another name, until they prove the same
        try:
            self._check_config(config)
            self.checkpoints = Checkpoints(self.path / "checkpoints")
        except BaseException:
            self._folder.release()
            raise
        for line in self.checkpoints.damage:
            self.say(line)
        self._rows: TextIO | None = None
        self._events = Events(self.path / "tensorboard")

    def _check_config(self, config: Any) -> None:
        wanted = as_json(config)
        file = self.path / "config.json"
        if file.exists():
            experiment, found = read_config(self.path)
            if experiment != self.experiment:
                raise InputError(
                    f"run folder {self.path} belongs to {experiment}, not "
                    f"{self.experiment}; give another --run-dir"
                )
            free = (*self.free, "data") if self._has_fingerprint() else self.free
            if different := difference(found, wanted, free):
                raise self._is_another(different)
            self._moved = difference(found, wanted, self.free)
        elif self._is_main:
            whole = {"format": FORMAT, "experiment": self.experiment, "config": wanted}
            write_fields(file, whole)

    def _is_another(self, different: list[str]) -> InputError:
        return InputError(
            f"run folder {self.path} holds another run: {'; '.join(different)}. Give "
            "the same values to resume it, or another --run-dir"
        )

    def _has_fingerprint(self) -> bool:
        """Tell whether the data can be known again wherever they lie now."""
        file = self.path / NETWORK_FILE
        return file.exists() and bool(read_network(self.path).get("data"))

    def write_network(
        self,
        network: Recorded[Any],
        *,
        preprocessing: Mapping[str, Any] | None = None,
        class_names: Sequence[str] = (),
        vocabulary: Vocabulary | None = None,
        data: str = "",
    ) -> None:
        """Write `network.json`: what `jaxlab.evals.open_run` makes the network of.

        Args:
            network: Made by `record`.
            preprocessing: How data become the network's inputs, as JSON data.
            class_names: Names of the classes, in the order of the logits.
            vocabulary: Tokens of a network of texts; written beside, if it is new.
            data: Fingerprint of the data, see `jaxlab.data.fingerprint`.

        Raises:
            InputError: If the run was begun with another network: its data changed.
        """
        wanted = {
            "maker": network.maker,
            "fields": network.fields,
            "preprocessing": dict(preprocessing or {}),
            "class_names": list(class_names),
            "vocabulary": VOCABULARY_FILE if vocabulary else "",
            "tokens": fingerprint_text(repr(vocabulary)) if vocabulary else "",
            "data": data,
        }
        wanted = json.loads(json.dumps(wanted))  # tuples become lists, as in the file
        file = self.path / NETWORK_FILE
        if file.exists():
            different = difference(read_network(self.path), wanted)
            if different:
                different += self._moved
                raise InputError(
                    f"run folder {self.path} was begun with other data or another "
                    f"network: {'; '.join(different)}. Give another --run-dir"
                )
            self._moved = []
        elif self._is_main:
            if vocabulary is not None:
                try:
                    vocabulary.save(self.path / VOCABULARY_FILE)
                except OSError as error:
                    raise not_written(self.path / VOCABULARY_FILE, error) from None
            write_fields(file, wanted)

    def resume(self, step: int, seconds: float = 0.0) -> None:
        """Go on after a step: drop the rows of later ones, which will be made again.

        Args:
            step: The last update that counts.
            seconds: What `total_seconds` was then.

        Raises:
            InputError: If the data have another name and were not shown to be the same.
        """
        if self._moved:
            raise self._is_another(self._moved)
        self._earlier_seconds = seconds
        if self._is_main:
            kept, damage = drop_metrics(self.path, step)
            if damage:
                self.say(damage)
            self._events.begin(kept)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append a row to `metrics.jsonl` and to the TensorBoard events."""
        if not self._is_main:
            return
        row = {"step": step, **values}
        file = self.path / METRICS_FILE
        try:
            if self._rows is None:
                self._rows = file.open("a")
            self._rows.write(json.dumps(row) + "\n")
            self._rows.flush()
        except OSError as error:
            raise not_written(file, error) from None
        self._events.add(row)

    def say(self, text: str) -> None:
        """Print a line, on one process."""
        if self.is_visible:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder at once, on one process."""
        if self._is_main:
            write_text(self.path / name, text)

    def total_seconds(self) -> float:
        """Return the seconds of all sessions since the folder was opened first."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def count_earlier(self, part: "RunFolder") -> None:
        """Add the seconds of earlier sessions of a run below this one."""
        self._earlier_seconds += part._earlier_seconds

    def write_summary(
        self, metrics: dict[str, float], facts: Mapping[str, Any]
    ) -> None:
        """Write `summary.json`: before the last pictures, so that none can cost it.

        The summary of a run that was finished before is left as it is.

        Args:
            metrics: The final metrics by name.
            facts: More that belongs in the summary, such as `Fitted.facts`.
        """
        device = jax.devices()[0]
        summary = {
            "experiment": self.experiment,
            "metrics": metrics,
            **facts,
            "total_seconds": round(self.total_seconds(), 3),
            "command": " ".join(sys.orig_argv),
            "device": f"{device.device_kind} x {jax.device_count()}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        }
        self.checkpoints.wait()
        file = self.path / "summary.json"
        if self._is_main and not file.exists():
            write_json(file, summary)

    def finish(
        self, metrics: dict[str, float], facts: Mapping[str, Any]
    ) -> dict[str, float]:
        """Write the summary unless it is there, and print what lies where.

        Args:
            metrics: The final metrics by name.
            facts: See `write_summary`.

        Returns:
            `metrics`.
        """
        self.write_summary(metrics, facts)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        pictures = ", ".join(sorted(file.name for file in self.path.glob("*.png")))
        self.say(f"result       {shown}")
        self.say(f"run folder   {self.path}")
        self.say(f"pictures     {pictures or 'none'}")
        if self.checkpoints.latest_step() is None:  # a run of runs
            return metrics
        best = self.checkpoints.best_step()
        steps = f"best of step {best}, " if best is not None else ""
        self.say(f"checkpoints  {steps}last of step {self.checkpoints.latest_step()}")
        return metrics

    def close(self, *, at_once: bool = False, is_refused: bool = False) -> None:
        """Finish what is being written and let the folder go.

        Args:
            at_once: Do not wait for a checkpoint that is being written; it is whole
                when it has its name, and otherwise ignored.
            is_refused: Whether a value was refused: a folder that is new then goes,
                before another process may have it.

        Raises:
            WriteError: If the last checkpoint could not be written.
        """
        with contextlib.ExitStack() as stack:  # each is closed whatever the others do
            stack.callback(self._folder.release)
            if is_refused and self._folder.is_new and self._is_main:
                stack.callback(self._remove_unused)
            if self._rows is not None:
                stack.enter_context(contextlib.suppress(OSError))  # told by `log`
                stack.callback(self._rows.close)
            if not at_once:
                stack.callback(self.checkpoints.close)
                if failure := self._events.close():
                    self.say(failure)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> None:
        is_interrupt = isinstance(error, KeyboardInterrupt)
        is_refused = isinstance(error, InputError) and not isinstance(error, WriteError)
        at_once = is_interrupt and not isinstance(error, Interrupted)
        try:
            self.close(at_once=at_once, is_refused=is_refused)
        except InputError:
            if error is None:
                raise  # else what came first is told

    def _remove_unused(self) -> None:
        """Remove what this session has made, if it has made no update yet.

        A value that cannot be used must not leave a folder that refuses the next.
        """
        trained = [step for step in saved_steps(self.path / "checkpoints") if step]
        if trained or any((self.path / name).exists() for name in _WORTH_KEEPING):
            return
        if any(self.path.glob("*/config.json")):
            return  # runs below this one
        self._folder.remove(*_MADE_FIRST)
