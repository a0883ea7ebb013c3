"""How the arrays of a convolution are split over devices: by rows of the batch alone.

Every device takes its rows of image and output, and all of the kernel.
"""

from collections.abc import Iterable
from typing import Any

from jax import lax
from jax.sharding import PartitionSpec as P

from jaxlab.core.typing import Array
from jaxlab.nn.conv.forms import Role

__all__ = ["add_up", "batch_axes", "spec_of"]


def batch_axes(roles: Iterable[Role], specs: Iterable[Any]) -> Any:
    """Give the axes of a mesh that split the batch of these arrays; None: none."""
    splits = (
        spec[0]
        for role, spec in zip(roles, specs, strict=True)
        if role != "kernel" and spec
    )
    return next(filter(None, splits), None)


def spec_of(role: Role, batch: Any) -> P:
    """Give the split of an array whose batch lies over some axes."""
    return P() if role == "kernel" else P(batch)


def add_up(found: Array, result: Role, batch: Any) -> Array:
    """Sum what devices find from their rows: the gradient of a kernel, in parts."""
    is_part = result == "kernel" and batch is not None
    return lax.psum(found, batch) if is_part else found
