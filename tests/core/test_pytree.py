"""Questions about pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.pytree import all_finite, flat_paths, num_elements, path_name

TREE = {"b": [np.zeros((2, 3)), np.float32(1)], "a": {"kernel": np.ones(4)}}


def test_elements_are_counted_over_all_leaves():
    assert num_elements(TREE) == 6 + 1 + 4
    assert num_elements({}) == 0
    shapes = jax.eval_shape(lambda: jnp.zeros((5, 7)))
    assert num_elements(shapes) == 35


def test_paths_are_written_with_slashes_in_tree_order():
    assert list(flat_paths(TREE)) == ["a/kernel", "b/0", "b/1"]
    assert flat_paths(TREE)["a/kernel"] is TREE["a"]["kernel"]


def test_a_path_of_attributes_is_written_like_one_of_keys():
    path = (jax.tree_util.GetAttrKey("params"), jax.tree_util.DictKey("kernel"))
    assert path_name(path) == "params/kernel"
    assert path_name(()) == ""


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_number_in_one_leaf_is_found(bad):
    good = {"x": jnp.ones(3), "n": jnp.arange(3)}
    assert all_finite(good)
    assert not all_finite({**good, "y": jnp.array([[0.0, bad]])})
    assert not jax.jit(all_finite)({"y": jnp.bfloat16(bad)})


def test_integers_and_empty_trees_are_finite():
    assert all_finite({"n": jnp.arange(3)})
    assert all_finite({})
