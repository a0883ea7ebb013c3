"""Convolutions and transposed convolutions of images, fast on CPUs in every derivative.

What runs underneath is in `bilinear`. Neither groups nor dilation are offered.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.nn.conv.bilinear import contract
from jaxlab.nn.conv.forms import Geometry, Pair

__all__ = ["Conv", "ConvTranspose", "Padding", "conv", "conv_transpose"]

# Zeros around an image. SAME: output size = image size / stride, rounded up, the odd
# zero behind; VALID: none; an int: as many on every side; pairs: before and behind, for
# rows and for columns.
Padding: TypeAlias = Literal["SAME", "VALID"] | int | Sequence[tuple[int, int]]


def conv(
    x: Float[Array, "b y x c"],
    kernel: Float[Array, "ky kx c_in c_out"],
    *,
    stride: Sequence[int] = (1, 1),
    padding: Padding = "SAME",
) -> Float[Array, "b u v c_out"]:
    """Slide a kernel over images (a cross-correlation, as all networks have it).

    Args:
        x: Images.
        kernel: Its entries for each channel before and after.
        stride: Pixels from one place of the kernel to the next, rows and columns.
        padding: Zeros around the images, see `Padding`.

    Returns:
        Outputs in the wider dtype of the two; products are added in float32.

    Raises:
        InputError: If sizes do not fit, stride or padding cannot be.
    """
    _check_arrays(x, kernel, 2)
    geometry = _geometry(_sizes(x), kernel, stride, padding)
    return contract("output", *_alike(x, kernel), geometry)


def conv_transpose(
    x: Float[Array, "b u v d"],
    kernel: Float[Array, "ky kx c_in c_out"],
    *,
    stride: Sequence[int] = (1, 1),
    padding: Padding = "SAME",
    out_size: Sequence[int],
) -> Float[Array, "b y x c_in"]:
    """Apply the adjoint of a convolution: what its gradient does to images.

    Args:
        x: What the convolution would give.
        kernel: Of the convolution: from the channels of the result to those of `x`.
        stride: Of the convolution.
        padding: Of the convolution.
        out_size: Rows and columns of the result.

    Returns:
        Images such that <conv(z), x> = <z, result> for all images z of that size.

    Raises:
        InputError: If sizes do not fit, above all if the convolution of images of
            `out_size` has not the size of `x`.
    """
    _check_arrays(x, kernel, 3)
    geometry = _geometry((out_size[0], out_size[1]), kernel, stride, padding)
    if geometry.output != _sizes(x):
        raise InputError(
            f"out_size {geometry.image}: its convolution by kernel {geometry.kernel}, "
            f"stride {geometry.stride} and padding {padding!r} has size "
            f"{geometry.output}, but x has {_sizes(x)}"
        )
    kernel, x = _alike(kernel, x)
    return contract("image", kernel, x, geometry)


class Conv(nn.Module):
    """Convolution layer; parameters are those of `flax.linen.Conv`.

    Attributes:
        features: Channels of the output.
        kernel_size: Rows and columns of the kernel.
        strides: Its step, in rows and columns.
        padding: See `Padding`.
        use_bias: Whether to add a vector.
        dtype: Of the computation and the output; parameters are float32.
        kernel_init: Start of the kernel (rows, columns, channels, features).
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: Sequence[int] = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b u v d"]:
        """Convolve images."""
        kernel = self._kernel((*self.kernel_size, x.shape[-1], self.features))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        y = conv(x, kernel, stride=self.strides, padding=self.padding)
        return _add_bias(self, y)

    def _kernel(self, shape: tuple[int, ...]) -> Array:
        """Make the kernel; layers that normalise it make it otherwise."""
        return self.param("kernel", self.kernel_init, shape)


