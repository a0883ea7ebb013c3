"""Checkpoints of any state pytree, through Orbax: asynchronous, atomic, best and last.

Orbax is used here and in `load_params`, and nowhere else.
"""

import contextlib
import dataclasses
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxlab.core.errors import InputError, WriteError
from jaxlab.core.pytree import flat_paths
from jaxlab.core.typing import PyTree
from jaxlab.runs.checksums import (
    check_whole,
    saved_steps,
    seal,
    set_aside_damaged,
)
from jaxlab.runs.quiet import quieten_orbax

__all__ = ["FROZEN", "STATE", "Checkpoints", "read_metadata"]

STATE, FROZEN = "state", "frozen"  # folders of arrays
_META = "meta"


class Checkpoints:
    """The checkpoints of one run: the last two and the best one.

    What a state holds in a field `frozen` never changes: it is saved once, in a folder
    `frozen` beside that of the checkpoints.

    A save is complete or absent: Orbax writes to a temporary folder and renames it, so
    a killed process leaves the older ones whole. Saving returns while the bytes are
    still being written; `close` (or leaving a `with`) waits for them.

    Each has checksums. One that is damaged is moved out of the way when the folder is
    opened, to `damaged_STEP` beside it.

    Attributes:
        damage: A line for each checkpoint that was moved so.
    """

    def __init__(self, folder: pathlib.Path, *, read_only: bool = False) -> None:
        """Open or make a folder of checkpoints.

        Args:
            folder: Where they lie.
            read_only: Touch nothing: another process may be writing to it.

        Raises:
            InputError: If there are checkpoints, and all of them are damaged.
        """
        quieten_orbax()
        self._folder = folder.absolute()
        self._frozen = self._folder.with_name(FROZEN)
        self._saving = 0
        self.damage = [] if read_only else set_aside_damaged(self._folder)
        # Found whole just now: the next reading need not look again.
        self._found_whole = set() if read_only else set(saved_steps(self._folder))
        try:
            self._manager = self._open_manager(read_only)
        except ValueError as error:  # of a damaged score, or Orbax's own notes
            for step in saved_steps(self._folder):
                check_whole(self._folder / str(step))
            raise InputError(
                f"the checkpoints in {self._folder} cannot be listed ({error}); delete "
                "the damaged _CHECKPOINT_METADATA in one of them, which is not needed"
            ) from None

    def _open_manager(self, read_only: bool) -> ocp.CheckpointManager:
        def score(metrics: dict[str, float]) -> float:
            return metrics["score"]

        return ocp.CheckpointManager(
            self._folder,
            item_names=(STATE, _META),
            options=ocp.CheckpointManagerOptions(
                read_only=read_only,
                # Runs when all is written and the folder has not got its name yet.
                async_options=ocp.AsyncOptions(
                    post_finalization_callback=lambda: seal(
                        self._folder / str(self._saving)
                    )
                ),
                # The policy decides what is kept, best_fn what best_step() means.
                best_fn=score,
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(2),
                        policies.BestN(
                            get_metric_fn=score,
                            n=1,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
            ),
        )

    def save(
        self, step: int, state: PyTree, meta: dict[str, Any], score: float | None = None
    ) -> None:
        """Start to save a state; a step that is saved already is left as it is.

        Args:
            step: Updates made so far.
            state: Arrays only; they may be donated as soon as this returns.
            meta: JSON data kept beside them.
            score: How good the state is, larger is better; None if not evaluated.

        Raises:
            WriteError: If this or the save before could not be written.
        """
        if step in self._manager.all_steps():
            return
        self.wait()
        state, frozen = _split(state)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
        )
        metrics = None if score is None else {"score": float(score)}
        self._saving = step
        with self._telling():
            self._check_room(state)
            if frozen is not None and not self._frozen.exists():
                self._save_frozen(frozen)
            saved = self._manager.save(step, args=items, metrics=metrics, force=True)
        if not saved:
            raise RuntimeError(f"Orbax did not save step {step}")

    def _check_room(self, state: PyTree) -> None:
        """Refuse to begin what cannot end: Orbax tells of a full disk in pages."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise OSError(f"it needs {needed:,} bytes, and {free:,} are free")

    def _save_frozen(self, frozen: PyTree) -> None:
        options = ocp.AsyncOptions(
            post_finalization_callback=lambda: seal(self._frozen)
        )
        with ocp.StandardCheckpointer(async_options=options) as writer:
            writer.save(self._frozen, {FROZEN: frozen})

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell in a line why a checkpoint could not be written, and what is there."""
        try:
            yield
        # Orbax and what it stands on answer a full disk with any kind of exception.
        except Exception as error:
            if isinstance(error, InputError):
                raise
            whole = ", ".join(str(step) for step in saved_steps(self._folder)) or "none"
            raise WriteError(
                f"the checkpoint of step {self._saving} in {self._folder} could not be "
                f"written ({_reason(error)}); whole ones are there of steps: "
                f"{whole}. Make room or mend the folder, then give the same command "
                "with its --run-dir to go on from the newest"
            ) from error

    def all_steps(self) -> list[int]:
        """Return the saved steps, in order."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """Give the newest saved step, or None."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Give the saved step with the best score, or None."""
        return self._manager.best_step()

    def restore(
        self, state: PyTree, step: int | None = None
    ) -> tuple[PyTree, dict[str, Any], int]:
        """Read a saved state, laid out like `state` whatever mesh it was saved on.

        Args:
            state: Arrays or shapes with the structure and shardings wanted.
            step: Which; the newest by default.

        Returns:
            The state, the JSON data saved with it, and its step.

        Raises:
            InputError: If nothing is saved, it is damaged, or its arrays are not those
                of `state`.
        """
        self.wait()
        step = self.latest_step() if step is None else step
        if step is None or step not in self._manager.all_steps():
            raise InputError(
                f"no checkpoint of step {step} in {self._folder}; "
                f"saved steps: {self.all_steps() or 'none'}"
            )
        if step in self._found_whole:
            self._found_whole.discard(step)  # later readings look again
        else:
            check_whole(self._folder / str(step))
        abstract, frozen = _split(jax.tree.map(_abstract, state))
        saved = dict(self._manager.item_metadata(step)[STATE] or {})
        self._check_shapes(saved, abstract, f"step {step} in {self._folder}")
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=items)
        found = restored[STATE]
        if frozen is not None:
            found = dataclasses.replace(found, frozen=self._restore_frozen(frozen))
        elif self._frozen.exists():
            raise InputError(
                f"this run was begun with the frozen parameters of {self._frozen}; "
                "give the same to resume it"
            )
        return found, restored[_META], step

    def _restore_frozen(self, abstract: PyTree) -> PyTree:
        if not self._frozen.exists():
            raise InputError(
                f"{self._frozen} is gone: the frozen parameters that this run needs; "
                "put it back, or train again in another --run-dir"
            )
        check_whole(self._frozen)
        with ocp.StandardCheckpointer() as reader:
            saved = read_metadata(reader, self._frozen)
            wanted = {FROZEN: abstract}
            self._check_shapes(saved, wanted, str(self._frozen))
            return reader.restore(self._frozen, wanted)[FROZEN]

    def _check_shapes(self, metadata: PyTree, abstract: PyTree, name: str) -> None:
        """Say what differs; Orbax would answer with pages."""
        if not metadata:
            return
        saved = {k: tuple(v.shape) for k, v in flat_paths(metadata).items()}
        # Orbax stores dataclasses as dictionaries: the paths are alike.
        wanted = {k: _stored_shape(v) for k, v in flat_paths(abstract).items()}
        wrong = [
            f"{name}: file {saved.get(name, 'none')}, model {wanted.get(name, 'none')}"
            for name in sorted(saved.keys() | wanted.keys())
            if saved.get(name) != wanted.get(name)
        ]
        if wrong:
            more = [f"and {len(wrong) - 10} more"] if len(wrong) > 10 else []
            raise InputError(
                f"the checkpoint of {name} does not fit this model: "
                + "; ".join(wrong[:10] + more)
            )

    def wait(self) -> None:
        """Wait until all that was saved lies on disk.

        Raises:
            WriteError: If it could not be written.
        """
        with self._telling():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then free the threads; raises as `wait` does."""
        with self._telling():
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _reason(error: Exception) -> str:
    """Shorten what tensorstore tells to the system's own words."""
    lines = str(error).splitlines() or [type(error).__name__]
    return re.sub(r" \[.*", "", lines[0].rpartition(": ")[2])


def _split(state: PyTree) -> tuple[PyTree, PyTree]:
    """Return a state without what it holds frozen, and that (None: nothing)."""
    frozen = getattr(state, FROZEN, None)
    if frozen is None:
        return state, None
    return dataclasses.replace(state, frozen=None), frozen


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _stored_shape(leaf: Any) -> tuple[int, ...]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)  # keys are stored as words
    return tuple(leaf.shape)


def read_metadata(reader: Any, file: pathlib.Path) -> dict[str, Any]:
    """Read what arrays a folder of Orbax holds."""
    found = reader.metadata(file).item_metadata
    if found is None:
        raise InputError(f"{file} is damaged: it does not tell what it holds")
    return dict(found)
