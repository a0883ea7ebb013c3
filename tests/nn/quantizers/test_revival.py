"""Tests of `jaxlab.nn.quantizers.revival`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.nn.quantizers import revival

draw_rows = jax.jit(revival.draw_rows, static_argnums=2)
move_counts = jax.jit(revival.move_counts, static_argnums=(2, 3))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_distinct_rows_are_drawn_before_repeats(seed, dtype, rng):
    few = np.array([[0, 1], [1, 0], [-1, 0], [6, 10], [10, 6]])
    rows = rng.permutation(np.concatenate([np.repeat(few, 7, 0), [[-0.0, 1]]]))
    rows = jnp.asarray(rows, dtype).astype(jnp.float32)
    drawn = draw_rows(jax.random.key(seed), rows, 5)
    np.testing.assert_array_equal(np.unique(drawn, axis=0), np.unique(few, axis=0))


def test_all_rows_are_drawn_and_again_if_they_are_too_few(key):
    rows = jnp.arange(10.0).reshape(5, 2)
    drawn = np.asarray(draw_rows(key, rows, 8))
    np.testing.assert_array_equal(np.sort(drawn[:5], 0), rows)
    np.testing.assert_array_equal(drawn[5:], drawn[:3])


def test_round_numbers_do_not_collide(key):
    # Of a plain sum of bits times factors, their low bits being zero.
    rng = np.random.default_rng(0)
    rows = jnp.asarray(np.unique(rng.integers(-64, 64, (20_000, 3)), axis=0), float)
    drawn = draw_rows(key, jnp.concatenate([rows, rows]), len(rows))
    assert len(np.unique(np.asarray(drawn), axis=0)) > 0.999 * len(rows)


def test_draws_are_even_and_follow_the_key():
    rows = jnp.arange(4.0).reshape(4, 1)
    keys = jax.random.split(jax.random.key(0), 400)
    drawn = jax.jit(jax.vmap(lambda key: draw_rows(key, rows, 1)))(keys)
    counts = np.bincount(np.asarray(drawn, int).reshape(-1), minlength=4)
    assert counts.min() > 60  # of 100 each, four standard errors


def test_a_revived_code_is_not_dead_at_once():
    counts = jnp.array([10.0, 10.0, 0.0, 0.9])
    usage = move_counts(counts, jnp.array([10.0, 10.0, 0.0, 0.9]), 0.9, 0.2)
    assert usage.is_dead.tolist() == [False, False, True, True]
    np.testing.assert_allclose(usage.counts, [10, 10, 2.09, 2.09], rtol=1e-6)
    again = move_counts(usage.counts, jnp.array([10.0, 10.0, 0.0, 0.0]), 0.9, 0.2)
    assert not again.is_dead.any()


def test_nothing_dies_of_a_share_of_zero():
    usage = move_counts(jnp.zeros(3), jnp.array([5.0, 0.0, 0.0]), 0.9, 0.0)
    assert not usage.is_dead.any()
