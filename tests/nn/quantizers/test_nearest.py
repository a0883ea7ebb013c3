"""Tests of `jaxlab.nn.quantizers.nearest`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxlab.core.mesh import make_mesh, replicate, shard_batch
from jaxlab.nn.quantizers.nearest import nearest_code as search_code

nearest_code = jax.jit(search_code, static_argnames="block")

FAR = jnp.array([[1000, 0], [1000, 0.02], [1000, 0.04], [1000, 0.06]])


def test_codes_far_from_zero_keep_their_small_differences():
    z = jnp.array([[1000, 0.033]])
    assert nearest_code(z, FAR).tolist() == [2]
    assert nearest_code(jnp.tile(z, (5, 1)), FAR, block=4).tolist() == [2] * 5


@pytest.mark.parametrize("block", [64, 1000, 10**9])
def test_blocks_find_the_nearest(block, rng):
    vectors = rng.normal(size=(131, 5)).astype(np.float32)
    codes = rng.normal(size=(48, 5)).astype(np.float32)
    found = nearest_code(jnp.asarray(vectors), jnp.asarray(codes), block=block)
    expected = cdist(vectors.astype(np.float64), codes.astype(np.float64)).argmin(1)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == jnp.int32


def test_of_sixteen_thousand_codes_blocks_find_the_first_of_the_nearest(rng):
    half = rng.normal(size=(8192, 4)).astype(np.float32)
    codes = jnp.asarray(np.concatenate([half, half]))
    wanted = rng.integers(0, 8192, 40)
    whole = nearest_code(codes[wanted], codes, block=10**9)
    by_blocks = nearest_code(codes[wanted], codes, block=2**16)
    np.testing.assert_array_equal(whole, wanted)
    np.testing.assert_array_equal(by_blocks, wanted)


def test_the_whole_matrix_of_distances_is_never_made():
    shapes = [jax.ShapeDtypeStruct((n, 8), jnp.float32) for n in (65536, 16384)]
    compiled = nearest_code.lower(*shapes).compile()
    # The matrix would be 4 GB.
    assert compiled.memory_analysis().temp_size_in_bytes < 2**26


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_what_is_not_finite_gets_a_valid_index(bad):
    found = nearest_code(jnp.array([[bad, 0.0], [1000, 0.033]]), FAR)
    assert 0 <= found[0] < 4
    assert found[1] == 2


def test_a_split_batch_stays_split(rng):
    vectors = rng.normal(size=(64, 5)).astype(np.float32)
    codes = rng.normal(size=(16, 5)).astype(np.float32)
    mesh = make_mesh("data=4")
    placed = shard_batch(vectors, mesh), replicate(codes, mesh)
    found = nearest_code(*placed, block=128)
    np.testing.assert_array_equal(
        found, nearest_code(*map(jnp.asarray, (vectors, codes)))
    )
    text = nearest_code.lower(*placed, block=128).compile().as_text()
    assert "all-gather" not in text
    assert "all-to-all" not in text


def test_bfloat16_is_compared_in_float32(rng):
    codes = jnp.asarray(1 + 0.01 * rng.normal(size=(16, 3)), jnp.float32)
    z = codes[jnp.arange(16)].astype(jnp.bfloat16)
    expected = cdist(np.asarray(z, np.float64), np.asarray(codes)).argmin(1)
    np.testing.assert_array_equal(nearest_code(z, codes), expected)
