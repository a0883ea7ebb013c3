"""The loop: run a step until the end, log, evaluate, save, stop in good order."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeAlias

import jax
import numpy as np

from jaxlab.core.batch import Rows
from jaxlab.core.errors import InputError, WriteError
from jaxlab.core.progress import Progress, make_progress
from jaxlab.core.pytree import flat_paths
from jaxlab.core.typing import Batch, Metrics, PyTree
from jaxlab.plots.curves import learning_curves
from jaxlab.runs.checkpoint import Checkpoints
from jaxlab.runs.interrupts import Interrupted, Interrupts
from jaxlab.runs.run_files import read_metrics, write_arrays
from jaxlab.runs.run_folder import RunFolder
from jaxlab.train.step import Step

__all__ = ["Batches", "Fitted", "NonFiniteError", "fit"]

# The batches of a run from a given step on: a pure function of (seed, step).
Batches: TypeAlias = Callable[[int], Iterator[Batch]]


class NonFiniteError(FloatingPointError):
    """A metric became NaN or infinite.

    Attributes:
        step: The first update (from 0) whose metrics are not finite.
        folder: Holds the state before that update and its batch.
    """

    def __init__(self, message: str, step: int, folder: pathlib.Path) -> None:
        super().__init__(message)
        self.step, self.folder = step, folder


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What `fit` did.

    Attributes:
        state: The last state.
        chosen: The state of the best checkpoint by the run's own measure; the last one
            where nothing was measured.
        chosen_step: Updates that it had seen.
        chosen_by: The metric that chose it, such as `valid/accuracy`; `last`.
        steps: Updates of the whole run, sessions before this one included.
        examples: Examples that these updates saw.
        seconds: Seconds of training, evaluations left out, over all sessions.
        was_finished: Whether an earlier session had made all updates.
    """

    state: PyTree
    chosen: PyTree
    chosen_step: int
    chosen_by: str
    steps: int
    examples: int
    seconds: float
    was_finished: bool

    @property
    def facts(self) -> dict[str, Any]:
        """The figures for a run's summary."""
        return {
            "steps": self.steps,
            "examples": self.examples,
            "training_seconds": self.seconds,
            "chosen_step": self.chosen_step,
            "chosen_by": self.chosen_by,
        }


def fit(
    step: Step,
    state: PyTree,
    batches: Batches,
    *,
    steps: int,
    batch_size: int,
    run: RunFolder,
    evaluate: Callable[[PyTree], dict[str, float]] | None = None,
    eval_every: int = 0,
    best: str = "",
    is_done: Callable[[PyTree], bool] | None = None,
    held_out: str = "test",
) -> Fitted:
    """Train from the newest checkpoint of the run, or from `state`, to the last step.

    Knows nothing of networks and losses: `state` is any pytree of arrays and `step`
    any function that maps it on. At the end of a run that was killed and resumed, the
    state equals that of an uninterrupted one bit for bit.

    Args:
        step: A compiled `step(state, batch) -> state, metrics`; metrics are scalars,
            logged as `train/NAME` unless their names say another set (`test/NAME`).
        state: The initial state, laid out as the step wants it.
        batches: Gives an iterator over the batches from a step on.
        steps: Updates of the whole run.
        batch_size: Examples an update, for the speed.
        run: The run's folder; its options say how often to log and save.
        evaluate: Gives the metrics of a held-out set; logged as `test/...`, every
            `eval_every` updates and after the last.
        eval_every: Updates between evaluations; 0: only after the last.
        best: The evaluated metric whose largest value (with a leading `-`: smallest)
            marks the best checkpoint.
        is_done: Tells from a state, after each update, that training may end early.
        held_out: Name of the held-out set, if it is not `test`.

    Returns:
        The last state, and what it took. The run folder then holds its learning curves.

    Raises:
        InputError: If there are no steps to make.
        NonFiniteError: When a metric is not finite; the state is not saved then, but
            the state before the offending step and its batch are.
        Interrupted: After Ctrl-C or SIGTERM, when the state is saved.
    """
    if steps < 1:
        raise InputError(f"steps {steps} must be at least 1")
    loop = _Loop(
        step=step,
        batches=batches,
        steps=steps,
        batch_size=batch_size,
        run=run,
        evaluate=evaluate,
        eval_every=eval_every,
        best_name=best.removeprefix("-"),
        best_sign=-1.0 if best.startswith("-") else 1.0,
        is_done=is_done or (lambda state: False),
        held_out=held_out,
        abstract=jax.tree.map(_abstract, state),
    )
    state, start = loop.resume(state)
    was_finished = start >= loop.steps
    progress = make_progress(start, loop.steps, batch_size, visible=run.is_visible)
    if start:
        progress.say(f"resumed from step {start} in {run.path}")
    stream = batches(start)
    try:
        with Interrupts() as interrupts:
            state = loop.train(state, start, stream, progress, interrupts)
    finally:
        progress.close()
        if hasattr(stream, "close"):
            stream.close()  # ends worker processes
    learning_curves(run.path, read_metrics(run.path))
    seconds = round(loop.training_seconds(), 3)
    chosen, chosen_step, chosen_by = loop.choose(state)
    return Fitted(
        state=state,
        chosen=chosen,
        chosen_step=chosen_step,
        chosen_by=chosen_by,
        steps=loop.steps,
        examples=loop.steps * batch_size,
        seconds=seconds,
        was_finished=was_finished,
    )


