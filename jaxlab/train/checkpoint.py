"""Checkpoints of any state pytree, through Orbax: asynchronous, atomic, best and last.

Orbax is used here and nowhere else.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths
from jaxlab.core.typing import PyTree

__all__ = ["At", "Checkpoints", "load_params"]

At: TypeAlias = Literal["best", "last"]  # a moment of a run

_STATE, _META, _FROZEN = "state", "meta", "frozen"


class Checkpoints:
    """The checkpoints of one run: the last two and the best one.

    What a state holds in a field `frozen` never changes: it is saved once, in a folder
    `frozen` beside that of the checkpoints.

    A save is complete or absent: Orbax writes to a temporary folder and renames it, so
    a killed process leaves the older ones whole. Saving returns while the bytes are
    still being written; `close` (or leaving a `with`) waits for them.
    """

    def __init__(self, folder: pathlib.Path, *, read_only: bool = False) -> None:
        """Open or make a folder of checkpoints.

        Args:
            folder: Where they lie.
            read_only: Touch nothing: another process may be writing to it.
        """
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells much

        def score(metrics: dict[str, float]) -> float:
            return metrics["score"]

        self._frozen = folder.absolute().with_name(_FROZEN)
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            item_names=(_STATE, _META),
            options=ocp.CheckpointManagerOptions(
                read_only=read_only,
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
        """
        if step in self._manager.all_steps():
            return
        state, frozen = _split(state)
        if frozen is not None and not self._frozen.exists():
            with ocp.StandardCheckpointer() as writer:  # whole when it has its name
                writer.save(self._frozen, {_FROZEN: frozen})
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
        )
        metrics = None if score is None else {"score": float(score)}
        if not self._manager.save(step, args=items, metrics=metrics, force=True):
            raise RuntimeError(f"Orbax did not save step {step}")

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
            InputError: If nothing is saved, or its arrays are not those of `state`.
        """
        self.wait()
        step = self.latest_step() if step is None else step
        if step is None or step not in self._manager.all_steps():
            raise InputError(
                f"no checkpoint of step {step} in {self._manager.directory}; "
                f"saved steps: {self.all_steps() or 'none'}"
            )
        abstract, frozen = _split(jax.tree.map(_abstract, state))
        saved = dict(self._manager.item_metadata(step)[_STATE] or {})
        self._check_shapes(saved, abstract, f"step {step} in {self._manager.directory}")
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=items)
        found = restored[_STATE]
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
        with ocp.StandardCheckpointer() as reader:
            saved = _metadata(reader, self._frozen)
            wanted = {_FROZEN: abstract}
            self._check_shapes(saved, wanted, str(self._frozen))
            return reader.restore(self._frozen, wanted)[_FROZEN]

    def _check_shapes(self, metadata: PyTree, abstract: PyTree, name: str) -> None:
        """Say in lines what differs; Orbax would answer with pages."""
        if not metadata:
            return
        saved = {k: tuple(v.shape) for k, v in flat_paths(metadata).items()}
        # Orbax stores dataclasses as dictionaries: the paths are alike.
        wanted = {k: _stored_shape(v) for k, v in flat_paths(abstract).items()}
        wrong = [
            f"  {name}: file {saved.get(name, 'none')}, "
            f"model {wanted.get(name, 'none')}"
            for name in sorted(saved.keys() | wanted.keys())
            if saved.get(name) != wanted.get(name)
        ]
        if wrong:
            more = [f"  and {len(wrong) - 10} more"] if len(wrong) > 10 else []
            raise InputError(
                f"the checkpoint of {name} does not fit this model:\n"
                + "\n".join(wrong[:10] + more)
            )

    def wait(self) -> None:
        """Wait until all that was saved lies on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then free the threads."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _split(state: PyTree) -> tuple[PyTree, PyTree]:
    """Return a state without what it holds frozen, and that (None: nothing)."""
    frozen = getattr(state, _FROZEN, None)
    if frozen is None:
        return state, None
    return dataclasses.replace(state, frozen=None), frozen


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _stored_shape(leaf: Any) -> tuple[int, ...]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)  # keys are stored as words
    return tuple(leaf.shape)


def load_params(
    folder: str | pathlib.Path, *, name: str = "", step: At | int = "best"
) -> PyTree:
    """Read one part of a saved state of a run, to use it elsewhere.

    Args:
        folder: A run folder, as printed at the end of a run.
        name: Which field of the state: `params`, `ema`, `model_state`, `frozen`; of a
            player `generator/params`. By default the average of the parameters if one
            was kept, else `params`, or those of the generator.
        step: Which state: the `best` by the run's own measure (the last where none was
            measured), the `last`, or that of a step.

    Returns:
        Nested dictionaries of NumPy arrays.

    Raises:
        InputError: If the folder holds no such checkpoint or the state no such part.
    """
    path = pathlib.Path(folder).absolute() / "checkpoints"
    if not path.is_dir():
        raise InputError(f"no checkpoints in {folder}; give a run folder")
    with ocp.PyTreeCheckpointer() as reader:
        if name == _FROZEN:
            file, parts = path.with_name(_FROZEN), [_FROZEN]
            if not file.is_dir():
                raise InputError(f"the run in {folder} has no frozen parameters")
        else:
            file, parts = path / str(_find_step(path, step)) / _STATE, name.split("/")
        saved = _metadata(reader, file)
        if parts == [""]:
            parts = _evaluated(saved)
        part: Any = saved
        for key in parts:
            if not isinstance(part, Mapping) or part.get(key) is None:
                held = ", ".join(key for key, leaf in saved.items() if leaf is not None)
                raise InputError(f"the state in {path} has no {name!r}; it has {held}")
            part = part[key]
        wanted = functools.reduce(lambda tree, key: {key: tree}, parts[::-1], part)
        as_numpy = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
        )
        restored = reader.restore(
            file,
            args=ocp.args.PyTreeRestore(
                wanted, restore_args=as_numpy, partial_restore=True
            ),
        )
    return functools.reduce(lambda tree, key: tree[key], parts, restored)


def _metadata(reader: Any, file: pathlib.Path) -> dict[str, Any]:
    """Read what arrays a folder of Orbax holds."""
    found = reader.metadata(file).item_metadata
    if found is None:
        raise InputError(f"{file} is damaged: it does not tell what it holds")
    return dict(found)


def _evaluated(saved: Mapping[str, Any]) -> list[str]:
    """Return where the parameters to evaluate with lie in a state."""
    if saved.get("ema") is not None:
        return ["ema"]
    return ["generator", "params"] if "generator" in saved else ["params"]


def _find_step(path: pathlib.Path, step: At | int) -> int:
    with Checkpoints(path, read_only=True) as checkpoints:
        saved = checkpoints.all_steps()
        chosen: int | None
        if step == "best" and checkpoints.best_step() is not None:
            chosen = checkpoints.best_step()
        elif step in ("best", "last"):
            chosen = checkpoints.latest_step()
        else:
            chosen = step if step in saved else None
    if chosen is None:
        there = ", ".join(map(str, saved)) or "none"
        wanted = "complete checkpoint" if step in ("best", "last") else f"step {step}"
        raise InputError(f"no {wanted} in {path}; saved steps: {there}")
    return chosen
