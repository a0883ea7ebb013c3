"""The folder of a run: its configuration, metrics, checkpoints, pictures, summary."""

import concurrent.futures
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import jax

from jaxlab.core.distributed import is_main_process
from jaxlab.core.errors import InputError
from jaxlab.core.pytree import fingerprint_text
from jaxlab.core.recorded import Recorded
from jaxlab.data.text.vocabulary import Vocabulary
from jaxlab.train.checkpoint import Checkpoints
from jaxlab.train.run_files import (
    FORMAT,
    NETWORK_FILE,
    VOCABULARY_FILE,
    as_json,
    difference,
    is_moved_file,
    read_config,
    read_metrics,
    read_network,
    write_json,
    write_text,
)

try:
    import fcntl
except ImportError:  # no advisory locks on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["RunFolder"]

_PACKAGES = ("jaxlab", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunFolder:
    """One run on disk.

    Opening a new folder writes `config.json`; opening an existing one checks that it
    holds the same configuration. Only the field `data` may name another path, if the
    data there have the fingerprint that the run began with. Nothing that is there is
    ever overwritten by another run: a second process on the folder is refused, and so
    is another configuration.
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
            InputError: If the folder holds another run, or is in use.
        """
        self.experiment, self.options = experiment, config.run
        self._started = time.perf_counter()
        self._is_main = is_main_process()
        self.path = self._choose_path(self.options.run_dir)
        self.resume_path = pathlib.Path(resume_path or self.path)
        self.free = free
        self.is_visible = is_visible and self._is_main
        self._earlier_seconds = 0.0  # of the sessions before this one
        self._unproven = ""  # what differs until a fingerprint tells that it does not
        self._check_folder()
        self._lock = self._take_lock() if self._is_main else None
        try:
            self._check_config(config)
        except BaseException:
            if self._lock is not None:
                self._lock.close()
            raise
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self._rows: TextIO | None = None
        self._board: Any = None
        self._events = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._written: concurrent.futures.Future[None] | None = None
        self._board_start = 0

    def _choose_path(self, run_dir: str) -> pathlib.Path:
        if run_dir:
            return pathlib.Path(run_dir).expanduser()
        if jax.process_count() > 1:
            raise InputError("several processes need one run folder: give --run-dir")
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = pathlib.Path("runs") / self.experiment
        tries = [now, *(f"{now}-{number}" for number in range(2, 1000))]
        return next(folder / name for name in tries if not (folder / name).exists())

    def _check_folder(self) -> None:
        """Refuse a folder of something else before anything is written to it."""
        for name in ("log_every", "save_every"):
            if getattr(self.options, name) < 1:
                raise InputError(
                    f"{name} {getattr(self.options, name)} must be at least 1"
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".lock").touch()
        except OSError as error:
            raise InputError(
                f"run folder {self.path} cannot be made or written ({error.strerror}); "
                "give another --run-dir"
            ) from None
        found = {file.name for file in self.path.iterdir()}
        found -= {".lock", "config.json.part"}
        self._is_new = not found
        if self._is_main and found and "config.json" not in found:
            raise InputError(
                f"folder {self.path} is neither empty nor a run folder; give another "
                "--run-dir"
            )

    def _take_lock(self) -> TextIO:
        lock = (self.path / ".lock").open("w")
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise InputError(
                f"run folder {self.path} is in use by another process; wait for it, "
                "or give another --run-dir"
            ) from None
        return lock

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
            moved = is_moved_file(found.get("data"), wanted.get("data"))
            free = (*self.free, "data") if moved else self.free
            different = difference(found, wanted, free)
            if moved:
                self._unproven = f"data is {found['data']} there, {wanted['data']} here"
            if different:
                raise InputError(
                    f"run folder {self.path} holds another run: "
                    f"{'; '.join(different)}. Give the same values to resume it, or "
                    "another --run-dir"
                )
        elif self._is_main:
            whole = {"format": FORMAT, "experiment": self.experiment, "config": wanted}
            write_json(file, whole)

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
            found = read_network(self.path)
            different = difference(found, wanted)
            if data and found.get("data") == data:
                self._unproven = ""
            if different:
                raise InputError(
                    f"run folder {self.path} was begun with other data or another "
                    f"network: {'; '.join(different)}. Give another --run-dir"
                )
        elif self._is_main:
            if vocabulary is not None:
                vocabulary.save(self.path / VOCABULARY_FILE)
            write_json(file, wanted)

    def resume(self, step: int, seconds: float = 0.0) -> None:
        """Go on after a step: drop the rows of later ones, which will be made again.

        Args:
            step: The last update that counts.
            seconds: What `total_seconds` was then.

        Raises:
            InputError: If the data lie elsewhere than when the run was begun, and
                `write_network` was not given the fingerprint that they had.
        """
        if self._unproven:
            raise InputError(
                f"run folder {self.path} holds another run: {self._unproven}, and "
                "nothing tells that these are the same data. Give the same path to "
                "resume it, or another --run-dir"
            )
        self._board_start, self._earlier_seconds = step, seconds
        file = self.path / "metrics.jsonl"
        if not self._is_main or not file.exists():
            return
        kept = [row for row in read_metrics(self.path) if row["step"] <= step]
        write_text(file, "".join(json.dumps(row) + "\n" for row in kept))

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append a row to `metrics.jsonl` and to the TensorBoard events."""
        if not self._is_main:
            return
        if self._rows is None:
            self._rows = (self.path / "metrics.jsonl").open("a")
        self._rows.write(json.dumps({"step": step, **values}) + "\n")
        self._rows.flush()
        self._written = self._events.submit(self._write_events, step, values)

    def _write_events(self, step: int, values: dict[str, float]) -> None:
        """Write to TensorBoard, on a thread: only to import it takes a second."""
        if self._board is None:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(
                str(self.path / "tensorboard"), purge_step=self._board_start + 1
            )
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

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

    def finish(
        self, metrics: dict[str, float], facts: Mapping[str, Any]
    ) -> dict[str, float]:
        """Write `summary.json`, and print the result and where everything lies.

        The summary of a run that was finished before is left as it is.

        Args:
            metrics: The final metrics by name.
            facts: More that belongs in the summary, such as `Fitted.facts`.

        Returns:
            `metrics`.
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
        if self._written is not None:
            self._written.result()
        file = self.path / "summary.json"
        if self._is_main and not file.exists():
            write_json(file, summary)
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

    def close(self) -> None:
        """Finish what is being written and let the folder go."""
        self.checkpoints.close()
        self._events.shutdown()
        for stream in (self._rows, self._board, self._lock):
            if stream is not None:
                stream.close()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()
        # A value that cannot be used must not leave a folder that refuses the next.
        is_refused = kind is not None and issubclass(kind, InputError)
        if is_refused and self._is_new and self._is_main and self._rows is None:
            parts = [file for file in self.path.glob("*/config.json")]
            if not parts:  # runs below this one are worth keeping
                shutil.rmtree(self.path)
