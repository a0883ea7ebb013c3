"""What every encoder-decoder can do: translate, and show what it attends to.

A network fits that has the methods `prepare(source, max_len)` and `step(token, state,
context)`, such as `Transformer` and `Seq2SeqRNN`.
"""

import functools
import re
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.pytree import flat_paths
from jaxlab.core.typing import Array, Float, Int, Params
from jaxlab.models.decode.beam_search import Beams, beam_search

__all__ = ["attention_weights", "translate"]


def translate(
    module: nn.Module,
    params: Params,
    source: Int[Array, "b s"],
    *,
    max_new: int,
    beams: int = 4,
    length_penalty: float = 0.6,
    bos: int = 1,
    eos: int | Sequence[int] = 2,
    pad: int = 0,
    forbidden: Sequence[int] = (),
) -> Beams:
    """Search for the best target sequences of sources; to be called under `jax.jit`.

    Args:
        module: The network.
        params: The network's parameters.
        source: Tokens, each row ending in `eos`, then padding.
        max_new: Most tokens of a target, `eos` included.
        beams: Hypotheses a row; 1 is greedy, without a length penalty.
        length_penalty: See `beam_search`.
        bos: The token before every target.
        eos: The token after it, or several of which any is.
        pad: The token that means nothing.
        forbidden: Other tokens that never come, such as the unknown one.
    """
    variables = {"params": params}
    context, state = module.apply(variables, source, max_new, method="prepare")
    return beam_search(
        functools.partial(module.apply, variables, method="step"),
        jnp.full(len(source), bos, jnp.int32),
        state,
        context,
        beams=beams,
        max_new=max_new,
        eos=eos,
        pad=pad,
        length_penalty=length_penalty if beams > 1 else 0.0,
        forbidden=(pad, bos, *forbidden),
    )


def attention_weights(
    module: nn.Module,
    params: Params,
    source: Int[Array, "b s"],
    targets: Int[Array, "b t"],
) -> Float[Array, "b t s"] | None:
    """Tell how strongly each target token looks at each source token.

    In the last layer that looks at the source, averaged over its heads.

    Args:
        module: The network.
        params: The network's parameters.
        source: As for a training step.
        targets: As for a training step: row t predicts the token after `targets[t]`.

    Returns:
        Weights that add up to 1, or None for a network without attention.
    """
    variables = {"params": params}
    _, found = module.apply(variables, source, targets, mutable=["intermediates"])
    looks = {
        tuple(map(int, re.findall(r"\d+", path))): weights
        for path, weights in flat_paths(found).items()
        if "attention_weights" in path and "/attention/" not in path  # not to itself
    }
    if not looks:
        return None
    last = looks[max(looks)]  # by number: block_9 comes before block_10
    last = last[-1] if last.ndim == 5 else last  # scanned layers
    return last.mean(axis=1)
