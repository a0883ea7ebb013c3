"""Activation functions by name, since papers differ where libraries do not say."""

import functools
from collections.abc import Callable
from typing import Literal, TypeAlias

import jax

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array

__all__ = ["GATES", "Activation", "GatedActivation", "activation"]

# "gelu" is exact, by erf (torch, HF, timm); "gelu_tanh" the approximation that Flax,
# vit_jax and big_vision use. They differ by up to 4.7e-4.
Activation: TypeAlias = Literal["gelu", "gelu_tanh", "relu", "silu"]

# Of an MLP whose hidden units are multiplied by a second, activated projection
# (Shazeer 2020, "GLU Variants Improve Transformer", https://arxiv.org/abs/2002.05202).
GatedActivation: TypeAlias = Literal["swiglu", "geglu", "reglu"]
GATES: dict[str, Activation] = {"swiglu": "silu", "geglu": "gelu", "reglu": "relu"}


# Checkpointed: the backward pass keeps the input alone and not the erf beside it.
_gelu = jax.checkpoint(functools.partial(jax.nn.gelu, approximate=False))
_gelu_tanh = jax.checkpoint(functools.partial(jax.nn.gelu, approximate=True))


def activation(name: Activation) -> Callable[[Array], Array]:
    """Give the function of that name.

    Raises:
        InputError: If there is none.
    """
    functions: dict[str, Callable[[Array], Array]] = {
        "gelu": _gelu,
        "gelu_tanh": _gelu_tanh,
        "relu": jax.nn.relu,
        "silu": jax.nn.silu,
    }
    if name not in functions:
        raise InputError(f"activation {name!r} is not one of {', '.join(functions)}")
    return functions[name]
