"""Device meshes: how arrays are laid over devices, and nothing else.

One engine for one laptop core and many GPUs: `jax.jit` with `NamedSharding` on a mesh
with three axes, each of which may have size 1:

    data    the batch is split; parameters are copied
    fsdp    the batch is split, and parameters and optimiser state too (ZeRO-3)
    tensor  single layers are split, by the rules that a model names

The axes are of type Auto, so models stay free of shardings and the numbers do not
depend on the mesh (up to the order of float sums).
"""

import math
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import path_name
from jaxlab.core.typing import Batch, PyTree

__all__ = [
    "AXES",
    "ShardingRules",
    "batch_sharding",
    "check_batch_size",
    "init_sharded",
    "make_mesh",
    "parse_mesh",
    "process_rows",
    "replicate",
    "shard_batch",
    "state_shardings",
    "use_cpu_devices",
]

AXES = ("data", "fsdp", "tensor")
_BATCH_AXES = ("data", "fsdp")
_MOST_CPU_DEVICES = 4

# (pattern of a parameter's path, spec), the first match counts; the spec may name only
# the `tensor` axis: fsdp is laid on what is left, by shape.
ShardingRules: TypeAlias = Sequence[tuple[str, P]]


def parse_mesh(text: str) -> dict[str, int]:
    """Read `data=2,fsdp=2` to sizes by axis; the empty text is no request.

    Raises:
        InputError: If an axis is unknown, given twice, or its size not positive.
    """
    sizes: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        is_size = number.isdecimal() and int(number) > 0
        if name not in AXES or name in sizes or not is_size:
            raise InputError(
                f"mesh {text!r}: {part!r} is not AXIS=SIZE with an axis of "
                f"{', '.join(AXES)}, each at most once; for example --mesh data=2"
            )
        sizes[name] = int(number)
    return sizes


def use_cpu_devices(text: str = "") -> None:
    """Let a CPU show as many virtual devices as the mesh asks for.

    Without a request, one a core, at most four: splitting the batch keeps cores busy in
    the small operations too, where XLA uses only one (`benchmarks/vit.py`).

    Has no effect on GPUs and TPUs, nor once JAX has started its devices, nor where the
    user chose (`JAX_NUM_CPU_DEVICES`).
    """
    wanted = math.prod(parse_mesh(text).values())
    if "JAX_NUM_CPU_DEVICES" in os.environ:
        return
    if not text:
        wanted = min(_num_cores(), _MOST_CPU_DEVICES)
    if wanted > 1:
        try:
            jax.config.update("jax_num_cpu_devices", wanted)
        except RuntimeError:  # the devices are up already: make_mesh counts them
            return


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_mesh(text: str = "", *, batch_size: int = 0) -> Mesh:
    """Make a mesh from text such as `data=2,fsdp=2`.

    Args:
        text: Sizes by axis; axes not named have size 1. Empty: all devices on `data`
            (on a CPU, as many of them as divide the batch).
        batch_size: If given, the global batch that the mesh must be able to split.

    Returns:
        A mesh with the axes `data`, `fsdp` and `tensor` over the first devices.

    Raises:
        InputError: If the text cannot be read, asks for more devices than there are,
            or does not divide the batch.
    """
    found = jax.devices()
    count = len(found)
    if batch_size and found[0].platform == "cpu" and jax.process_count() == 1:
        count = math.gcd(count, batch_size)
    sizes = parse_mesh(text) or {"data": count}
    shape = tuple(sizes.get(axis, 1) for axis in AXES)
    needed = math.prod(shape)
    if needed > len(found):
        raise InputError(
            f"mesh {text!r} needs {needed} devices, but there are {len(found)} "
            f"({found[0].platform}); use a smaller mesh, or on a CPU set "
            f"JAX_NUM_CPU_DEVICES={needed} before Python starts"
        )
    types = (AxisType.Auto,) * len(AXES)
    mesh = jax.make_mesh(shape, AXES, types, devices=found[:needed])
    owners = {device.process_index for device in found[:needed]}
    if len(owners) < jax.process_count():
        raise InputError(
            f"mesh {text!r} leaves {jax.process_count() - len(owners)} of "
            f"{jax.process_count()} processes without a device; use all {len(found)}"
        )
    if batch_size:
        check_batch_size(batch_size, mesh)
    return mesh


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Refuse a global batch that the mesh cannot split evenly.

    Raises:
        InputError: With the nearest sizes that work.
    """
    shares = math.prod(mesh.shape[axis] for axis in _BATCH_AXES)
    if batch_size < 1 or batch_size % shares:
        lower = batch_size // shares * shares
        nearest = f"{lower} or {lower + shares}" if lower > 0 else f"{shares}"
        raise InputError(
            f"batch_size {batch_size} does not divide among {shares} devices "
            f"(data x fsdp); use {nearest}"
        )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Give how the rows of a batch are laid over a mesh: split along the first axis."""
    return NamedSharding(mesh, P(_BATCH_AXES))


