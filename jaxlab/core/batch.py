"""A batch named by its row numbers, for data that lives on the devices."""

import dataclasses
from typing import Any

import jax

from jaxlab.core.typing import Batch, PyTree

__all__ = ["Rows", "materialize"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows `index` (int32, `(b,)`) of `arrays`, not yet gathered.

    The whole data set sits on every device once; a step is sent only the row numbers
    and gathers inside its compiled program.
    """

    # Not annotated as arrays: a tree of shapes or shardings has this type too.
    arrays: PyTree
    index: Any


def materialize(batch: Batch) -> Batch:
    """Gather the rows of a `Rows` batch; any other batch is returned as it is."""
    if not isinstance(batch, Rows):
        return batch
    return jax.tree.map(lambda array: array[batch.index], batch.arrays)
