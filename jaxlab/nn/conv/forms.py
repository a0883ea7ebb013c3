"""The three maps of a convolution by XLA's own operations.

See `bilinear` for the maps and their arguments.
"""

import dataclasses
import functools
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from jaxlab.core.typing import Array

__all__ = ["ROLES", "Geometry", "Pair", "Role", "by_xla", "by_xla_on_cpu", "others"]

Role: TypeAlias = Literal["image", "kernel", "output"]
Pair: TypeAlias = tuple[int, int]
Shape: TypeAlias = tuple[int, ...]
ROLES: tuple[Role, ...] = ("image", "kernel", "output")
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

    def shape(self, result: Role, first: Shape, second: Shape) -> Shape:
        """Give the shape of one array of a convolution, from those of the others."""
        if result == "image":
            return (second[0], *self.image, first[2])
        if result == "kernel":
            return (*self.kernel, first[3], second[3])
        return (first[0], *self.output, second[3])

    def _reach(self, axis: int) -> int:
        return (self.output[axis] - 1) * self.stride[axis] + self.kernel[axis]


def others(role: Role) -> tuple[Role, Role]:
    """Give the other two, in order."""
    first, second = (other for other in ROLES if other != role)
    return first, second


def by_xla(result: Role, first: Array, second: Array, geometry: Geometry) -> Array:
    """Leave all to XLA: its convolution, and what it makes of the derivatives."""
    run = functools.partial(
        lax.conv_general_dilated,
        window_strides=geometry.stride,
        padding=geometry.padding(),
        dimension_numbers=_LAYOUT,
    )
    if result == "output":
        return run(first, second)
    wanted = jax.ShapeDtypeStruct(
        geometry.shape(result, first.shape, second.shape), first.dtype
    )
    if result == "image":
        linear = jax.linear_transpose(lambda image: run(image, first), wanted)
    else:
        linear = jax.linear_transpose(lambda kernel: run(first, kernel), wanted)
    (found,) = linear(second)
    return found


def by_xla_on_cpu(
    result: Role, first: Array, second: Array, geometry: Geometry
) -> Array:
    """Find the result by those operations of XLA that are fast on a CPU.

    Its kernel gradient is. Its convolution is, unless the kernel is larger than the
    image: there a product with all patches is up to a hundred times faster. The
    adjoint of a strided convolution is made of convolutions, one for each phase of the
    stride, up to twenty times faster than XLA's.
    """
    if result == "image":
        return _by_phases(first, second, geometry)
    if result == "output":
        return _convolve(first, second, geometry.stride, geometry.padding())
    return by_xla(result, first, second, geometry)


def _convolve(
    x: Array, kernel: Array, stride: Pair, padding: tuple[Pair, Pair]
) -> Array:
    rows, columns, _, channels = kernel.shape
    if rows <= x.shape[1] and columns <= x.shape[2]:
        return lax.conv_general_dilated(
            x, kernel, stride, padding, dimension_numbers=_LAYOUT
        )
    x = lax.pad(
        x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)]
    )
    u, v = ((x.shape[1 + a] - kernel.shape[a]) // stride[a] + 1 for a in (0, 1))
    patches = [
        x[:, i : i + stride[0] * (u - 1) + 1 : stride[0]][
            :, :, j : j + stride[1] * (v - 1) + 1 : stride[1]
        ]
        for i in range(rows)
        for j in range(columns)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, channels)


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
            return _convolve(output, entries, (1, 1), padding)
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
