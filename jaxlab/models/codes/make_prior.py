"""Priors over codes, from plain values, as runs record them."""

from typing import Any

import jax.numpy as jnp

from jaxlab.models.codes.code_gpt import CodeGPT
from jaxlab.models.codes.maskgit import MaskGIT

__all__ = ["make_code_gpt", "make_maskgit"]


def make_code_gpt(
    num_codes: int,
    num_classes: int = 0,
    *,
    length: int,
    width: int = 1024,
    depth: int = 24,
    num_heads: int = 16,
    dropout_rate: float = 0.0,
    num_hints: int = 0,
    hint_length: int = 0,
    scan: bool = False,
    remat: bool = False,
    dtype: Any = jnp.float32,
) -> CodeGPT:
    """Make a GPT over codes; its default sizes are those of VQGAN's paper.

    Args:
        num_codes: Codes of the codebook.
        num_classes: Classes; 0: none.
        length: Codes of a picture.
        width: Channels of the residual stream.
        depth: Blocks.
        num_heads: Attention heads.
        dropout_rate: Share of units dropped while training, in [0, 1).
        num_hints: Codes of the second run's codebook; 0: there is none.
        hint_length: Codes of the second run in front of each picture's own.
        scan: See `jaxlab.nn.stack.Stack`.
        remat: See `jaxlab.nn.stack.Stack`.
        dtype: Type of the computation; parameters and logits are float32.
    """
    return CodeGPT(
        num_codes=num_codes,
        num_classes=num_classes,
        length=length,
        width=width,
        depth=depth,
        num_heads=num_heads,
        dropout_rate=dropout_rate,
        num_hints=num_hints,
        hint_length=hint_length,
        scan=scan,
        remat=remat,
        dtype=dtype,
    )


def make_maskgit(
    num_codes: int,
    num_classes: int = 0,
    *,
    length: int,
    width: int = 768,
    depth: int = 24,
    num_heads: int = 16,
    dropout_rate: float = 0.1,
    norm_first: bool = False,
    scan: bool = False,
    remat: bool = False,
    dtype: Any = jnp.float32,
) -> MaskGIT:
    """Make a MaskGIT; its default sizes are those of its paper.

    Args:
        num_codes: Codes of the codebook.
        num_classes: Classes; 0: none.
        length: Codes of a picture.
        width: Channels of the residual stream.
        depth: Blocks.
        num_heads: Attention heads.
        dropout_rate: Share of units dropped while training, in [0, 1).
        norm_first: Normalise before attention and MLP; small networks train so without
            a warm-up.
        scan: See `jaxlab.nn.stack.Stack`.
        remat: See `jaxlab.nn.stack.Stack`.
        dtype: Type of the computation; parameters and logits are float32.
    """
    return MaskGIT(
        num_codes=num_codes,
        num_classes=num_classes,
        length=length,
        width=width,
        depth=depth,
        num_heads=num_heads,
        dropout_rate=dropout_rate,
        norm_first=norm_first,
        scan=scan,
        remat=remat,
        dtype=dtype,
    )