class ConvTranspose(nn.Module):
    """Transposed convolution layer: the adjoint of a convolution, plus a bias.

    Parameters are those of `flax.linen.ConvTranspose(transpose_kernel=True)`, whose
    values it has.

    Attributes:
        features: Channels of the output.
        kernel_size: Rows and columns of the kernel.
        strides: Growth of the images, in rows and columns.
        padding: Of the convolution whose adjoint this is (as in torch), which fixes the
            size of the output. SAME: size times stride; else (size - 1) * stride +
            kernel size - zeros + `output_padding`.
        output_padding: Rows and columns more, where the stride leaves a choice.
        use_bias: Whether to add a vector.
        dtype: Of the computation and the output; parameters are float32.
        kernel_init: Start of the kernel (rows, columns, features, channels).
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: Sequence[int] = (1, 1)
    padding: Padding = "SAME"
    output_padding: int = 0
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal(
        in_axis=-1, out_axis=-2
    )

    @nn.compact
    def __call__(self, x: Float[Array, "b u v d"]) -> Float[Array, "b y x c"]:
        """Convolve images, transposed."""
        shape = (*self.kernel_size, self.features, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        y = conv_transpose(
            x,
            kernel,
            stride=self.strides,
            padding=self.padding,
            out_size=self._out_size(x),
        )
        return _add_bias(self, y)

    def _out_size(self, x: Array) -> Pair:
        if self.padding == "SAME":
            if self.output_padding:
                raise InputError(
                    f"output_padding {self.output_padding} has no meaning for padding "
                    "'SAME', whose output is the size times the stride; use 0"
                )
            return x.shape[1] * self.strides[0], x.shape[2] * self.strides[1]
        zeros = _zeros(self.padding, (0, 0), (0, 0), (1, 1))
        rows, columns = (
            (x.shape[1 + a] - 1) * self.strides[a]
            + self.kernel_size[a]
            - sum(zeros[a])
            + self.output_padding
            for a in (0, 1)
        )
        return rows, columns


def _add_bias(module: Conv | ConvTranspose, y: Array) -> Array:
    if not module.use_bias:
        return y
    bias = module.param("bias", nn.initializers.zeros, (module.features,))
    return y + bias.astype(module.dtype)[None, None, None]


def _geometry(
    image: Pair, kernel: Array, stride: Sequence[int], padding: Padding
) -> Geometry:
    stride = _check_stride(stride)
    size = (kernel.shape[0], kernel.shape[1])
    zeros = _zeros(padding, image, size, stride)
    output = _output_size(image, size, stride, zeros)
    return Geometry(image, size, output, stride, (zeros[0][0], zeros[1][0]))


def _sizes(x: Array) -> Pair:
    return x.shape[1], x.shape[2]


def _alike(a: Array, b: Array) -> tuple[Array, Array]:
    dtype = jnp.promote_types(a.dtype, b.dtype)
    return a.astype(dtype), b.astype(dtype)


def _check_arrays(x: Array, kernel: Array, axis: int) -> None:
    if x.ndim != 4 or kernel.ndim != 4:
        raise InputError(
            f"images of shape {x.shape} and a kernel of shape {kernel.shape} must have "
            "four axes each: (batch, rows, columns, channels) and (rows, columns, "
            "channels of the image, channels of the output)"
        )
    if x.shape[3] != kernel.shape[axis]:
        raise InputError(
            f"images of shape {x.shape} have {x.shape[3]} channels, but the kernel of "
            f"shape {kernel.shape} wants {kernel.shape[axis]}; groups are not offered"
        )


def _check_stride(stride: Sequence[int]) -> Pair:
    if isinstance(stride, int) or len(stride) != 2 or min(stride) < 1:
        raise InputError(
            f"stride {stride!r} must be two numbers of at least 1, rows and columns"
        )
    return stride[0], stride[1]


def _zeros(
    padding: Padding, image: Pair, size: Pair, stride: Pair
) -> tuple[Pair, Pair]:
    """Give the zeros before and behind, for rows and for columns."""
    if padding == "VALID":
        return (0, 0), (0, 0)
    if padding == "SAME":
        rows, columns = (
            max((-(-image[a] // stride[a]) - 1) * stride[a] + size[a] - image[a], 0)
            for a in (0, 1)
        )
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
    if isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    is_list = not isinstance(padding, str) and len(padding) == 2
    if not is_list or any(len(pair) != 2 or min(pair) < 0 for pair in padding):
        raise InputError(
            f"padding {padding!r} must be 'SAME', 'VALID', a number of zeros or two "
            "pairs of them, before and behind, for rows and for columns"
        )
    (top, bottom), (left, right) = padding
    return (top, bottom), (left, right)


def _output_size(
    image: Pair, size: Pair, stride: Pair, zeros: tuple[Pair, Pair]
) -> Pair:
    rows, columns = (
        (image[a] + sum(zeros[a]) - size[a]) // stride[a] + 1 for a in (0, 1)
    )
    if min(rows, columns) < 1:
        raise InputError(
            f"a kernel of size {size} does not fit into images of size {image} with "
            f"padding {zeros}; use a smaller kernel or more padding"
        )
    return rows, columns
