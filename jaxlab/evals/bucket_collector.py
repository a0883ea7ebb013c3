"""Exact evaluation over buckets of pairs: short pairs are not padded to long ones."""

from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh

from jaxlab.core.typing import PyTree
from jaxlab.data.text.buckets import Buckets
from jaxlab.train.evaluate import PerExample, make_collector, once_per_state

__all__ = ["make_bucket_collector"]


def make_bucket_collector(
    per_pair: PerExample, buckets: Buckets, mesh: Mesh
) -> Callable[[PyTree], dict[str, np.ndarray]]:
    """Make a function that runs `per_pair` over all pairs, as `make_collector` does.

    Args:
        per_pair: Computes values by pair, of the same shapes in all buckets.
        buckets: The pairs; each bucket has batches of its own size.
        mesh: The mesh of the state.

    Returns:
        A function of the state that gives the values of all pairs, in the order in
        which they were given, as NumPy arrays.
    """
    collectors = [
        make_collector(per_pair, one.pairs, mesh, batch_size=one.batch_size)
        for one in buckets.buckets
    ]

    @once_per_state
    def collect(state: PyTree) -> dict[str, np.ndarray]:
        parts = [collector(state) for collector in collectors]
        return {name: buckets.in_order([p[name] for p in parts]) for name in parts[0]}

    return collect
