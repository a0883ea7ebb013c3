"""Encoder-only Transformer: features or classes of token sequences."""

from typing import Literal, TypeAlias

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Int
from jaxlab.models.transformer.sizes import TransformerSizes
from jaxlab.nn.activation import Activation, GatedActivation
from jaxlab.nn.blocks import TENSOR_RULES
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.tokens import Positions, look_up, padding_mask

__all__ = ["TENSOR_RULES", "Pool", "TransformerEncoder"]

Pool: TypeAlias = Literal["token", "mean", "none"]


class TransformerEncoder(TransformerSizes, kw_only=True):
    """Encoder alone: features of each token, or classes of whole sequences.

    With its defaults a BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805).

    Attributes:
        vocab_size: Tokens.
        depth: Blocks.
        num_types: Kinds of tokens (first or second sentence) with vectors of their own;
            0: none.
        norm_first: Normalise before attention and MLP instead of after.
        embed_norm: Normalise the sum of the embeddings.
        pool: `token` reads the first token, `mean` averages all that are not padding,
            `none` gives every token.
        representation_size: Width of a tanh layer on what is pooled; 0: none.
        num_classes: Outputs of a head on that; 0: none.
        pad: Number of the padding token; None: there is no padding.
    """

    vocab_size: int = 30_522
    depth: int = 12
    num_types: int = 0
    norm_first: bool = False
    embed_norm: bool = True
    pool: Pool = "none"
    representation_size: int = 0
    num_classes: int = 0
    pad: int | None = 0
    act: Activation | GatedActivation = "gelu"
    positions: Positions = "learned"

    def setup(self) -> None:
        self.token_embed = self.embed(self.vocab_size, False)
        if self.num_types:
            init, shape = nn.initializers.normal(0.02), (self.num_types, self.width)
            self.type_embed = self.param("type_embed", init, shape)
        if self.embed_norm:
            self.first_norm = self.make_norm()
        self.encoder = self.stack(self.depth, norm_first=self.norm_first)
        if self.norm_first:
            self.final_norm = self.make_norm()
        if self.representation_size:
            self.pre_logits = nn.Dense(self.representation_size, dtype=self.dtype)
        if self.num_classes:
            self.head = nn.Dense(self.num_classes)
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self,
        tokens: Int[Array, "b t"],
        types: Int[Array, "b t"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b ..."]:
        """Encode tokens.

        Args:
            tokens: Numbers below `vocab_size`; no token sees padding.
            types: Kinds of the tokens, below `num_types`; None: all 0.
            train: Whether to drop.

        Returns:
            Features `(b, t, width)`, pooled ones `(b, width)`, or logits
            `(b, num_classes)`.
        """
        x = self.token_embed(tokens)
        if self.num_types:
            kinds = jnp.zeros_like(tokens) if types is None else types
            x += look_up(self.type_embed.astype(x.dtype), kinds, "type")
        elif types is not None:
            raise InputError(
                "types are given to a network with num_types=0, which has none"
            )
        x = self.first_norm(x) if self.embed_norm else x
        x = self.dropout(x, deterministic=not train)
        visible = padding_mask(tokens, self.pad)
        x = self.encoder(x, visible, train=train)
        x = self.final_norm(x) if self.norm_first else x
        x = self._pool(x, visible[:, 0, 0])
        if self.representation_size:
            x = nn.tanh(self.pre_logits(x))
        if self.num_classes:
            x = self.head(x)
        return x.astype(jnp.float32)

    def _pool(self, x: Array, is_token: Array) -> Array:
        if self.pool == "token":
            return x[:, 0]
        if self.pool == "mean":
            # float32, since bfloat16 cannot count beyond 256.
            weights = is_token.astype(jnp.float32)[..., None]
            return (x * weights).sum(1) / jnp.maximum(weights.sum(1), 1)
        if self.pool != "none":
            raise InputError(f"pool {self.pool!r} must be one of token, mean, none")
        return x
