r"""How far each Sinkhorn step goes: beyond its target, as observed rates advise.

Near its end Sinkhorn's iteration is a Gauss-Seidel iteration of two blocks: it
shrinks the error by $\mu^2$ a step. Going $\omega$ times as far shrinks it by
$\omega - 1$ at best, at $\omega = 2 / (1 + \sqrt{1 - \mu^2})$: for $\mu^2 = 0.99$
some twenty times fewer steps. The rate $\rho$ seen under any smaller $\omega$ tells
$\mu$ by Young's relation $(\rho + \omega - 1)^2 = \rho \omega^2 \mu^2$.

References:
    Young 1954; Hageman and Young 1981, chapter 9. Thibault et al. 2017,
    https://arxiv.org/abs/1711.01851; Lehmann et al. 2020,
    https://arxiv.org/abs/2012.12562 (Sinkhorn).
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlab.core.typing import Array

__all__ = ["Relaxation", "next_relaxation", "start_relaxation"]

_WINDOW = 5  # steps between two looks
_LARGEST = 1.99


class Relaxation(NamedTuple):
    """The factor, and what has been seen since it was set."""

    omega: Array
    settled: Array  # whether a window has passed: the first shows the change itself
    last_error: Array
    first_error: Array  # at the end of that first window


def start_relaxation(omega: Array) -> Relaxation:
    """Begin with a factor, 1 for Sinkhorn's own steps."""
    never = jnp.full_like(omega, jnp.inf)
    return Relaxation(omega, jnp.zeros((), bool), never, never)


def next_relaxation(now: Relaxation, error: Array, step: Array) -> Relaxation:
    """Look at the error after `step` steps, and set the factor anew where that pays."""
    omega = now.omega
    rate = (error / now.last_error) ** (1 / _WINDOW)
    safe = jnp.clip(rate, 1e-6, 1)
    mu2 = jnp.minimum((safe + omega - 1) ** 2 / (safe * omega**2), 1 - 1e-6)
    better = jnp.minimum(2 / (1 + jnp.sqrt(1 - mu2)), _LARGEST)
    # At the best factor the rate is omega - 1, and tells no more about mu.
    wanted = jnp.where((rate > omega - 1) & (rate < 1), better, omega)
    wanted = jnp.where(error > 5 * now.first_error, 1 + (omega - 1) / 2, wanted)
    changes = now.settled & (abs(wanted - omega) > 0.02 * (2 - omega))
    seen = Relaxation(
        jnp.where(changes, wanted, omega),
        ~changes,
        error,
        jnp.where(now.settled, now.first_error, error),
    )
    looks = (step > 0) & (step % _WINDOW == 0)
    return Relaxation(
        *(jnp.where(looks, new, old) for new, old in zip(seen, now, strict=True))
    )
