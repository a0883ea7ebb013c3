"""How close two results are, relative to the largest value of the second."""

import jax
import numpy as np


def relative_error(ours, theirs):
    """Give the largest difference of two arrays: of JAX, NumPy or torch, or numbers."""
    ours, theirs = as_float64(ours), as_float64(theirs)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def assert_close(ours, theirs, tolerance, note=""):
    """Compare trees, array by array; an array of zeros must be one in both."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs), note
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = as_float64(a), as_float64(b)
        assert a.shape == b.shape, (note, a.shape, b.shape)
        limit = tolerance * np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=limit, err_msg=note)


def as_float64(array):
    """Give NumPy's array, in which differences are exact, without torch's gradient."""
    array = array.detach() if hasattr(array, "detach") else array
    return np.asarray(array, np.float64)
