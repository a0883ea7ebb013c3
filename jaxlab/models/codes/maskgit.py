"""MaskGIT: a Transformer that fills in masked codes, all at once."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.ranges import Count, Natural
from jaxlab.core.typing import Array, Bool, Float, Int, Key
from jaxlab.losses.tokens import token_cross_entropy, weighted_mean
from jaxlab.models.codes.code_tokens import number_tokens
from jaxlab.models.transformer.sizes import TransformerSizes
from jaxlab.nn.activation import GATES, Activation, GatedActivation, activation
from jaxlab.nn.blocks import TENSOR_RULES
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.tokens import Positions

__all__ = ["TENSOR_RULES", "MaskGIT", "draw_masks", "masked_loss"]


class MaskGIT(TransformerSizes, kw_only=True):
    """BERT over a class and the codes of a picture, some of which are masked.

    The tokens are the codes, then the classes, then "no class", then the mask. The
    logits are of the codes alone: products with their vectors, plus a bias.

    Attributes:
        num_codes: Codes of the codebook.
        length: Codes of a picture.
        num_classes: Classes; label `num_classes` stands for no class.
        depth: Blocks.
        norm_first: Normalise before attention and MLP instead of after, as published.

    References:
        Chang et al. 2022, "MaskGIT: Masked Generative Image Transformer",
        https://arxiv.org/abs/2202.04200.
    """

    num_codes: Count
    length: Count
    num_classes: Natural = 0
    depth: Count = 24
    norm_first: bool = False
    norm_eps: float = 1e-12
    act: Activation | GatedActivation = "gelu_tanh"
    positions: Positions = "learned"
    max_len: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.max_len = 1 + self.length
        super().__post_init__()

    def setup(self) -> None:
        self.token_embed = self.embed(self.num_codes + self.num_classes + 2, False)
        self.first_norm = self.make_norm()
        self.encoder = self.stack(self.depth, norm_first=self.norm_first)
        if self.norm_first:
            self.final_norm = self.make_norm()
        self.head = nn.Dense(self.width, dtype=self.dtype)
        self.head_norm = self.make_norm()
        self.head_bias = self.param(
            "head_bias", nn.initializers.zeros, (self.num_codes,)
        )
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self,
        codes: Int[Array, "b t"],
        masked: Bool[Array, "b t"],
        labels: Int[Array, " b"],
        *,
        train: bool = False,
    ) -> Float[Array, "b t v"]:
        """Give logits of each code.

        Args:
            codes: Codes of each picture; those that are masked do not matter.
            masked: Where the network is to see the mask.
            labels: Classes, or `num_classes` for none.
            train: Whether to drop.

        Raises:
            InputError: If there are more codes than `length`, or a known number is out
                of range.
        """
        first = self.num_codes
        seen = number_tokens(jnp.where(masked, 0, codes), self.num_codes, 0, "code")
        tokens = jnp.where(masked, first + self.num_classes + 1, seen)
        label = number_tokens(labels, self.num_classes + 1, first, "label")
        x = self.token_embed(jnp.concatenate([label[:, None], tokens], axis=1))
        x = self.dropout(self.first_norm(x), deterministic=not train)
        x = self.encoder(x, train=train)[:, 1:]
        x = self.final_norm(x) if self.norm_first else x
        act: Any = self.act
        x = self.head_norm(activation(GATES.get(act, act))(self.head(x)))
        logits = self.token_embed.attend(x)[..., : self.num_codes]
        return logits + self.head_bias[None, None]


def draw_masks(key: Key[Array, ""], rows: int, length: int) -> Bool[Array, "b t"]:
    r"""Choose the codes that are masked in a step of training.

    Of each row a share of $\cos(\pi r / 2)$, $r$ uniform in [0, 1], rounded down, and
    at least one.

    Args:
        key: Randomness, of the step.
        rows: Pictures.
        length: Codes of each.
    """
    share_key, place_key = jax.random.split(key)
    share = jnp.cos(jax.random.uniform(share_key, (rows, 1)) * (math.pi / 2))
    count = jnp.maximum(jnp.floor(share * length), 1)
    noise = jax.random.uniform(place_key, (rows, length))
    return noise.argsort(axis=1).argsort(axis=1) < count


def masked_loss(
    logits: Float[Array, "b t v"],
    codes: Int[Array, "b t"],
    masked: Bool[Array, "b t"],
    smoothing: float = 0.0,
) -> Float[Array, ""]:
    """Return the mean cross-entropy of the masked codes, in nats, and of no others.

    Args:
        logits: Logits of a `MaskGIT`.
        codes: What was there before it was masked.
        masked: Where the network saw the mask.
        smoothing: See `token_cross_entropy`; .1 as published.

    Raises:
        InputError: If the smoothing is out of range.
    """
    return weighted_mean(token_cross_entropy(logits, codes, smoothing), masked)
