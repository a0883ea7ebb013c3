"""The discrete problem by the simplex method on spanning trees, compiled.

The kernel keeps masses as whole numbers: flows stay exact over any number of steps, and
ties between masses are seen as ties.
"""

import ctypes
import math

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.native import NativeLibrary, pointer
from jaxlab.core.typing import Float

__all__ = ["is_even", "library", "solve_by_simplex"]

_LIBRARY = NativeLibrary(
    package="transport",
    handlers={},
    without="exact transport is solved without compiled kernels, slower",
)
_TOTAL_BITS = 60  # of all mass as a whole number: its resolution is 1e-18
_MOST_PIVOTS = 10_000  # for each point; problems take some twenty
_LARGEST_GAP = 1e-11  # relative; rounding leaves some 1e-15
_WORK = 20_000  # between two looks at signals, a tenth of a second


def library() -> ctypes.CDLL | None:
    """Give the loaded kernels, building them if need be; None where that fails."""
    return _LIBRARY.loaded


def solve_by_simplex(
    cost: Float[np.ndarray, "_ _"],
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
) -> tuple[np.ndarray, ...] | None:
    """Find the pairs that carry mass, the masses, and optimal potentials f and g.

    Args:
        cost: Finite.
        a: Masses of the rows, not negative.
        b: Masses of the columns, of the same sum up to rounding.

    Returns:
        rows, columns, masses, f, g; None without the compiled kernel.

    Raises:
        InputError: If the shapes do not fit.
        RuntimeError: If plan and potentials do not prove each other optimal, as with
            costs over more decades than float64 resolves, or after very many steps.

    References:
        Dantzig 1951; Cunningham 1976, https://doi.org/10.1007/BF01580379.
    """
    if library() is None:
        return None
    # The kernel reads memory as it lies.
    cost, a, b = (np.ascontiguousarray(x, np.float64) for x in (cost, a, b))
    if cost.shape != (len(a), len(b)):
        raise InputError(
            f"costs of shape {cost.shape} must be of {len(a)} rows and {len(b)} columns"
        )
    if len(a) < len(b):  # many short rows are scanned faster than few long ones
        found = solve_by_simplex(np.ascontiguousarray(cost.T), b, a)
        assert found is not None
        columns, rows, masses, g, f = found
        order = np.lexsort((columns, rows))
        return rows[order], columns[order], masses[order], f, g
    first, second, unit = _whole_masses(a, b)
    with_mass, to_mass = np.flatnonzero(first), np.flatnonzero(second)
    is_part = len(with_mass) < len(a) or len(to_mass) < len(b)
    part = cost[np.ix_(with_mass, to_mass)] if is_part else cost
    rows, columns, flows, f, g = _run(part, first[with_mass], second[to_mass])
    rows, columns = with_mass[rows], to_mass[columns]
    if is_part:
        f, g = _extended(cost, f, g, with_mass, to_mass)
    masses = flows * unit
    _check_optimal(cost[rows, columns], masses, first * unit, second * unit, f, g)
    return rows, columns, masses, f, g


def _check_optimal(
    costs: np.ndarray,
    masses: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    f: np.ndarray,
    g: np.ndarray,
) -> None:
    """Refuse a plan and feasible potentials of different values."""
    gap = masses @ costs - (a @ f + b @ g)
    scale = masses @ abs(costs) + a @ abs(f) + b @ abs(g)
    if not abs(gap) <= _LARGEST_GAP * scale:
        raise RuntimeError(
            f"the simplex method ended {gap} above its lower bound, in costs of "
            f"{scale}; method 'highs' takes another way"
        )


def is_even(weights: np.ndarray) -> bool:
    """Tell whether all weights are equal up to rounding."""
    return bool((abs(weights - weights.mean()) <= 4e-16 * weights.mean()).all())


def _whole_masses(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Give masses as multiples of a unit, of equal sums."""
    n, m = len(a), len(b)
    if is_even(a) and is_even(b):
        common = math.gcd(n, m)
        first, second = np.full(n, m // common), np.full(m, n // common)
        return first, second, float(a.sum()) * common / (n * m)
    bits = _TOTAL_BITS - math.frexp(float(a.sum()))[1]  # a power of two rounds nothing
    first, second = (np.rint(np.ldexp(w, bits)).astype(np.int64) for w in (a, b))
    missing = int(first.sum()) - int(second.sum())  # some units, of rounding
    second += np.rint(second * (missing / int(second.sum()))).astype(np.int64)
    second[second.argmax()] += int(first.sum()) - int(second.sum())
    return first, second, math.ldexp(1.0, -bits)


def _run(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    kernels = library()
    assert kernels is not None
    kernels.jaxlab_simplex_start.restype = ctypes.c_void_p
    for name in ("jaxlab_simplex_run", "jaxlab_simplex_read"):
        getattr(kernels, name).restype = ctypes.c_int64
    n, m = cost.shape
    solver = ctypes.c_void_p(
        kernels.jaxlab_simplex_start(
            ctypes.c_int32(n), ctypes.c_int32(m), *map(pointer, (cost, a, b))
        )
    )
    if not solver:
        raise MemoryError(f"no memory for the tree of a transport of {n} x {m} points")
    try:
        _until_optimal(kernels, solver, _MOST_PIVOTS * (n + m))
        rows, columns = (np.empty(n + m, np.int32) for _ in range(2))
        flows, f, g = np.empty(n + m, np.int64), np.empty(n), np.empty(m)
        out = map(pointer, (rows, columns, flows, f, g))
        count = kernels.jaxlab_simplex_read(solver, *out)
    finally:
        kernels.jaxlab_simplex_end(solver)
    order = np.lexsort((columns[:count], rows[:count]))
    return rows[order], columns[order], flows[order], f, g


def _until_optimal(
    kernels: ctypes.CDLL, solver: ctypes.c_void_p, most_pivots: int
) -> None:
    """Run by portions, so that Python sees a Ctrl-C in between."""
    while (pivots := kernels.jaxlab_simplex_run(solver, ctypes.c_int64(_WORK))) >= 0:
        if pivots > most_pivots:
            raise RuntimeError(
                f"the simplex method gave up after {pivots} pivots; method 'highs' "
                "takes another way"
            )


def _extended(
    cost: np.ndarray,
    f: np.ndarray,
    g: np.ndarray,
    with_mass: np.ndarray,
    to_mass: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Give points without mass the highest potentials that the others allow."""
    all_g = (cost[with_mass] - f[:, None]).min(0)
    all_g[to_mass] = g
    all_f = (cost - all_g[None, :]).min(1)
    return all_f, all_g
