"""Images as tokens: patches, positions on a grid, and pools back to one vector."""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import check_choice
from jaxlab.core.typing import Array, Float
from jaxlab.nn.activation import Activation
from jaxlab.nn.attention import MultiHeadAttention
from jaxlab.nn.blocks import Mlp
from jaxlab.nn.conv.layers import Conv
from jaxlab.nn.embed import patchify, sincos2d_positions
from jaxlab.nn.norm import LayerNorm

__all__ = ["GridPositions", "PatchEmbed", "Pool", "Positions", "Stem", "TokenPool"]

Pool: TypeAlias = Literal["token", "mean", "map", "none"]
Positions: TypeAlias = Literal["learned", "learned2d", "sincos2d", "none"]
Stem: TypeAlias = Literal["patch", "conv"]


class PatchEmbed(nn.Module):
    """Square patches of images, each projected to a token.

    Attributes:
        patch_size: Pixels a side of a patch.
        width: Width of the tokens.
        stem: `patch` is one linear projection; `conv` puts two 3x3 convolutions before
            it.
        dtype: Type of the computation.
    """

    patch_size: int
    width: int
    stem: Stem = "patch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b y x c"]) -> Float[Array, "b gy gx d"]:
        """Return the grid of tokens.

        Raises:
            InputError: If `patch_size` does not divide the images.
        """
        check_choice("stem", self.stem, Stem)
        x = images
        if self.stem == "conv":
            for index in range(2):
                x = Conv(
                    self.width // 2, (3, 3), dtype=self.dtype, name=f"stem_{index}"
                )(x)
                x = nn.relu(x)
        patches = patchify(x, self.patch_size)
        batch, rows, columns, size = patches.shape
        # Rows of one matrix: XLA's product of those is faster on a CPU.
        tokens = nn.Dense(
            self.width,
            kernel_init=nn.initializers.xavier_uniform(),
            dtype=self.dtype,
            name="patch_embed",
        )(patches.reshape(batch, rows * columns, size))
        return tokens.reshape(batch, rows, columns, self.width)


class GridPositions(nn.Module):
    """What is added to tokens to tell where on a grid they lie.

    Attributes:
        kind: `learned` one vector a position; `learned2d` one a row beside one a
            column (Dosovitskiy et al. 2021, appendix D.4); `sincos2d` fixed; `none`.
        width: Width of the tokens.
        num_prefix: Tokens before those of the grid; only `learned` has vectors for
            them.
    """

    kind: Positions
    width: int
    num_prefix: int = 0

    @nn.compact
    def __call__(self, rows: int, columns: int) -> Float[Array, "1 t d"] | None:
        """Return the positions of a grid, prefix first; None if there are none."""
        check_choice("pos_embed", self.kind, Positions)
        init, prefix = nn.initializers.normal(0.02), self.num_prefix
        if self.kind == "none":
            return None
        if self.kind == "learned":
            shape = (1, prefix + rows * columns, self.width)
            return self.param("pos_embed", init, shape)
        if self.kind == "sincos2d":
            grid = sincos2d_positions(rows, columns, self.width)
        else:
            half = self.width // 2
            y = self.param("pos_embed_y", init, (rows, 1, half))
            x = self.param("pos_embed_x", init, (1, columns, self.width - half))
            both = (rows, columns)
            y, x = (jnp.broadcast_to(part, (*both, part.shape[-1])) for part in (y, x))
            grid = jnp.concatenate([y, x], axis=-1).reshape(-1, self.width)
        return jnp.pad(grid, ((prefix, 0), (0, 0)))[None]


class TokenPool(nn.Module):
    """One vector of all tokens, or the tokens as they are.

    Attributes:
        kind: `token` reads the first token; `mean` averages all; `map` lets a learned
            probe attend to them (Zhai et al. 2022, https://arxiv.org/abs/2106.04560);
            `none` returns all tokens.
        num_heads: Heads of the probe's attention.
        hidden_dim: Width inside its MLP.
        act: Activation of its MLP.
        norm_eps: Added to the variance of its normalisation.
        dtype: Type of the computation.
    """

    kind: Pool
    num_heads: int = 1
    hidden_dim: int = 1
    act: Activation = "gelu"
    norm_eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], *, train: bool = False
    ) -> Float[Array, "b ..."]:
        """Return `(b, d)`, or `(b, t, d)` of the kind `none`."""
        check_choice("pool", self.kind, Pool)
        if self.kind == "token":
            return x[:, 0]
        if self.kind == "mean":
            return x.mean(axis=1)
        if self.kind == "none":
            return x
        width, init = x.shape[-1], nn.initializers.xavier_uniform()
        probe = self.param("probe", init, (1, 1, width))
        probe = jnp.broadcast_to(probe.astype(x.dtype), (len(x), 1, width))
        y = MultiHeadAttention(
            width, self.num_heads, dtype=self.dtype, name="map_attention"
        )(probe, x)
        normed = LayerNorm(self.norm_eps, self.dtype, name="map_norm")(y)
        mlp = Mlp(self.hidden_dim, self.act, dtype=self.dtype, name="map_mlp")
        return (y + mlp(normed, train=train))[:, 0]
