"""Vision Transformer.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image
Recognition at Scale", https://arxiv.org/abs/2010.11929.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import ImageFeatures, as_images, choose_layers
from jaxlab.core.ranges import Count, Natural, NotNegative, Rate, check_fields
from jaxlab.core.typing import Array, Float
from jaxlab.nn.activation import Activation
from jaxlab.nn.blocks import TENSOR_RULES
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.image_tokens import (
    GridPositions,
    PatchEmbed,
    Pool,
    Positions,
    Stem,
    TokenPool,
)
from jaxlab.nn.norm import LayerNorm
from jaxlab.nn.stack import Stack

__all__ = ["TENSOR_RULES", "VARIANTS", "ViT", "vit"]

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

    num_classes: Natural = 1000
    patch_size: Count = 16
    width: Count = 192
    depth: Count = 12
    num_heads: Count = 3
    hidden_dim: Natural = 0
    stem: Stem = "patch"
    pool: Pool = "token"
    pos_embed: Positions = "learned"
    representation_size: Natural = 0
    dropout_rate: Rate = 0.0
    drop_path_rate: Rate = 0.0
    act: Activation = "gelu"
    norm_eps: NotNegative = 1e-6
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self._check()
        hidden_dim = self.hidden_dim or 4 * self.width
        has_token = self.pool in ("token", "none")
        # Their parameters lie beside the ViT's own, where checkpoints have them.
        self.patches = PatchEmbed(self.patch_size, self.width, self.stem, self.dtype)
        self.positions = GridPositions(self.pos_embed, self.width, int(has_token))
        self.pooling = TokenPool(
            self.pool,
            self.num_heads,
            hidden_dim,
            self.act,
            self.norm_eps,
            self.dtype,
        )
        for part in (self.patches, self.positions, self.pooling):
            nn.share_scope(self, part)
        if has_token:
            self.cls = self.param("cls", nn.initializers.zeros, (1, 1, self.width))
        self.dropout = Dropout(self.dropout_rate)
        block = {
            "width": self.width,
            "num_heads": self.num_heads,
            "hidden_dim": hidden_dim,
            "act": self.act,
            "dropout_rate": self.dropout_rate,
            "norm_eps": self.norm_eps,
            "dtype": self.dtype,
        }
        self.encoder = Stack(
            self.depth, block, self.drop_path_rate, self.scan, self.remat
        )
        self.norm = LayerNorm(self.norm_eps, self.dtype)
        if self.representation_size:
            self.pre_logits = nn.Dense(self.representation_size, dtype=self.dtype)
        if self.num_classes:
            # Zeros: the first predictions are uniform and the loss log(num_classes).
            # In float32 whatever the rest: logits decide the loss.
            init = nn.initializers.zeros
            self.head = nn.Dense(self.num_classes, kernel_init=init)

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
        x = self.features(images, train=train).pooled
        if self.num_classes:
            x = self.head(x)
        return x.astype(jnp.float32)

    def features(
        self,
        images: Float[Array, "b y x c"],
        layers: tuple[int, ...] = (),
        *,
        train: bool = False,
    ) -> ImageFeatures:
        """Return what the head reads, and the tokens after chosen blocks.

        Args:
            images: Values in [-1, 1].
            layers: Numbers of blocks, from 0; negative ones count from the last.
            train: Whether to drop.

        Raises:
            InputError: If a size does not divide another, or there is no such block.
        """
        x = self._embed(as_images(images, self.dtype))
        x = self.dropout(x, deterministic=not train)
        outputs = self.encoder.layers(x, train=train) if layers else []
        x = outputs[-1] if layers else self.encoder(x, train=train)
        pooled = self.pooling(self.norm(x), train=train)
        if self.representation_size:
            pooled = nn.tanh(self.pre_logits(pooled))
        return ImageFeatures(pooled, choose_layers(outputs, layers))

    def _check(self) -> None:
        check_fields(self)
        if self.width % self.num_heads:
            raise InputError(
                f"num_heads {self.num_heads} does not divide width {self.width}"
            )

    def _embed(self, images: Array) -> Array:
        """Images to tokens with positions, the class token (if any) first."""
        grid = self.patches(images)
        batch, rows, columns, _ = grid.shape
        x = grid.reshape(batch, rows * columns, self.width)
        if self.pool in ("token", "none"):
            token = jnp.broadcast_to(self.cls.astype(x.dtype), (batch, 1, self.width))
            x = jnp.concatenate([token, x], axis=1)
        positions = self.positions(rows, columns)
        return x if positions is None else x + positions.astype(x.dtype)


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
