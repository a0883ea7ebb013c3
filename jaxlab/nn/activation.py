"""Activation functions by name, since papers differ where libraries do not say."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array

__all__ = ["Activation", "activation"]

# "gelu" is exact, by erf (torch, HF, timm); "gelu_tanh" the approximation that Flax,
# vit_jax and big_vision use. They differ by up to 4.7e-4.
Activation: TypeAlias = Literal["gelu", "gelu_tanh", "relu", "silu"]


def activation(name: Activation) -> Callable[[Array], Array]:
    """Give the function of that name.

    Raises:
        InputError: If there is none.
    """
    functions: dict[str, Callable[[Array], Array]] = {
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
        "relu": jax.nn.relu,
        "silu": jax.nn.silu,
    }
    if name not in functions:
        raise InputError(f"activation {name!r} is not one of {', '.join(functions)}")
    return functions[name]
