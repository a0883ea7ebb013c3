"""Sinkhorn's iteration on a kernel into which the potentials are absorbed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array
from jaxlab.transport.geometry import (
    PointCloud,
    block_cost,
    over_blocks,
    shape_of,
    split_rows,
)
from jaxlab.transport.overrelaxation import (
    Relaxation,
    next_relaxation,
    start_relaxation,
)

__all__ = ["iterate"]

_FARTHEST = 30.0  # of the logarithms of the scalings; then they are absorbed
_NEAR = 0.03  # of the mean cost: to a larger epsilon no way pays
_ROUGH = 0.1  # error at which an epsilon on the way is left
_STEPS_ON_THE_WAY = 100
_HOPE = 2.0  # looks come when the error should be this many times below the one wanted


class _Scalings(NamedTuple):
    """State on one kernel."""

    u: Array  # logarithms [blocks, rows]
    v: Array  # [m]
    error: Array
    column_error: Array
    relaxation: Relaxation
    steps: Array


class _Look(NamedTuple):
    """State between measurements of the error."""

    scalings: _Scalings
    error: Array
    aim: Array  # for what the steps show of the error


class _Stage(NamedTuple):
    """State between kernels."""

    f: Array  # [blocks, rows]
    g: Array  # [m]
    eps: Array
    omega: Array
    error: Array
    steps: Array
    is_done: Array


def iterate(
    cost: Any, a: Array, b: Array, eps: Array, tol: Any, max_steps: Any, decay: Any
) -> tuple[Array, Array, Array, Array]:
    """Find potentials.

    Returns:
        f, g, the error of the column sums (row sums are right), and the passes over the
        kernel: updates of both potentials, and looks at the error.
    """
    n, _ = shape_of(cost)
    parts, rows = split_rows(cost, jnp.zeros_like(a))
    masses = jnp.pad(a, (0, rows.size - n)).reshape(rows.shape)
    total = a.sum()

    def stage(now: _Stage) -> _Stage:
        is_last = ~(now.eps > eps)
        h, k = _hard_minima(cost, parts, masses, b, now.g)
        kernel = _absorb(cost, parts, h, k, now.eps)
        limit = jnp.where(is_last, max_steps, _STEPS_ON_THE_WAY)
        wanted = jnp.where(is_last, tol / 2, _ROUGH) * total
        start = _Scalings(
            jnp.clip((now.f - h) / now.eps, -_FARTHEST, _FARTHEST),
            jnp.clip((now.g - k) / now.eps, -_FARTHEST, _FARTHEST),
            jnp.full_like(eps, jnp.inf),
            jnp.zeros_like(eps),
            start_relaxation(now.omega),
            jnp.zeros((), jnp.int32),
        )

        def may_go_on(s: _Scalings) -> Array:
            far = jnp.maximum(
                jnp.where(masses > 0, abs(s.u), 0).max(),
                jnp.where(b > 0, abs(s.v), 0).max(),
            )
            is_far = (far >= _FARTHEST) & (s.steps > 0)
            is_within = (s.steps < limit) & (now.steps + s.steps < max_steps)
            return is_within & ~is_far & ~jnp.isnan(s.error)

        def search(look: _Look) -> _Look:
            """Step until the error should be small enough, then measure it."""

            def goes_on(s: _Scalings) -> Array:
                return (_hoped_error(s) > look.aim) & may_go_on(s)

            s = jax.lax.while_loop(
                goes_on, lambda s: _step(kernel, masses, b, s), look.scalings
            )
            error = _plain_error(kernel, masses, b, s)
            excess = jnp.maximum(error / wanted, 1)
            aim = jnp.minimum(look.aim, _hoped_error(s)) / (_HOPE * excess)
            return _Look(s._replace(steps=s.steps + 1), error, aim)

        first_look = _Look(start, jnp.full_like(eps, jnp.inf), wanted)
        look = jax.lax.while_loop(
            lambda look: (look.error > wanted) & may_go_on(look.scalings),
            search,
            first_look,
        )
        end = look.scalings
        lower = jnp.maximum(now.eps * decay, eps)
        return _Stage(
            h + now.eps * end.u,
            k + now.eps * end.v,
            lower,
            jnp.where(is_last, end.relaxation.omega, 1),
            look.error,
            now.steps + end.steps,
            (is_last & (look.error <= wanted)) | ~(look.error < jnp.inf),  # or NaN
        )

    one, zero = jnp.ones_like(eps), jnp.zeros((), jnp.int32)
    mean = _mean_cost(cost, parts, a, b)
    first = jnp.where((decay < 1) & (eps < _NEAR * mean), jnp.maximum(eps, mean), eps)
    begin = _Stage(rows, jnp.zeros_like(b), first, one, one, zero, zero > 0)
    end = jax.lax.while_loop(
        lambda now: ~now.is_done & (now.steps < max_steps), stage, begin
    )
    f, g, error = _potentials(cost, parts, masses, b, eps, end.g)
    return f.reshape(-1)[:n], g, error, end.steps


def _mean_cost(cost: Any, parts: Array, a: Array, b: Array) -> Array:
    """Give a rough size of the costs, from the block in the middle."""
    costs = block_cost(cost, parts[len(parts) // 2])
    return (abs(costs) @ b).mean() / b.sum()


def _hard_minima(
    cost: Any, parts: Array, masses: Array, b: Array, g: Array
) -> tuple[Array, Array]:
    """Give h_i = min_j C_ij - g_j and k_j = min_i C_ij - h_i, over points with mass.

    So that the kernel e^((h + k - C) / eps) has no entry above 1, and a 1 in each row
    and column: nothing overflows, and no row vanishes.
    """
    g = jnp.where(b > 0, g, -jnp.inf)

    def step(k: Array, block: tuple[Array, Array]) -> tuple[Array, Array]:
        part, a = block
        costs = block_cost(cost, part)
        h = (costs - g[None, :]).min(1)
        rest = jnp.where(a[:, None] > 0, costs - h[:, None], jnp.inf)
        return jnp.minimum(k, rest.min(0)), h

    k, h = over_blocks(step, jnp.full_like(g, jnp.inf), (parts, masses))
    return h, k


class _Kernel(NamedTuple):
    """The kernel, or for clouds of points what makes its blocks."""

    cost: Any
    parts: Array
    h: Array
    k: Array
    eps: Array

    def block(self, part: Array, h: Array) -> Array:
        heights = (
            h[:, None] + self.k[None, :] - block_cost(self.cost, part)
        ) / self.eps
        # Above 0 only where a row has no mass. Denormal numbers would be slow.
        return jnp.where(heights < -85, 0, jnp.exp(jnp.minimum(heights, 0)))


def _absorb(cost: Any, parts: Array, h: Array, k: Array, eps: Array) -> _Kernel:
    kernel = _Kernel(cost, parts, h, k, eps)
    if isinstance(cost, PointCloud):
        return kernel
    return kernel._replace(parts=jax.vmap(kernel.block)(parts, h))


def _column_sums(
    kernel: _Kernel, masses: Array, b: Array, s: _Scalings
) -> tuple[Array, Array, Array]:
    """Update u; give the column sums without v's factor, the rows' error, and u.

    A row's update needs that row alone, so its share of the column sums is added
    while the row is in the cache.
    """
    is_lazy = isinstance(kernel.cost, PointCloud)
    right = b * jnp.exp(s.v)
    omega = s.relaxation.omega

    def rows(carry: tuple[Array, Array], block: Any) -> tuple[Any, Array]:
        (sums, error), (part, h, u, a) = carry, block
        K = kernel.block(part, h) if is_lazy else part
        reached = jnp.log(K @ right)
        error += (a * abs(jnp.exp(u + reached) - 1)).sum()
        u = (1 - omega) * u - omega * reached
        return (sums + (a * jnp.exp(u)) @ K, error), u

    (sums, error), u = over_blocks(
        rows,
        (jnp.zeros_like(b), jnp.zeros_like(omega)),
        (kernel.parts, kernel.h, s.u, masses),
    )
    return sums, error, u


def _step(kernel: _Kernel, masses: Array, b: Array, s: _Scalings) -> _Scalings:
    """Update both sides in one pass over the kernel."""
    omega = s.relaxation.omega
    sums, row_error, u = _column_sums(kernel, masses, b, s)
    error = row_error + s.column_error
    relaxation = next_relaxation(s.relaxation, error, s.steps)
    reached = jnp.log(sums)
    v = (1 - omega) * s.v - omega * reached
    column_error = (b * abs(jnp.exp(v + reached) - 1)).sum()
    return _Scalings(u, v, error, column_error, relaxation, s.steps + 1)


def _hoped_error(s: _Scalings) -> Array:
    r"""Guess the error that is left once steps are no longer over-relaxed.

    What shows between over-relaxed steps is the distance they go too far. A slow
    component e shrinks by some $(1 - \mu^2) \omega / (2 - \omega)$ of itself a step,
    and that shows; without over-relaxation only $(1 - \mu^2) e$ would.
    """
    omega = s.relaxation.omega
    return s.error * (2 - omega) / omega


def _plain_error(kernel: _Kernel, masses: Array, b: Array, s: _Scalings) -> Array:
    """Give the error of the column sums, once v's own u has made the row sums right."""
    one = start_relaxation(jnp.ones_like(s.error))
    sums = _column_sums(kernel, masses, b, s._replace(relaxation=one))[0]
    return (b * abs(jnp.exp(s.v) * sums - 1)).sum()


def _potentials(
    cost: Any, parts: Array, masses: Array, b: Array, eps: Array, g: Array
) -> tuple[Array, Array, Array]:
    """Give f that makes the row sums right, g, and the error of the column sums.

    Where b has no mass g is what the columns' condition says.
    """

    def step(sums: Array, block: Any) -> tuple[Array, Array]:
        part, a = block
        heights = (g[None, :] - block_cost(cost, part)) / eps
        top = jnp.where(b[None, :] > 0, heights, -jnp.inf).max(1, keepdims=True)
        terms = jnp.exp(jnp.minimum(heights - top, 60.0))
        reached = terms @ b
        return sums + (a / reached) @ terms, -eps * (top[:, 0] + jnp.log(reached))

    sums, f = over_blocks(step, jnp.zeros_like(b), (parts, masses))
    error = (b * abs(sums - 1)).sum()
    return f, jnp.where(b > 0, g, g - eps * jnp.log(sums)), error
