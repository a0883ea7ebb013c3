"""Tests of `jaxlab.evals.bucket_collector`."""

import jax.numpy as jnp
import numpy as np

from jaxlab.core.mesh import make_mesh
from jaxlab.data.text.buckets import bucket_pairs
from jaxlab.evals.bucket_collector import make_bucket_collector


def test_values_come_in_the_order_of_the_pairs():
    sources = [[4 + i] * (1 + 7 * i % 11) for i in range(40)]
    targets = [[4 + i] * (1 + 5 * i % 13) for i in range(40)]
    buckets = bucket_pairs(sources, targets, max_len=12, batch_size=8, num_buckets=3)
    widths = []

    def per_pair(state, batch):
        widths.append(batch["source"].shape[1])
        return {"first": state * batch["source"][:, 0], "rows": batch["target"][:, :2]}

    collect = make_bucket_collector(per_pair, buckets, make_mesh("data=1"))
    found = collect(jnp.int32(2))
    kept = [i for i in range(40) if len(targets[i]) < 12]
    np.testing.assert_array_equal(found["first"], 2 * (4 + np.array(kept)))
    assert found["rows"].shape == (len(kept), 2)
    # Few shapes, of which only the last is as wide as the longest pair.
    assert len(widths) == 3
    assert widths[0] < max(widths)
