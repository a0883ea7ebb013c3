"""Compile a step for a mesh: by `jit` (the engine), or by `pmap` (a thin adapter)."""

import dataclasses
import functools
import inspect
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlab.core.batch import Rows, materialize
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh, shard_batch
from jaxlab.core.typing import Batch, Metrics, PyTree
from jaxlab.runs.run_options import EngineName
from jaxlab.train.step import Step

__all__ = ["Engine", "compile_step", "make_engine", "pmap_step"]


@dataclasses.dataclass(frozen=True)
class Engine:
    """The devices of a run, and how its steps are compiled for them.

    Attributes:
        mesh: The devices by axis.
        name: `jit`, or `pmap` for code bases that still speak it.
    """

    mesh: Mesh
    name: EngineName = "jit"

    def compile(self, step: Step, state: PyTree, *, donate: bool = True) -> Step:
        """Compile a step; see `compile_step` and `pmap_step`."""
        if self.name == "pmap":
            return pmap_step(step, self.mesh)
        return compile_step(step, state, self.mesh, donate=donate)


def make_engine(mesh: str, name: EngineName = "jit", *, batch_size: int = 0) -> Engine:
    """Make the engine that a command line asks for.

    Args:
        mesh: Devices by axis, such as `data=2,fsdp=4`; empty: all on `data`.
        name: How steps are compiled: `jit`, or `pmap` in one process.
        batch_size: Rows of a batch, which the devices must be able to share; 0: any.

    Raises:
        InputError: If there are no such devices, or they cannot share a batch.
    """
    return Engine(make_mesh(mesh, batch_size=batch_size), name)


def _gathering(step: Step) -> Step:
    """Let a step take `Rows`: the gather becomes part of its program."""

    def train_step(state: PyTree, batch: Batch) -> tuple[PyTree, Metrics]:
        return step(state, materialize(batch))

    return train_step


def compile_step(
    step: Step,
    state: PyTree,
    mesh: Mesh,
    *,
    donate: bool = True,
) -> Step:
    """Jit a step once: shardings pinned, batch gathered inside, state donated.

    Args:
        step: A pure `step(state, batch) -> state, metrics`.
        state: The state (or shapes with shardings) that fixes where its arrays lie.
        mesh: The mesh; the batch is split over it, metrics are copied to all of it.
        donate: Reuse the memory of the old state for the new one. The old state must
            not be used again; pass False in a notebook to keep it.

    Returns:
        A step that takes host or device batches, `Rows` among them. Its attribute
        `jitted` is the compiled function, to count compilations or read costs.
    """
    # Pinned, since else scalars made on one device come back on the mesh, and the
    # second call compiles again.
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    jitted = jax.jit(
        _gathering(step),
        out_shardings=(shardings, NamedSharding(mesh, P())),
        donate_argnums=(0,) if donate else (),
    )

    def run(state: PyTree, batch: Batch) -> tuple[PyTree, Metrics]:
        return jitted(state, shard_batch(batch, mesh))

    run.jitted = jitted  # type: ignore[attr-defined]
    return run


def pmap_step(step: Step, mesh: Mesh, *, axis_name: str = "data") -> Step:
    """Run the same step through `jax.pmap`: data parallel, parameters copied.

    For code bases that still speak pmap; the jit engine is at least as fast and does
    all the rest. Each device draws its own dropout and augmentation; batch statistics
    are taken per device, then averaged.

    Args:
        step: A pure step with a keyword `axis_name`, the mapped axis to average over,
            such as `make_train_step`'s.
        mesh: Whose devices to use; one process, and no axis but `data`.
        axis_name: The name of the mapped axis.

    Returns:
        A step with the signature of `compile_step`'s; states and metrics carry no
        device axis.

    Raises:
        InputError: If the mesh splits more than the batch or spans processes, or the
            step cannot average.
    """
    devices = list(mesh.devices.flat)
    if mesh.shape["data"] != len(devices) or jax.process_count() > 1:
        raise InputError(
            f"engine 'pmap' splits the batch alone, in one process, not over "
            f"{dict(mesh.shape)}; use --engine jit"
        )
    if "axis_name" not in inspect.signature(step).parameters:
        raise InputError(
            "engine 'pmap' needs a step with a keyword axis_name; use --engine jit"
        )
    averaging: Step = functools.partial(step, axis_name=axis_name)  # type: ignore[call-arg]

    @functools.cache
    def mapped(axes: Any) -> Any:
        return jax.pmap(
            _gathering(averaging),
            axis_name,
            in_axes=(None, axes),
            out_axes=(None, None),
            devices=devices,
        )

    def split(array: Any) -> Any:
        return array.reshape(len(devices), -1, *array.shape[1:])

    def run(state: PyTree, batch: Batch) -> tuple[PyTree, Metrics]:
        if isinstance(batch, Rows):
            batch = Rows(batch.arrays, split(batch.index))
            return mapped(Rows(None, 0))(state, batch)
        return mapped(0)(state, jax.tree.map(split, batch))

    return run
