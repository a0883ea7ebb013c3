"""Costs by blocks of rows, and the soft minimum over them."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, PyTree
from jaxlab.transport.costs import check_power, power_cost

__all__ = [
    "Cost",
    "PointCloud",
    "block_cost",
    "over_blocks",
    "shape_of",
    "soft_minimum",
    "split_rows",
    "transposed",
]

_BLOCK_BYTES = 2**20  # of a block of the matrix: stays in a core's cache


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PointCloud:
    """The costs `power_cost(x, y, p, norm)`, never all in memory at once."""

    x: PyTree  # float [n, j]
    y: PyTree  # float [m, j]
    p: float = dataclasses.field(default=1.0, metadata={"static": True})
    norm: float = dataclasses.field(default=2.0, metadata={"static": True})


Cost: TypeAlias = Float[Array, "_ _"] | PointCloud  # (n, m), or (m, n) transposed


def shape_of(cost: Cost) -> tuple[int, int]:
    """Give (n, m), after a look at the arrays' shapes.

    Raises:
        InputError: If they make no matrix of costs.
    """
    if not isinstance(cost, PointCloud):
        if cost.ndim != 2:
            raise InputError(f"the cost has shape {cost.shape}; it must be (n, m)")
        return cost.shape[0], cost.shape[1]
    check_power(cost.p, cost.norm)
    x, y = cost.x.shape, cost.y.shape
    if len(x) != 2 or len(y) != 2 or x[1] != y[1]:
        raise InputError(
            f"clouds of shapes {x} and {y} must be (n, j) and (m, j), of one j"
        )
    return x[0], y[0]


def transposed(cost: Cost) -> Cost:
    """Swap the sides."""
    if isinstance(cost, PointCloud):
        return dataclasses.replace(cost, x=cost.y, y=cost.x)
    return cost.T


def _rows_of_block(n: int, m: int, itemsize: int) -> tuple[int, int]:
    """Give the number of blocks and the rows of each."""
    most = max(8, _BLOCK_BYTES // (m * itemsize))
    blocks = -(-n // most)
    return blocks, -(-n // blocks)


def split_rows(cost: Cost, *vectors: Array) -> tuple[Array, ...]:
    """Cut rows into blocks of equal size, the last one filled up by its last row.

    Returns:
        The cost's part that `block_cost` takes, (blocks, rows, ...), then the vectors.
    """
    by_row = cost.x if isinstance(cost, PointCloud) else cost
    n, m = shape_of(cost)
    blocks, rows = _rows_of_block(n, m, by_row.dtype.itemsize)

    def cut(array: Array) -> Array:
        missing = [(0, blocks * rows - n)] + [(0, 0)] * (array.ndim - 1)
        filled = jnp.pad(array, missing, mode="edge") if missing[0][1] else array
        return filled.reshape(blocks, rows, *array.shape[1:])

    return cut(by_row), *map(cut, vectors)


def block_cost(cost: Cost, part: Array) -> Array:
    """Give the costs of a block of rows, (rows, m)."""
    if isinstance(cost, PointCloud):
        return jnp.asarray(power_cost(part, cost.y, cost.p, cost.norm))
    return part


def over_blocks(
    step: Callable[[Any, Any], tuple[Any, Any]], start: PyTree, parts: PyTree
) -> tuple[PyTree, PyTree]:
    """Scan over blocks; a single one needs no loop."""
    if jax.tree.leaves(parts)[0].shape[0] > 1:
        return jax.lax.scan(step, start, parts)
    carry, out = step(start, jax.tree.map(lambda part: part[0], parts))
    return carry, jax.tree.map(lambda part: part[None], out)


def soft_minimum(cost: Cost, g: Array, b: Array, eps: Array) -> Array:
    r"""Give $-\epsilon \log \sum_j b_j e^{(g_j - C_{ij}) / \epsilon}$ for each row i.

    Its derivatives keep one block of the matrix at a time.
    """
    (parts,) = split_rows(cost)

    @jax.checkpoint
    def step(carry: Array, part: Array) -> tuple[Array, Array]:
        heights = (g[None, :] - block_cost(cost, part)) / eps
        counted = jnp.where(b[None, :] > 0, heights, -jnp.inf)
        top = jax.lax.stop_gradient(counted.max(1, keepdims=True))
        # Columns of weight zero may lie higher: kept from overflow, they add nothing.
        terms = jnp.exp(jnp.minimum(heights - top, 60.0))
        return carry, -eps * (top[:, 0] + jnp.log(terms @ b))

    _, found = over_blocks(step, jnp.zeros(()), parts)
    return found.reshape(-1)[: shape_of(cost)[0]]
