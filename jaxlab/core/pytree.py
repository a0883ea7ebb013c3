"""Small questions about pytrees of arrays."""

import hashlib
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.typing import Array, Bool, PyTree

__all__ = [
    "all_finite",
    "fingerprint",
    "fingerprint_json",
    "fingerprint_text",
    "flat_paths",
    "num_elements",
    "path_name",
]


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


def fingerprint(tree: PyTree) -> str:
    """Name the contents of a tree of arrays in 16 characters.

    Trees of equal paths, types and bits have the same name, others another one.
    """
    digest = hashlib.sha256()
    for path, leaf in sorted(flat_paths(tree).items()):
        array = np.asarray(leaf)
        digest.update(f"{path} {array.shape} {array.dtype}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def fingerprint_json(data: Any) -> str:
    """Name JSON data in 16 characters, in whatever order their fields are."""
    return fingerprint_text(json.dumps(data, sort_keys=True))


def fingerprint_text(text: str) -> str:
    """Name a text in 16 characters."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