@dataclasses.dataclass
class _Loop:
    """The arguments of `fit`, and what changes while it runs."""

    step: Step
    batches: Batches
    steps: int
    batch_size: int
    run: RunFolder
    evaluate: Callable[[PyTree], dict[str, float]] | None
    eval_every: int
    best_name: str
    best_sign: float
    is_done: Callable[[PyTree], bool]
    held_out: str
    abstract: PyTree  # the shapes and shardings of a state
    pending: list[Metrics] = dataclasses.field(default_factory=list)  # on the device
    sums: dict[str, float] = dataclasses.field(default_factory=dict)  # of the next row
    count: int = 0  # updates in it
    earlier_seconds: float = 0.0  # of training, in the sessions before this one
    since: float = dataclasses.field(default_factory=time.perf_counter)

    def resume(self, state: PyTree) -> tuple[PyTree, int]:
        """Return the state to go on from, and its step."""
        saved = self.run.checkpoints
        if saved.latest_step() is None:
            if (self.run.path / "summary.json").exists():
                raise InputError(
                    f"the run in {self.run.path} has finished, and its checkpoints are "
                    "gone; put them back, or train in another --run-dir"
                )
            self.run.resume(0)
            saved.save(0, state, self._meta())  # a NaN can be replayed from here
            return state, 0
        given = getattr(state, "frozen", None)
        state, meta, start = saved.restore(self.abstract)
        if given is not None and not _same(given, state.frozen):
            raise InputError(
                f"run folder {self.run.path} was begun with other frozen parameters; "
                "give the same to resume it, or another --run-dir"
            )
        self.sums, self.count = meta["sums"], meta["count"]
        self.earlier_seconds = meta["training_seconds"]
        if start and self.is_done(state):
            self.steps = start
        self.run.resume(start, meta["total_seconds"])
        return state, start

    def train(
        self,
        state: PyTree,
        start: int,
        stream: Iterator[Batch],
        progress: Progress,
        interrupts: Interrupts,
    ) -> PyTree:
        """Make the updates that are left."""
        options = self.run.options
        self.since = time.perf_counter()
        for done in range(start + 1, self.steps + 1):
            try:
                batch = next(stream)
            except Exception:
                if not interrupts.received:
                    raise
                # Ctrl-C reaches the worker processes of a stream as well.
                self._save(done - 1, state)
                self._stop(done - 1, interrupts.received)
            state, metrics = self.step(state, batch)
            self.pending.append(metrics)
            if len(self.pending) > 2:  # stay at most two updates ahead of the device
                jax.block_until_ready(self.pending[-3])
            progress.step(done)
            is_last = self._is_last(done, state, progress)
            stops = not is_last and self._agree(interrupts.received, done)
            if is_last or done % options.log_every == 0:
                self._write_row(done, progress)
            if self.evaluate is not None and (
                is_last or (self.eval_every and done % self.eval_every == 0)
            ):
                self._evaluate(done, state, progress)
            elif is_last or stops or done % options.save_every == 0:
                self._save(done, state)
            if stops:
                self._stop(done, stops)
            if is_last:
                break
        return state

    def choose(self, state: PyTree) -> tuple[PyTree, int, str]:
        """Return the best state that is saved, its step, and what measured it."""
        saved = self.run.checkpoints
        saved.wait()
        best = saved.best_step() if self.best_name else None
        if best is None:
            return state, self.steps, "last"
        measure = f"{self.held_out}/{self.best_name}"
        if best == self.steps:
            return state, best, measure
        return saved.restore(self.abstract, best)[0], best, measure

    def _is_last(self, done: int, state: PyTree, progress: Progress) -> bool:
        if done < self.steps and self.is_done(state):
            progress.say(f"step {done}/{self.steps}  ends early")
            self.steps = done
        return done == self.steps

    def _agree(self, received: int | None, done: int) -> int:
        """Return the signal to stop for, the same on all processes."""
        if jax.process_count() == 1:
            return received or 0
        if done % self.run.options.log_every:
            return 0  # asking the others each step would be slow
        from jax.experimental import multihost_utils

        return int(np.max(multihost_utils.process_allgather(np.int32(received or 0))))

    def _fetch(self, done: int) -> None:
        """Bring the pending metrics to the host; stop if one is not finite."""
        first = done - len(self.pending)
        fetched = jax.device_get(self.pending)
        self.pending.clear()
        for offset, metrics in enumerate(fetched):
            values = {name: float(value) for name, value in metrics.items()}
            if not all(map(math.isfinite, values.values())):
                self._stop_non_finite(first + offset, values)
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
            self.count += 1

    def _write_row(self, done: int, progress: Progress) -> None:
        self._fetch(done)
        row = {
            name if "/" in name else f"train/{name}": total / self.count
            for name, total in self.sums.items()
        }
        row["seconds"] = round(self.training_seconds(), 3)
        self.sums, self.count = {}, 0
        self.run.log(done, row)
        progress.log(row)

    def _evaluate(self, done: int, state: PyTree, progress: Progress) -> None:
        assert self.evaluate is not None
        self._fetch(done)
        before = time.perf_counter()
        progress.pause()
        values = self.evaluate(state)
        self.since += time.perf_counter() - before  # not training time
        row = {f"{self.held_out}/{name}": float(v) for name, v in values.items()}
        self.run.log(done, row)
        text = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        progress.say(f"step {done}/{self.steps}  {text}")
        score = self.best_sign * values[self.best_name] if self.best_name else None
        self._save(done, state, score)

    def _save(self, done: int, state: PyTree, score: float | None = None) -> None:
        self._fetch(done)
        self.run.checkpoints.save(done, state, self._meta(), score)

    def _stop(self, done: int, signum: int) -> NoReturn:
        self.run.checkpoints.wait()
        raise Interrupted(
            f"stopped after step {done} of {self.steps} and saved it; the same command "
            f"with --run-dir {self.run.resume_path} goes on from there",
            signum,
        )

    def training_seconds(self) -> float:
        """Return the seconds of training so far, over all sessions."""
        return self.earlier_seconds + time.perf_counter() - self.since

    def _meta(self) -> dict[str, Any]:
        return {
            "sums": dict(self.sums),  # a copy: it is written while training goes on
            "count": self.count,
            "training_seconds": self.training_seconds(),
            "total_seconds": self.run.total_seconds(),
        }

    def _stop_non_finite(self, offending: int, values: dict[str, float]) -> NoReturn:
        """Keep the state before a bad update and its batch, then raise.

        The bad update has overwritten the state; but a run is a pure function of its
        seed, so the newest checkpoint can be replayed up to it.
        """
        state, _, start = self.run.checkpoints.restore(self.abstract)
        stream = self.batches(start)
        for _ in range(start, offending):
            state, _ = self.step(state, next(stream))
        folder = self.run.path / f"non_finite_{offending}"
        name = "batch" if jax.process_count() == 1 else f"batch_{jax.process_index()}"
        kept = f"the state before it and its batch are kept in {folder}"
        try:
            with Checkpoints(folder / "checkpoints") as checkpoints:
                checkpoints.save(offending, state, {"metrics": values})
            batch = flat_paths(_on_host(next(stream)))
            write_arrays(folder / f"{name}.npz", batch)
        except WriteError as error:
            kept = str(error)
        bad = ", ".join(
            f"{n} is {v}" for n, v in values.items() if not math.isfinite(v)
        )
        raise NonFiniteError(
            f"{bad} at step {offending}; {kept}. Often a smaller learning rate or "
            "clipping helps",
            offending,
            folder,
        )


def _on_host(batch: Batch) -> Batch:
    """Bring this process's rows of a batch to the host."""
    if isinstance(batch, Rows):  # whose arrays lie whole on every device
        whole = jax.tree.map(lambda a: np.asarray(a.addressable_data(0)), batch.arrays)
        return jax.tree.map(lambda array: array[np.asarray(batch.index)], whole)
    return jax.tree.map(np.asarray, batch)


def _same(given: PyTree, saved: PyTree) -> bool:
    """Tell whether trees are equal, as far as this process can see."""
    leaves = zip(jax.tree.leaves(given), jax.tree.leaves(saved), strict=True)
    return all(
        np.array_equal(one.addressable_data(0), other.addressable_data(0))
        for one, other in leaves
    )


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
