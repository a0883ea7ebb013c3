"""How far back a sequence model's last output depends on its inputs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float

__all__ = ["gradient_by_lag"]


def gradient_by_lag(
    apply: Callable[[Float[Array, "b t d"]], Float[Array, "b t h"]],
    inputs: Float[Array, "b t d"],
) -> Float[Array, " t"]:
    r"""Measure the gradient of the last output with respect to earlier inputs.

    Entry $k$ is the mean over rows of the Frobenius norm of the Jacobian
    $\partial y_T / \partial x_{T-k}$. In a recurrent network it falls (gradients
    vanish) or grows (they explode) like a power of $k$: the reason for gates, and for
    attention, whose path has the same length for every lag.

    Args:
        apply: The network with its parameters, vectors in, outputs of all times out;
            rows must not depend on each other.
        inputs: Where to take the gradient.

    Raises:
        InputError: If the outputs are not (b, t, h).

    References:
        Bengio, Simard & Frasconi 1994, "Learning Long-Term Dependencies with Gradient
        Descent is Difficult"; Pascanu, Mikolov & Bengio 2013,
        https://arxiv.org/abs/1211.5063, equation 5.
    """
    outputs, pull = jax.vjp(apply, inputs)
    if outputs.ndim != 3 or outputs.shape[:2] != inputs.shape[:2]:
        raise InputError(
            f"outputs of shape {outputs.shape} are not (b, t, h) for inputs of shape "
            f"{inputs.shape}; give the outputs of all times"
        )

    def add_row(squares: Array, unit: Array) -> tuple[Array, None]:
        """Add the squares of one row of each Jacobian."""
        (row,) = pull(jnp.zeros_like(outputs).at[:, -1, unit].set(1))
        return squares + jnp.square(row.astype(jnp.float32)).sum(-1), None

    start = jnp.zeros(inputs.shape[:2])
    squares, _ = jax.lax.scan(add_row, start, jnp.arange(outputs.shape[-1]))
    return jnp.sqrt(squares).mean(0)[::-1]
