"""Tests of `jaxlab.models.codes.code_tokens`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.models.codes.code_tokens import (
    drop_labels,
    guide,
    number_tokens,
    replace_codes,
)

ROWS = 4000
# Shares of some thousand draws: five standard deviations are .04.
SPREAD = 0.04


def test_labels_become_tokens_behind_the_codes():
    tokens = number_tokens(jnp.array([0, 2]), 3, 10, "label")
    np.testing.assert_array_equal(tokens, [10, 12])


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_number_out_of_range_is_refused_or_no_token(wrong):
    labels = jnp.array([1, wrong])
    with pytest.raises(InputError, match=rf"label {wrong} at \[1\].* 0 to 2$"):
        number_tokens(labels, 3, 10, "label")
    tokens = jax.jit(lambda labels: number_tokens(labels, 3, 10, "label"))(labels)
    np.testing.assert_array_equal(tokens, [11, -1])


def test_so_many_labels_are_dropped_and_the_others_stay(key):
    labels = jnp.arange(ROWS) % 5
    dropped = drop_labels(key, labels, 0.3, 5)
    is_dropped = np.asarray(dropped == 5)
    assert abs(is_dropped.mean() - 0.3) < SPREAD
    np.testing.assert_array_equal(dropped[~is_dropped], labels[~is_dropped])
    key = jax.random.key(1)
    np.testing.assert_array_equal(drop_labels(key, labels, 0.0, 5), labels)
    assert (drop_labels(jax.random.clone(key), labels, 1.0, 5) == 5).all()


def test_so_many_codes_are_replaced_by_all_codes_alike(key):
    codes = jnp.full((ROWS // 4, 4), 2, jnp.int32)
    replaced = np.asarray(replace_codes(key, codes, 0.6, 4))
    shares = np.bincount(replaced.ravel(), minlength=4) / replaced.size
    np.testing.assert_allclose(shares, [0.1, 0.1, 0.7, 0.1], atol=SPREAD)
    kept = replace_codes(jax.random.key(1), codes, 1.0, 4)
    np.testing.assert_array_equal(kept, codes)


def test_noise_is_a_function_of_its_key(key):
    codes = jnp.zeros((4, 50), jnp.int32)
    others = [replace_codes(jax.random.key(seed), codes, 0.0, 9) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(others[0], others[1])
    assert (others[0] != others[2]).any()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_out_of_range_are_refused(key, share):
    with pytest.raises(InputError, match="rate of dropped labels"):
        drop_labels(key, jnp.zeros(2, jnp.int32), share, 1)
    with pytest.raises(InputError, match="share of codes to keep"):
        replace_codes(key, jnp.zeros((2, 2), jnp.int32), share, 1)


def test_guidance_goes_from_no_class_through_the_class():
    logits = jnp.array([[1.0, 5.0], [2.0, 3.0]])  # with the class, without
    for scale, expected in ((0.0, [2.0, 3.0]), (1.0, [1.0, 5.0]), (3.0, [-1.0, 9.0])):
        np.testing.assert_array_equal(guide(logits, scale), [expected])
