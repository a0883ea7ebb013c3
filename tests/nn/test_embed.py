"""Tests of `jaxlab.nn.embed`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.nn.embed import (
    patchify,
    resize_positions,
    sincos2d_positions,
    unpatchify,
)

# Sums of up to a few hundred float32 products, in another order.
ORDER_OF_SUMS = 1e-5


@pytest.fixture
def images(rng):
    """Give two images of 6 x 9 pixels and 2 channels."""
    return jnp.asarray(rng.normal(size=(2, 6, 9, 2)), jnp.float32)


def test_a_patch_is_flattened_by_rows_columns_channels(images):
    patches = patchify(images, 3)
    assert patches.shape == (2, 2, 3, 18)
    for gy in range(2):
        for gx in range(3):
            cut = images[:, 3 * gy : 3 * gy + 3, 3 * gx : 3 * gx + 3]
            np.testing.assert_array_equal(patches[:, gy, gx], cut.reshape(2, 18))


@pytest.mark.parametrize("patch_size", [1, 3])
def test_unpatchify_undoes_patchify(images, patch_size):
    again = unpatchify(patchify(images, patch_size), patch_size)
    np.testing.assert_array_equal(again, images)


def test_dense_on_patches_is_a_convolution(images, rng):
    kernel = jnp.asarray(rng.normal(size=(3, 3, 2, 5)), jnp.float32)
    expected = jax.lax.conv_general_dilated(
        images, kernel, (3, 3), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    got = patchify(images, 3) @ kernel.reshape(1, 1, 18, 5)
    np.testing.assert_allclose(got, expected, atol=ORDER_OF_SUMS)


@pytest.mark.peer
def test_dense_on_patches_is_a_convolution_of_torch(images, rng):
    torch = pytest.importorskip("torch")
    kernel = rng.normal(size=(5, 2, 3, 3)).astype(np.float32)  # out, in, y, x
    pixels = torch.from_numpy(np.array(images.transpose(0, 3, 1, 2)))
    expected = torch.nn.functional.conv2d(pixels, torch.from_numpy(kernel), stride=3)
    dense = kernel.transpose(2, 3, 1, 0).reshape(1, 1, 18, 5)
    got = patchify(images, 3) @ dense
    np.testing.assert_allclose(
        got.transpose(0, 3, 1, 2), expected.numpy(), atol=ORDER_OF_SUMS
    )


@pytest.mark.parametrize("patch_size", [0, 2, 4])
def test_a_patch_size_that_does_not_divide_is_refused(images, patch_size):
    with pytest.raises(InputError, match=r"6 x 9 pixels; use one of 1, 3$"):
        patchify(images, patch_size)


def test_uint8_images_stay_uint8():
    assert patchify(jnp.zeros((1, 4, 4, 3), jnp.uint8), 2).dtype == jnp.uint8


def test_sincos_positions_are_those_of_a_naive_loop():
    rows, columns, width = 3, 4, 16
    expected = np.zeros((rows * columns, width))
    for y in range(rows):
        for x in range(columns):
            for k in range(4):
                frequency = 10_000.0 ** (-k / 3)
                token = expected[y * columns + x]
                token[k], token[4 + k] = np.sin(x * frequency), np.cos(x * frequency)
                token[8 + k] = np.sin(y * frequency)
                token[12 + k] = np.cos(y * frequency)
    got = sincos2d_positions(rows, columns, width)
    np.testing.assert_allclose(got, expected, atol=ORDER_OF_SUMS)
    assert got.dtype == jnp.float32


def test_sincos_positions_have_equal_lengths_and_are_distinct():
    positions = np.asarray(sincos2d_positions(4, 4, 8))
    np.testing.assert_allclose((positions**2).sum(1), 4, rtol=ORDER_OF_SUMS)
    assert len(np.unique(positions.round(6), axis=0)) == 16


@pytest.mark.parametrize("width", [4, 10])
def test_sincos_positions_of_an_odd_width_are_refused(width):
    with pytest.raises(InputError, match=f"not {width}$"):
        sincos2d_positions(2, 2, width)


def test_resizing_to_the_same_grid_changes_nothing(rng):
    positions = jnp.asarray(rng.normal(size=(13, 8)), jnp.float32)
    got = resize_positions(positions, (3, 4), (3, 4))
    np.testing.assert_allclose(got, positions, atol=ORDER_OF_SUMS)


@pytest.mark.parametrize("num_prefix", [0, 1, 3])
def test_prefix_positions_are_kept(rng, num_prefix):
    positions = jnp.asarray(rng.normal(size=(num_prefix + 12, 8)), jnp.float32)
    got = resize_positions(positions, (3, 4), (5, 2), num_prefix=num_prefix)
    assert got.shape == (num_prefix + 10, 8)
    np.testing.assert_array_equal(got[:num_prefix], positions[:num_prefix])


def test_constant_positions_stay_constant():
    got = resize_positions(jnp.ones((17, 4)), (4, 4), (7, 3))
    np.testing.assert_allclose(got, 1.0, rtol=ORDER_OF_SUMS)


@pytest.mark.peer
@pytest.mark.parametrize("new_grid", [(7, 9), (2, 3), (8, 2)])
def test_positions_are_resized_as_torch_does_with_antialiasing(rng, new_grid):
    torch = pytest.importorskip("torch")
    positions = rng.normal(size=(1 + 4 * 5, 8)).astype(np.float32)
    grid = torch.from_numpy(positions[1:].reshape(1, 4, 5, 8).transpose(0, 3, 1, 2))
    expected = torch.nn.functional.interpolate(
        grid, new_grid, mode="bicubic", antialias=True
    )
    expected = expected.numpy().transpose(0, 2, 3, 1).reshape(-1, 8)
    got = resize_positions(jnp.asarray(positions), (4, 5), new_grid)[1:]
    np.testing.assert_allclose(got, expected, atol=ORDER_OF_SUMS)


def test_positions_that_do_not_fit_the_grid_are_refused():
    with pytest.raises(InputError, match=r"17 positions are not 1 \+ 4 x 5"):
        resize_positions(jnp.zeros((17, 4)), (4, 5), (2, 2))
