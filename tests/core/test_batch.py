"""Batches named by their row numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.batch import Rows, materialize

ARRAYS = {"x": jnp.arange(12.0).reshape(6, 2), "y": jnp.arange(6)}


def test_rows_are_gathered_in_their_order():
    index = np.array([4, 0, 4], np.int32)
    batch = materialize(Rows(ARRAYS, index))
    assert batch["y"].tolist() == [4, 0, 4]
    np.testing.assert_array_equal(batch["x"], np.asarray(ARRAYS["x"])[index])


def test_the_same_inside_a_jitted_function():
    rows = Rows(ARRAYS, jnp.array([5, 1]))
    batch = jax.jit(materialize)(rows)
    assert batch["y"].tolist() == [5, 1]


def test_other_batches_are_left_alone():
    assert materialize(ARRAYS) is ARRAYS


def test_rows_are_a_pytree_of_their_arrays_and_numbers():
    rows = Rows(ARRAYS, np.arange(2))
    assert len(jax.tree.leaves(rows)) == 3
    assert jax.tree.map(lambda leaf: leaf, rows).index.tolist() == [0, 1]
