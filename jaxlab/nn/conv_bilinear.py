"""A convolution as one primitive: bilinear, and closed under its own derivatives.

Image x, kernel w and output y of a convolution meet in one sum,

    T(x, w, y) = sum  x[b, s u + i - p, s v + j - q, c]  w[i, j, c, d]  y[b, u, v, d],

over all indices, and its three derivatives are all there is: by y the convolution, by
x its adjoint (a "transposed convolution"), by w the gradient of the kernel. Each is
linear in the two that are left, so forward mode of a map is the map itself, twice, and
reverse mode the other two. Derivatives of every order, such as a gradient penalty's,
thus consist of these three maps, each in a fast form on a CPU: XLA's own convolution
and kernel gradient, and the adjoint of a strided convolution as one convolution for
each phase of the stride, where XLA's is up to twenty times slower.

On GPUs and TPUs XLA's own convolution (cuDNN) and its derivatives stay.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxlab.core.typing import Array

__all__ = ["Geometry", "Role", "contract"]

Role: TypeAlias = Literal["image", "kernel", "output"]
Pair: TypeAlias = tuple[int, int]
_ROLES: tuple[Role, ...] = ("image", "kernel", "output")
_LAYOUT = ("NHWC", "HWIO", "NHWC")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How image, kernel and output lie to each other; pairs are (rows, columns).

    Attributes:
        image: Size of the image.
        kernel: Size of the kernel.
        output: Size of the output.
        stride: Step of the kernel over the image.
        before: Zeros before the image; as many lie behind it as the output needs.
    """

    image: Pair
    kernel: Pair
    output: Pair
    stride: Pair
    before: Pair

    def padding(self) -> tuple[Pair, Pair]:
        """Give the zeros before and behind; negative where the image is not read."""
        (rows, columns) = (
            (self.before[a], self._reach(a) - self.image[a] - self.before[a])
            for a in (0, 1)
        )
        return rows, columns

    def _reach(self, axis: int) -> int:
        return (self.output[axis] - 1) * self.stride[axis] + self.kernel[axis]


def contract(result: Role, first: Array, second: Array, geometry: Geometry) -> Array:
    """Sum over what the result does not have: one derivative of T.

    Args:
        result: Which of the three arrays is found: image (b, y, x, c), kernel
            (rows, columns, c, d) or output (b, y, x, d).
        first: Of the other two, the one that comes first in this order.
        second: The other one; of the same dtype, which the result has too. Products
            are added in float32 at least.
        geometry: The sizes.
    """
    return _contract_p.bind(first, second, result=result, geometry=geometry)


def _others(role: Role) -> tuple[Role, Role]:
    first, second = (other for other in _ROLES if other != role)
    return first, second


def _shape(
    result: Role, first: Any, second: Any, geometry: Geometry
) -> tuple[int, ...]:
    if result == "image":
        return (second.shape[0], *geometry.image, first.shape[2])
    if result == "kernel":
        return (*geometry.kernel, first.shape[3], second.shape[3])
    return (first.shape[0], *geometry.output, second.shape[3])


def _abstract(first: Any, second: Any, *, result: Role, geometry: Geometry) -> Any:
    shape = _shape(result, first, second, geometry)
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
    roles, operands = _others(result), (first, second)
    known = {roles[1 - place]: operands[1 - place], result: cotangent}
    wanted = roles[place]
    return _contract_p.bind(
        *(known[role] for role in _others(wanted)), result=wanted, **params
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
    role = _others(result)[place]
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


def _xla(first: Array, second: Array, *, result: Role, geometry: Geometry) -> Array:
    """Leave it to XLA: its convolution, and what it makes of the derivatives."""
    run = functools.partial(
        lax.conv_general_dilated,
        window_strides=geometry.stride,
        padding=geometry.padding(),
        dimension_numbers=_LAYOUT,
    )
    if result == "output":
        return run(first, second)
    wanted = jax.ShapeDtypeStruct(_shape(result, first, second, geometry), first.dtype)
    if result == "image":
        linear = jax.linear_transpose(lambda image: run(image, first), wanted)
    else:
        linear = jax.linear_transpose(lambda kernel: run(first, kernel), wanted)
    (found,) = linear(second)
    return found


def _cpu(first: Array, second: Array, *, result: Role, geometry: Geometry) -> Array:
    dtype = first.dtype
    if dtype.itemsize < 4:  # CPUs add up in float32 only what is float32
        first, second = (part.astype(jnp.float32) for part in (first, second))
    if result == "image" and geometry.stride != (1, 1):
        found = _by_phases(first, second, geometry)
    else:
        found = _xla(first, second, result=result, geometry=geometry)
    return found.astype(dtype)


def _by_phases(kernel: Array, output: Array, geometry: Geometry) -> Array:
    """Find the image that a strided convolution's output goes back to.

    Pixels of the image whose coordinates have the same rest by the stride are reached
    by the same entries of the kernel: each such phase is a convolution of the output
    with these entries, reversed, at stride 1.
    """
    image, stride = geometry.image, geometry.stride
    kernel = jnp.swapaxes(kernel, 2, 3)
    rows, columns = (
        [_phase(geometry, axis, rest) for rest in range(stride[axis])]
        for axis in (0, 1)
    )

    def of_phase(row: tuple[slice, Pair], column: tuple[slice, Pair]) -> Array:
        entries = kernel[row[0], column[0]][::-1, ::-1]
        padding = (row[1], column[1])
        if 0 not in entries.shape:
            return lax.conv_general_dilated(
                output, entries, (1, 1), padding, dimension_numbers=_LAYOUT
            )
        size = (-(-image[axis] // stride[axis]) for axis in (0, 1))
        return jnp.zeros((len(output), *size, kernel.shape[3]), output.dtype)

    grid = [jnp.stack([of_phase(row, c) for c in columns], axis=3) for row in rows]
    together = jnp.stack(grid, axis=2)
    b, y, _, x, _, c = together.shape
    whole = together.reshape(b, y * stride[0], x * stride[1], c)
    return whole[:, : image[0], : image[1]]


def _phase(geometry: Geometry, axis: int, rest: int) -> tuple[slice, Pair]:
    """Give the kernel's entries that reach the pixels rest, rest + stride, ...

    Returns:
        The entries, and the zeros before and behind the output that they need.
    """
    stride, size = geometry.stride[axis], geometry.kernel[axis]
    ahead, begin = divmod(rest + geometry.before[axis], stride)
    before = len(range(begin, size, stride)) - 1 - ahead
    pixels = -(-geometry.image[axis] // stride)
    behind = pixels + ahead - geometry.output[axis]
    return slice(begin, None, stride), (before, behind)


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
mlir.register_lowering(_contract_p, mlir.lower_fun(_xla, multiple_results=False))
mlir.register_lowering(
    _contract_p, mlir.lower_fun(_cpu, multiple_results=False), platform="cpu"
)
