"""What every language model can do: go on with a text, and tell how far it looks back.

A network fits that has the methods `prefill(tokens, lengths, max_len)` and `step(token,
state)`, `embed_tokens(tokens)` and `features(vectors)`, such as `TransformerLM` and
`RNNLM`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.typing import Array, Float, Int, Key, Params
from jaxlab.models.decode.decoding import Decoded, sample
from jaxlab.nn.sensitivity import gradient_by_lag

__all__ = ["generate", "generate_by_windows", "gradients_of_tokens"]


def generate(
    module: nn.Module,
    params: Params,
    prompts: Int[Array, "b t"],
    lengths: Int[Array, " b"] | None = None,
    *,
    max_new: int,
    **options: Any,
) -> Decoded:
    """Draw tokens that follow prompts; to be called under `jax.jit`.

    Args:
        module: The network.
        params: Its parameters.
        prompts: Tokens, padded at their ends with anything.
        lengths: Tokens of each prompt; None: all.
        max_new: Tokens to draw.
        options: Of `jaxlab.models.decode.decoding.sample`, such as `key` and `top_p`.
    """
    variables = {"params": params}
    if lengths is None:
        lengths = jnp.full(len(prompts), prompts.shape[1])
    begin, state = module.apply(
        variables, prompts, lengths, prompts.shape[1] + max_new, method="prefill"
    )
    step = functools.partial(module.apply, variables, method="step")
    return sample(step, begin, state, max_new=max_new, **options)


def generate_by_windows(
    module: nn.Module,
    params: Params,
    prompts: Int[Array, "b t"],
    *,
    key: Key[Array, ""],
    windows: int,
    **options: Any,
) -> Int[Array, "b n"]:
    """Draw a long text from a network that was trained on windows of `2 t` tokens.

    Each window goes on from the last t tokens alone, so that no position is used that
    was never trained.

    Args:
        module: The network.
        params: Its parameters.
        prompts: The first t tokens of each row.
        key: Randomness.
        windows: Half windows to draw: `windows * t` tokens.
        options: Others of `generate`.
    """

    def draw(prompts: Array, key: Array) -> tuple[Array, Array]:
        size = prompts.shape[1]
        found = generate(module, params, prompts, max_new=size, key=key, **options)
        return found.tokens, found.tokens

    _, drawn = jax.lax.scan(draw, prompts, jax.random.split(key, windows))
    return jnp.swapaxes(drawn, 0, 1).reshape(len(prompts), -1)


def gradients_of_tokens(
    module: nn.Module, params: Params, tokens: Int[Array, "b t"]
) -> Float[Array, " t"]:
    """Tell how strongly the last feature depends on each earlier token's vector.

    Returns:
        The mean norm of the derivative by the lag in tokens, see `gradient_by_lag`.
    """
    apply: Any = functools.partial(module.apply, {"params": params})
    vectors = apply(tokens, method="embed_tokens")
    return gradient_by_lag(functools.partial(apply, method="features"), vectors)
