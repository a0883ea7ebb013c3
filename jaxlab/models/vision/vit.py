"""Vision Transformer.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image
Recognition at Scale", https://arxiv.org/abs/2010.11929.
"""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.nn.activation import Activation
from jaxlab.nn.attention import MultiHeadAttention
from jaxlab.nn.blocks import TENSOR_RULES, Mlp
from jaxlab.nn.conv.layers import Conv
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.embed import patchify, sincos2d_positions
from jaxlab.nn.norm import LayerNorm
from jaxlab.nn.stack import Stack

__all__ = ["TENSOR_RULES", "VARIANTS", "Pool", "Positions", "Stem", "ViT", "vit"]

Pool: TypeAlias = Literal["token", "mean", "map", "none"]
Positions: TypeAlias = Literal["learned", "learned2d", "sincos2d", "none"]
Stem: TypeAlias = Literal["patch", "conv"]

# Table 1 of the paper; Ti and S are DeiT's (Touvron et al. 2021).
VARIANTS: dict[str, dict[str, int]] = {
    "Ti": {"width": 192, "depth": 12, "num_heads": 3, "hidden_dim": 768},
    "S": {"width": 384, "depth": 12, "num_heads": 6, "hidden_dim": 1536},
    "B": {"width": 768, "depth": 12, "num_heads": 12, "hidden_dim": 3072},
    "L": {"width": 1024, "depth": 24, "num_heads": 16, "hidden_dim": 4096},
    "H": {"width": 1280, "depth": 32, "num_heads": 16, "hidden_dim": 5120},
}


