"""Patches and positions of images."""

import jax
import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Num

__all__ = ["patchify", "resize_positions", "sincos2d_positions", "unpatchify"]


def patchify(
    images: Num[Array, "b y x c"], patch_size: int
) -> Num[Array, "b gy gx patch"]:
    """Cut images into square patches.

    A patch is flattened rows first, then columns, then channels, so a Dense layer on
    patches is a convolution of kernel `(patch_size, patch_size, c, d)`, reshaped.

    Raises:
        InputError: If `patch_size` does not divide the image.
    """
    b, y, x, c = images.shape
    p = patch_size
    if p < 1 or y % p or x % p:
        common = [s for s in range(1, min(y, x) + 1) if y % s == 0 and x % s == 0]
        raise InputError(
            f"patch_size {p} does not divide the image of {y} x {x} pixels; use one of "
            f"{', '.join(map(str, common))}"
        )
    grid = images.reshape(b, y // p, p, x // p, p, c)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(b, y // p, x // p, p * p * c)


def unpatchify(
    patches: Num[Array, "b gy gx patch"], patch_size: int
) -> Num[Array, "b y x c"]:
    """Undo `patchify`."""
    b, gy, gx, size = patches.shape
    p = patch_size
    grid = patches.reshape(b, gy, gx, p, p, size // (p * p))
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(b, gy * p, gx * p, -1)


def sincos2d_positions(
    rows: int, columns: int, width: int, *, temperature: float = 10_000.0
) -> Float[Array, "t d"]:
    """Give fixed sine and cosine positions of a grid, rows first.

    The layout is `[sin x, cos x, sin y, cos y]`, a quarter of the width each, with
    frequencies `temperature ** (-k / (width / 4 - 1))`.

    Raises:
        InputError: If `width` is not a multiple of 4, or below 8.

    References:
        Chen, Xie & He 2021, "An Empirical Study of Training Self-Supervised Vision
        Transformers" (MoCo v3), https://arxiv.org/abs/2104.02057; as in big_vision.
    """
    if width % 4 or width < 8:
        raise InputError(
            f"sincos2d positions need a width that is a multiple of 4 and at least 8, "
            f"not {width}"
        )
    y, x = jnp.mgrid[:rows, :columns]
    omega = jnp.arange(width // 4) / (width // 4 - 1)
    omega = 1.0 / (temperature**omega)
    angles_x = jnp.einsum("t,k->tk", x.reshape(-1), omega)
    angles_y = jnp.einsum("t,k->tk", y.reshape(-1), omega)
    parts = [jnp.sin(angles_x), jnp.cos(angles_x), jnp.sin(angles_y), jnp.cos(angles_y)]
    return jnp.concatenate(parts, axis=1).astype(jnp.float32)


def resize_positions(
    positions: Float[Array, "t d"],
    grid: tuple[int, int],
    new_grid: tuple[int, int],
    *,
    num_prefix: int = 1,
) -> Float[Array, "u d"]:
    """Resize learned positions to another grid of patches, by antialiased bicubic.

    The same as timm's and torch's `bicubic, antialias=True`, up and down. The original
    ViT code uses align-corners bilinear, HF bicubic without antialiasing: their
    numbers differ.

    Args:
        positions: One row a token, prefix tokens (class token) first.
        grid: Rows and columns of patches that `positions` were learned for.
        new_grid: Rows and columns wanted.
        num_prefix: Prefix tokens; their positions are kept.

    Raises:
        InputError: If the count of positions does not fit `grid`.
    """
    prefix, patches = positions[:num_prefix], positions[num_prefix:]
    if len(patches) != grid[0] * grid[1]:
        raise InputError(
            f"{len(positions)} positions are not {num_prefix} + {grid[0]} x {grid[1]}"
        )
    width = positions.shape[-1]
    image = patches.reshape(*grid, width)
    resized = jax.image.resize(image, (*new_grid, width), "cubic", antialias=True)
    return jnp.concatenate([prefix, resized.reshape(-1, width)])
