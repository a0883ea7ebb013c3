"""The compiled convolution of CPUs, for one device and for a batch split over many.

`kernels/conv.cc` finds all three maps of `bilinear` by one product of matrices. A
tile of the result is eight images at one pixel by thirty-two channels (or eight by
thirty-two channels at one entry of the kernel), so that all of it meets the same
entries of the kernel: padding costs nothing, neither does a stride, and images are laid
out anew once, not once for each entry as in im2col.

Measured on one core of a Zen 4 that multiplies matrices at 115 GFLOP/s: 95 to 115
GFLOP/s in all three directions for layers of 32 channels and more.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlab.core.native import NativeLibrary
from jaxlab.core.typing import Array
from jaxlab.nn.conv.forms import ROLES, Geometry, Role, others
from jaxlab.nn.conv.split import add_up, batch_axes, spec_of

__all__ = ["by_native", "suits_native"]

_LIBRARY = NativeLibrary(
    package="nn",
    handlers={"jaxlab_convolve": "JaxlabConvolve"},
    without="convolutions run without compiled kernels, slower",
)
_AXES = {"image": "b y x c", "kernel": "i j c d", "output": "b u v d"}
_LEAST_BATCH = 4  # half the rows of a tile


def suits_native(result: Role, first: Array, second: Array) -> bool:
    """Tell whether the compiled kernel is there and the faster one.

    Args:
        result: As for `bilinear.contract`.
        first: The first operand.
        second: The second one.
    """
    batch = first.shape[0] if result == "output" else second.shape[0]
    is_full = result == "kernel" or batch >= _LEAST_BATCH
    is_float32 = first.dtype == second.dtype == jnp.float32
    return is_float32 and is_full and _LIBRARY.is_available()


def by_native(result: Role, first: Array, second: Array, geometry: Geometry) -> Array:
    """Find one array of a convolution from the two others; float32.

    A batch that is split over devices stays split: each convolves its own images, and
    the gradients of a kernel are added up.

    Args:
        result: As for `bilinear.contract`, like the others.
        first: The first operand.
        second: The second one.
        geometry: The sizes.
    """
    return _PARTITIONED[result](first, second, geometry)


def _call(
    result: Role, first: Array, second: Array, geometry: Geometry, shares: int
) -> Array:
    """Call the kernel, which takes its part of the threads that devices share.

    Without a mesh the shares are 0, and the kernel takes all.
    """
    shape = geometry.shape(result, first.shape, second.shape)
    call = jax.ffi.ffi_call("jaxlab_convolve", jax.ShapeDtypeStruct(shape, jnp.float32))
    return call(
        first,
        second,
        result=np.int64(ROLES.index(result)),
        shares=np.int64(shares),
        stride=np.array(geometry.stride, np.int64),
        before=np.array(geometry.before, np.int64),
    )


def _partition(
    result: Role, geometry: Geometry, mesh: Mesh, operands: Any, _: Any
) -> tuple[Mesh, Any, NamedSharding, tuple[NamedSharding, ...]]:
    """Say what one device does: its rows of the batch."""
    roles = others(result)
    if mesh.empty:  # not known to JAX here, only its devices are: each does all
        devices = sorted(operands[0].sharding.device_set, key=lambda device: device.id)
        mesh = Mesh(np.array(devices), ("devices",))
    # Without a mesh shardings have no spec.
    specs = [getattr(part.sharding, "spec", P()) for part in operands]
    batch = batch_axes(roles, specs)
    # A process shares its threads among its own devices of the mesh.
    shares = len(mesh.local_devices)

    def lay(role: Role) -> NamedSharding:
        return NamedSharding(mesh, spec_of(role, batch))

    def of_device(first: Array, second: Array) -> Array:
        return add_up(_call(result, first, second, geometry, shares), result, batch)

    return mesh, of_device, lay(result), tuple(lay(role) for role in roles)


def _alone(result: Role, first: Array, second: Array, geometry: Geometry) -> Array:
    mesh = jax.typeof(first).sharding.mesh  # with axes inside `jax.shard_map`
    shares = min(mesh.size, jax.local_device_count())
    return _call(result, first, second, geometry, shares)


def _make_partitioned(result: Role) -> custom_partitioning:
    call = custom_partitioning(functools.partial(_alone, result), static_argnums=(2,))
    first, second = (_AXES[role] for role in others(result))
    letters = dict.fromkeys(f"{first} {second} {_AXES[result]}".split())
    call.def_partition(
        partition=functools.partial(_partition, result),
        sharding_rule=f"{first}, {second} -> {_AXES[result]}",
        reduction_factors=("b",) if result == "kernel" else (),
        need_replication_factors=tuple(x for x in letters if x != "b"),
    )
    return call


_PARTITIONED = {role: _make_partitioned(role) for role in ROLES}
