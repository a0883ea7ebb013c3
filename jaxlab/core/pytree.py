"""Small questions about pytrees of arrays."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Bool, PyTree

__all__ = ["all_finite", "flat_paths", "num_elements", "path_name"]


def num_elements(tree: PyTree) -> int:
    """Count the array elements of a tree: for `params`, the number of parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def path_name(path: tuple[Any, ...]) -> str:
    """Write a key path as `blocks_0/mlp/up/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def flat_paths(tree: PyTree) -> dict[str, Any]:
    """Flatten a tree to `{"blocks_0/mlp/up/kernel": leaf}`, in tree order."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(path): leaf for path, leaf in leaves}


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Tell, on the device, whether no floating-point leaf holds a NaN or infinity."""
    leaves = [
        jnp.isfinite(leaf).all()
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact)
    ]
    return jnp.stack(leaves).all() if leaves else jnp.asarray(True)
