"""Array types, and the one table of axis letters of the project.

Annotations (`Float[Array, "b t d"]`), einsums and comments use the same letters:

    b  batch                 n  samples (rows)
    t  token or time         j  features (columns)
    m  memory                s  bins
    d  width                 q  tree nodes
    h  heads                 y x c  image rows, columns, channels
    k  head width            f  feed-forward width
    v  vocabulary, classes   g  grid cells (patches of an image)

Signatures are checked at run time in the tests (jaxtyping and beartype) and cost
nothing otherwise.
"""

from typing import Any, TypeAlias

from jax import Array
from jaxtyping import Bool, Float, Int, Key, Num, PyTree, UInt8

__all__ = [
    "Array",
    "Batch",
    "Bool",
    "Float",
    "Int",
    "Key",
    "Metrics",
    "ModelState",
    "Num",
    "Params",
    "PyTree",
    "Scalar",
    "UInt8",
]

Scalar: TypeAlias = Float[Array, ""]
Params: TypeAlias = PyTree  # what the optimiser updates
ModelState: TypeAlias = PyTree  # batch statistics, codebooks: changed by apply itself
Batch: TypeAlias = Any  # any pytree of arrays
Metrics: TypeAlias = dict[str, Scalar]
