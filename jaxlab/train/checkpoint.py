"""Checkpoints of any state pytree, through Orbax: asynchronous, atomic, best and last.

Orbax is used here and nowhere else.
"""

import logging
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths
from jaxlab.core.typing import PyTree

__all__ = ["Checkpoints", "load_params"]

_STATE, _META = "state", "meta"


class Checkpoints:
    """The checkpoints of one run: the last two and the best one.

    A save is complete or absent: Orbax writes to a temporary folder and renames it, so
    a killed process leaves the older ones whole. Saving returns while the bytes are
    still being written; `close` (or leaving a `with`) waits for them.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells much

        def score(metrics: dict[str, float]) -> float:
            return metrics["score"]

        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            item_names=(_STATE, _META),
            options=ocp.CheckpointManagerOptions(
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
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
        )
        metrics = None if score is None else {"score": float(score)}
        if not self._manager.save(step, args=items, metrics=metrics, force=True):
            raise RuntimeError(f"Orbax did not save step {step}")

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
            saved = sorted(self._manager.all_steps())
            raise InputError(
                f"no checkpoint of step {step} in {self._manager.directory}; "
                f"saved steps: {saved or 'none'}"
            )
        abstract = jax.tree.map(_abstract, state)
        self._check_shapes(abstract, step)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=items)
        return restored[_STATE], restored[_META], step

    def _check_shapes(self, abstract: PyTree, step: int) -> None:
        """Say in lines what differs; Orbax would answer with pages."""
        metadata = self._manager.item_metadata(step)[_STATE]
        if metadata is None:
            return
        saved = {k: tuple(v.shape) for k, v in flat_paths(dict(metadata)).items()}
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
                f"the checkpoint of step {step} in {self._manager.directory} does "
                "not fit this model:\n" + "\n".join(wrong[:10] + more)
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


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _stored_shape(leaf: Any) -> tuple[int, ...]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)  # keys are stored as words
    return tuple(leaf.shape)


def load_params(folder: str | pathlib.Path, *, name: str = "") -> PyTree:
    """Read one part of a run's best (else newest) state, to use it elsewhere.

    Args:
        folder: A run folder, as printed at the end of a run.
        name: Which field of the state: `params`, `ema`, `model_state`. By default
            the average of the parameters if one was kept, else `params`.

    Returns:
        Nested dictionaries of NumPy arrays.

    Raises:
        InputError: If the folder holds no checkpoint or the state no such part.
    """
    path = pathlib.Path(folder).absolute() / "checkpoints"
    if not path.is_dir():
        raise InputError(f"no checkpoints in {folder}; give a run folder")
    with Checkpoints(path) as checkpoints:
        step = checkpoints.best_step()
        step = checkpoints.latest_step() if step is None else step
        if step is None:
            raise InputError(f"no complete checkpoint in {path}")
    with ocp.PyTreeCheckpointer() as reader:
        saved = dict(reader.metadata(path / str(step) / _STATE).item_metadata)
        if not name:
            name = "params" if saved.get("ema") is None else "ema"
        if saved.get(name) is None:
            held = ", ".join(key for key, value in saved.items() if value is not None)
            raise InputError(f"the state in {path} has no {name!r}; it has {held}")
        wanted = {name: saved[name]}
        as_numpy = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
        )
        restored = reader.restore(
            path / str(step) / _STATE,
            args=ocp.args.PyTreeRestore(
                wanted, restore_args=as_numpy, partial_restore=True
            ),
        )
    return restored[name]
