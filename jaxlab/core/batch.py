"""A batch named by its row numbers, for data that lives on the devices."""

import dataclasses

import jax

from jaxlab.core.typing import Array, Batch, Int, PyTree

__all__ = ["Rows", "materialize"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows `index` of `arrays`, not yet gathered.

    The whole data set sits on every device once; a step is sent only the row numbers
    and gathers inside its compiled program.
    """

    arrays: PyTree
    index: Int[Array, " b"]


def materialize(batch: Batch) -> Batch:
    """Gather the rows of a `Rows` batch; any other batch is returned as it is."""
    if not isinstance(batch, Rows):
        return batch
    return jax.tree.map(lambda array: array[batch.index], batch.arrays)