class ViT(nn.Module):
    """Vision Transformer for images of any size that `patch_size` divides.

    Attributes:
        num_classes: Outputs of the head; 0 returns pooled features instead.
        patch_size: Pixels a side of a patch.
        width: Width of the residual stream.
        depth: Encoder blocks.
        num_heads: Attention heads.
        hidden_dim: Width inside the MLPs; 0: four times `width`.
        stem: `patch` is the paper's linear projection; `conv` puts two 3x3
            convolutions before it, which small data sets want (the paper's hybrid, in
            small; Xiao et al. 2021, https://arxiv.org/abs/2106.14881).
        pool: `token` reads the class token; `mean` averages the patches; `map` lets a
            learned probe attend to them (Zhai et al. 2022,
            https://arxiv.org/abs/2106.04560); `none` returns all tokens. Only `token`
            and `none` have a class token.
        pos_embed: `learned` one vector a position; `learned2d` one a row beside one a
            column (appendix D.4); `sincos2d` fixed; `none`.
        representation_size: Width of a tanh layer before the head, used in
            pre-training; 0: none.
        dropout_rate: After positions, attention and in the MLPs.
        drop_path_rate: Stochastic depth of the last block.
        act: Activation of the MLPs.
        norm_eps: Added to the variance of layer normalisation.
        scan: See `Stack`.
        remat: See `Stack`.
        dtype: Of the computation; parameters and outputs are float32.
    """

    num_classes: int = 1000
    patch_size: int = 16
    width: int = 192
    depth: int = 12
    num_heads: int = 3
    hidden_dim: int = 0
    stem: Stem = "patch"
    pool: Pool = "token"
    pos_embed: Positions = "learned"
    representation_size: int = 0
    dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    act: Activation = "gelu"
    norm_eps: float = 1e-6
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "b y x c"], *, train: bool = False
    ) -> Float[Array, "b ..."]:
        """Classify images with values in [-1, 1].

        Returns:
            Logits `(b, num_classes)`; features `(b, width)` if `num_classes` is 0; or
            the same for every token with `pool="none"`, class token first.

        Raises:
            InputError: If a size does not divide another, naming both.
        """
        self._check()
        x = self._embed(images.astype(self.dtype))
        x = Dropout(self.dropout_rate)(x, deterministic=not train)
        hidden_dim = self.hidden_dim or 4 * self.width
        block = {
            "width": self.width,
            "num_heads": self.num_heads,
            "hidden_dim": hidden_dim,
            "act": self.act,
            "dropout_rate": self.dropout_rate,
            "norm_eps": self.norm_eps,
            "dtype": self.dtype,
        }
        x = Stack(
            self.depth,
            block,
            self.drop_path_rate,
            self.scan,
            self.remat,
            name="encoder",
        )(x, train=train)
        x = self._norm("norm")(x)
        x = self._pool(x, hidden_dim, train)
        if self.representation_size:
            x = nn.Dense(self.representation_size, dtype=self.dtype, name="pre_logits")(
                x
            )
            x = nn.tanh(x)
        if self.num_classes:
            # Zeros: the first predictions are uniform and the loss log(num_classes).
            x = nn.Dense(
                self.num_classes,
                kernel_init=nn.initializers.zeros,
                name="head",  # in float32 whatever the rest: logits decide the loss
            )(x)
        return x.astype(jnp.float32)

    def _check(self) -> None:
        if self.width % self.num_heads:
            raise InputError(
                f"num_heads {self.num_heads} does not divide width {self.width}"
            )
        for name in ("dropout_rate", "drop_path_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)} must lie in [0, 1)")
        if self.depth < 1:
            raise InputError(f"depth {self.depth} must be at least 1")

    def _norm(self, name: str) -> LayerNorm:
        return LayerNorm(self.norm_eps, self.dtype, name=name)

    def _embed(self, images: Array) -> Array:
        """Images to tokens with positions, the class token (if any) first."""
        x = images
        if self.stem == "conv":
            for index in range(2):
                x = Conv(
                    self.width // 2, (3, 3), dtype=self.dtype, name=f"stem_{index}"
                )(x)
                x = nn.relu(x)
        patches = patchify(x, self.patch_size)
        batch, rows, columns, _ = patches.shape
        patches = patches.reshape(batch, rows * columns, -1)
        x = nn.Dense(
            self.width,
            kernel_init=nn.initializers.xavier_uniform(),
            dtype=self.dtype,
            name="patch_embed",
        )(patches)
        has_token = self.pool in ("token", "none")
        if has_token:
            token = self.param("cls", nn.initializers.zeros, (1, 1, self.width))
            token = jnp.broadcast_to(token.astype(x.dtype), (batch, 1, self.width))
            x = jnp.concatenate([token, x], axis=1)
        positions = self._positions(rows, columns, has_token)
        return x if positions is None else x + positions.astype(x.dtype)

    def _positions(self, rows: int, columns: int, has_token: bool) -> Array | None:
        init = nn.initializers.normal(0.02)
        prefix = int(has_token)
        if self.pos_embed == "none":
            return None
        if self.pos_embed == "learned":
            shape = (1, prefix + rows * columns, self.width)
            return self.param("pos_embed", init, shape)
        if self.pos_embed == "sincos2d":
            grid = sincos2d_positions(rows, columns, self.width)
        else:
            half = self.width // 2
            y = self.param("pos_embed_y", init, (rows, 1, half))
            x = self.param("pos_embed_x", init, (1, columns, self.width - half))
            both = (rows, columns)
            y, x = (jnp.broadcast_to(part, (*both, part.shape[-1])) for part in (y, x))
            grid = jnp.concatenate([y, x], axis=-1).reshape(-1, self.width)
        return jnp.pad(grid, ((prefix, 0), (0, 0)))[None]  # the class token has none

    def _pool(self, x: Array, hidden_dim: int, train: bool) -> Array:
        if self.pool == "token":
            return x[:, 0]
        if self.pool == "mean":
            return x.mean(axis=1)
        if self.pool == "none":
            return x
        init = nn.initializers.xavier_uniform()
        probe = self.param("probe", init, (1, 1, self.width))
        probe = jnp.broadcast_to(probe.astype(x.dtype), (len(x), 1, self.width))
        y = MultiHeadAttention(
            self.width, self.num_heads, dtype=self.dtype, name="map_attention"
        )(probe, x)
        z = Mlp(hidden_dim, self.act, dtype=self.dtype, name="map_mlp")(
            self._norm("map_norm")(y), train=train
        )
        return (y + z)[:, 0]


def vit(variant: str, *, num_classes: int = 1000, **fields: Any) -> ViT:
    """Make a ViT by its usual name, such as `B/16`.

    Args:
        variant: Size and patch size, with a size of `VARIANTS`.
        num_classes: Outputs of the head.
        fields: Other fields of `ViT`.

    Raises:
        InputError: If the name is not understood.

    Examples:
        >>> vit("S/16").width
        384
    """
    size, _, patch_size = variant.partition("/")
    if size not in VARIANTS or not patch_size.isdecimal():
        raise InputError(
            f"variant {variant!r} is not SIZE/PATCH with SIZE of "
            f"{', '.join(VARIANTS)}, such as 'B/16'"
        )
    chosen = {**VARIANTS[size], "patch_size": int(patch_size), **fields}
    return ViT(num_classes=num_classes, **chosen)
