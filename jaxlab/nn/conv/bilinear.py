"""A convolution as one primitive: bilinear, and closed under its own derivatives.

Image x, kernel w and output y of a convolution meet in one sum,

    T(x, w, y) = sum  x[b, s u + i - p, s v + j - q, c]  w[i, j, c, d]  y[b, u, v, d],

over all indices, and its three derivatives are all there is: by y the convolution, by
x its adjoint (a "transposed convolution"), by w the gradient of the kernel. Each is
linear in the two that are left, so forward mode of a map is the map itself, twice, and
reverse mode the other two. Derivatives of every order, such as a gradient penalty's,
thus consist of these three maps. On a CPU each takes a fast form: a compiled kernel
(`native`), or, without a compiler, operations of XLA that are fast there
(`forms`). On GPUs and TPUs XLA's own convolution and its derivatives stay.
"""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding

from jaxlab.core.typing import Array
from jaxlab.nn.conv.forms import Geometry, Role, by_xla, by_xla_on_cpu, others
from jaxlab.nn.conv.native import by_native, suits_native
from jaxlab.nn.conv.split import add_up, batch_axes, spec_of

__all__ = ["contract"]


def contract(result: Role, first: Array, second: Array, geometry: Geometry) -> Array:
    """Sum over what the result does not have: one derivative of T.

    Args:
        result: Which of the three arrays is found: image (b, y, x, c), kernel
            (rows, columns, c, d) or output (b, y, x, d).
        first: Of the other two, the one that comes first in this order.
        second: The other one; of the same dtype, which the result has too. Products
            are added in float32 at least.
        geometry: The sizes.

    On a mesh with axes of type Explicit the result keeps the split of the batch; a
    kernel is whole on every device. With Auto axes the compiler does the same.
    """
    mesh = _explicit_mesh(first, second)
    if mesh is not None:
        return _contract_split(
            first, second, result=result, geometry=geometry, mesh=mesh
        )
    first, second = _vary_alike(first, second)
    return _contract_p.bind(first, second, result=result, geometry=geometry)


def _explicit_mesh(*arrays: Array) -> Any:
    """Give the mesh of the arrays or around them, if its axes are of type Explicit."""
    meshes = [jax.typeof(array).sharding.mesh for array in arrays]
    meshes.append(jax.sharding.get_abstract_mesh())
    return next((mesh for mesh in meshes if mesh.explicit_axes), None)


# Jitted, as outside of `jax.set_mesh` only a program knows the devices of such a mesh.
@functools.partial(jax.jit, static_argnames=("result", "geometry", "mesh"))
def _contract_split(
    first: Array, second: Array, *, result: Role, geometry: Geometry, mesh: Any
) -> Array:
    """Contract on a mesh whose types of arrays say how they are split.

    What is split along other axes than the batch is put together before; transposing
    that splits the gradient again.
    """
    roles, operands = others(result), (first, second)
    splits = (jax.typeof(array).sharding.spec for array in operands)
    batch = batch_axes(roles, splits)
    specs = tuple(spec_of(role, batch) for role in roles)

    def of_device(first: Array, second: Array) -> Array:
        return add_up(contract(result, first, second, geometry), result, batch)

    run = jax.shard_map(
        of_device, mesh=mesh, in_specs=specs, out_specs=spec_of(result, batch)
    )
    return run(
        *(
            jax.sharding.reshard(array, NamedSharding(mesh, spec))
            for array, spec in zip(operands, specs, strict=True)
        )
    )


def _vary_alike(*arrays: Array) -> list[Array]:
    """Inside `jax.shard_map`: let all vary over the axes over which any does."""
    varying = [jax.typeof(array).mat.varying for array in arrays]
    axes = frozenset().union(*varying)
    return [
        lax.pcast(array, tuple(axes - own), to="varying") if axes - own else array
        for array, own in zip(arrays, varying, strict=True)
    ]


def _abstract(first: Any, second: Any, *, result: Role, geometry: Geometry) -> Any:
    shape = geometry.shape(result, first.shape, second.shape)
    return first.update(shape=shape, weak_type=False)


def _transpose(
    place: int,
    cotangent: Array,
    first: Any,
    second: Any,
    *,
    result: Role,
    **params: Any,
) -> Array:
    """Give the derivative by the operand at a place."""
    roles, operands = others(result), (first, second)
    known = {roles[1 - place]: operands[1 - place], result: cotangent}
    wanted = roles[place]
    return _contract_p.bind(
        *(known[role] for role in others(wanted)), result=wanted, **params
    )


# The axis of each pair of arrays that T does not sum over if only one of them is given.
_SHARED: dict[frozenset[Role], dict[Role, int]] = {
    frozenset(("image", "output")): {"image": 0, "output": 0},  # b
    frozenset(("image", "kernel")): {"image": 3, "kernel": 2},  # c
    frozenset(("kernel", "output")): {"kernel": 3, "output": 3},  # d
}


def _batch(
    operands: Sequence[Array],
    axes: Sequence[int | None],
    *,
    result: Role,
    **params: Any,
) -> tuple[Array, int]:
    """Add an axis (vmap), merged into the one that operand and result share."""
    bind = functools.partial(_contract_p.bind, result=result, **params)
    mapped = {place: axis for place, axis in enumerate(axes) if axis is not None}
    if len(mapped) == 2:
        pair = [
            jnp.moveaxis(operands[place], axis, 0) for place, axis in mapped.items()
        ]
        return lax.map(lambda one: bind(*one), tuple(pair)), 0
    ((place, axis),) = mapped.items()
    role = others(result)[place]
    shared = _SHARED[frozenset((role, result))]
    outer = jnp.moveaxis(operands[place], axis, shared[role])
    count = outer.shape[shared[role]]
    shape = list(outer.shape)
    shape[shared[role] : shared[role] + 2] = [-1]
    merged = list(operands)
    merged[place] = outer.reshape(shape)
    found = bind(*merged)
    at = shared[result]
    parts = (*found.shape[:at], count, -1, *found.shape[at + 1 :])
    return found.reshape(parts), at


def _any(first: Array, second: Array, *, result: Role, geometry: Geometry) -> Array:
    return by_xla(result, first, second, geometry)


def _cpu(first: Array, second: Array, *, result: Role, geometry: Geometry) -> Array:
    dtype = first.dtype
    if dtype.itemsize < 4:  # CPUs add up in float32 only what is float32
        first, second = (part.astype(jnp.float32) for part in (first, second))
    is_native = suits_native(result, first, second)
    run = by_native if is_native else by_xla_on_cpu
    return run(result, first, second, geometry).astype(dtype)


_contract_p = Primitive("conv_contract")
_contract_p.def_impl(
    jax.jit(
        lambda first, second, *, result, geometry: contract(
            result, first, second, geometry
        ),
        static_argnames=("result", "geometry"),
    )
)
_contract_p.def_abstract_eval(_abstract)
ad.defbilinear(
    _contract_p, functools.partial(_transpose, 0), functools.partial(_transpose, 1)
)
batching.primitive_batchers[_contract_p] = _batch
mlir.register_lowering(_contract_p, mlir.lower_fun(_any, multiple_results=False))
mlir.register_lowering(
    _contract_p, mlir.lower_fun(_cpu, multiple_results=False), platform="cpu"
)
# The CPU's form asks for the mesh while it is lowered (`custom_partitioning`); JAX has
# no public way to say so of a primitive. A version without this list has nothing to be
# told.
with contextlib.suppress(ImportError):
    from jax._src.dispatch import prim_requires_devices_during_lowering

    prim_requires_devices_during_lowering.add(_contract_p)
