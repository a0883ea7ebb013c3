"""Networks of a wanted size, so that different ones can be compared."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import num_elements

__all__ = ["num_parameters", "width_for"]

_WIDEST = 2**16


def num_parameters(module: nn.Module, *inputs: Any) -> int:
    """Count the parameters of a network without making them."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return num_elements(shapes["params"])


def width_for(
    build: Callable[[int], nn.Module], wanted: int, *inputs: Any, multiple: int = 8
) -> int:
    """Find the width with which a network has about so many parameters.

    Args:
        build: Makes the network of a width; a wider one has more parameters.
        wanted: Parameters.
        inputs: Example inputs of the network; values do not matter.
        multiple: The width is a multiple of this.

    Returns:
        The width whose count is nearest to the wanted one.

    Raises:
        InputError: If even the narrowest network has twice as many.
    """

    def count(units: int) -> int:
        return num_parameters(build(units * multiple), *inputs)

    narrowest = count(1)
    if narrowest > 2 * wanted:
        raise InputError(
            f"num_parameters {wanted} is too few: a network of width {multiple} has "
            f"{narrowest} already"
        )
    low, high = 1, 2
    while count(high) < wanted and high * multiple < _WIDEST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= wanted else (low, middle)
    best = min((low, high), key=lambda units: abs(count(units) - wanted))
    return best * multiple