def process_rows(batch_size: int, mesh: Mesh) -> slice:
    """Give the rows of each global batch that this process loads.

    Raises:
        InputError: If the mesh gives it rows that do not lie side by side.
    """
    sharding = batch_sharding(mesh)
    places = sharding.addressable_devices_indices_map((batch_size,)).values()
    shares = {index[0].indices(batch_size)[:2] for index in places if index}
    start, stop = min(shares)[0], max(shares)[1]
    if sum(stop - start for start, stop in shares) != stop - start:
        raise InputError(
            f"mesh {dict(mesh.shape)} gives process {jax.process_index()} rows that "
            "do not lie side by side; let data and fsdp come before tensor"
        )
    return slice(start, stop)


def shard_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Lay this process's rows of a batch over the mesh, split along the first axis.

    NumPy leaves are this process's share of the global batch. Leaves that are JAX
    arrays already (a data set kept on the devices) stay where they are.
    """
    sharding = batch_sharding(mesh)

    def place(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array):
            return leaf
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(place, batch)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Copy a tree of this process's NumPy or JAX arrays to every device.

    Always a copy: `device_put` may share buffers with its input, and a step that
    donates its state would then delete the caller's arrays.
    """
    sharding = NamedSharding(mesh, P())

    def place(leaf: Any) -> jax.Array:
        is_array = isinstance(leaf, jax.Array)
        if is_array and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.jit(jnp.copy, out_shardings=sharding)(leaf)
        local = np.array(leaf)
        return jax.make_array_from_process_local_data(sharding, local, local.shape)

    return jax.tree.map(place, tree)


def _spec(
    path: str, shape: tuple[int, ...], mesh: Mesh, rules: ShardingRules, min_size: int
) -> P:
    spec: list[Any] = [None] * len(shape)
    if mesh.shape["tensor"] > 1:
        named = next((s for pattern, s in rules if re.search(pattern, path)), P())
        # An optimiser may keep smaller factors of a parameter under its name.
        for axis, name in enumerate(named if len(named) <= len(shape) else P()):
            # Stacked layers (scan) put their axes in front: rules count from the end.
            from_end = axis - len(named)
            if name is not None and shape[from_end] % mesh.shape["tensor"] == 0:
                spec[from_end] = name
    if mesh.shape["fsdp"] > 1 and math.prod(shape) >= min_size:
        largest_first = sorted(range(len(shape)), key=lambda axis: -shape[axis])
        for axis in largest_first:
            if spec[axis] is None and shape[axis] % mesh.shape["fsdp"] == 0:
                spec[axis] = "fsdp"
                break
    return P(*spec)


def state_shardings(
    state: PyTree, mesh: Mesh, *, rules: ShardingRules = (), min_size: int = 2**14
) -> PyTree:
    """Choose a sharding for each array of a state.

    By rule, with no mark in the model: a `tensor` axis where a rule names one, then
    `fsdp` on the largest axis that divides. Optimiser moments have the shapes and the
    path endings of their parameters and so follow them.

    Args:
        state: Arrays or `jax.ShapeDtypeStruct`s.
        mesh: The mesh.
        rules: Tensor-parallel rules of the model, such as `vit.TENSOR_RULES`.
        min_size: Arrays of fewer elements are copied: splitting would cost more
            messages than it saves memory.

    Returns:
        A tree of `NamedSharding` of the same structure.
    """

    def choose(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return NamedSharding(
            mesh, _spec(path_name(path), leaf.shape, mesh, rules, min_size)
        )

    return jax.tree_util.tree_map_with_path(choose, state)


def init_sharded(
    init: Callable[..., PyTree],
    mesh: Mesh,
    *args: Any,
    rules: ShardingRules = (),
    min_size: int = 2**14,
) -> PyTree:
    """Run `init(*args)` jitted, its result laid over the mesh from the start.

    No device ever holds an array that is meant to be split.
    """
    abstract = jax.eval_shape(init, *args)
    shardings = state_shardings(abstract, mesh, rules=rules, min_size=min_size)
    return jax.jit(init, out_shardings=shardings)(*args)
