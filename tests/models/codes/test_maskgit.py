"""Tests of `jaxlab.models.codes.maskgit`; parity: test_transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.models.codes.make_prior import make_maskgit
from jaxlab.models.codes.maskgit import MaskGIT, draw_masks, masked_loss
from tests.jitted import jitted_apply
from tests.models.codes.random_params import random_params

SMALL = {"num_codes": 5, "length": 6, "width": 8, "depth": 1, "num_heads": 2}
NETWORK = MaskGIT(**SMALL, num_classes=3)
CODES = jnp.array([[0, 4, 2, 1, 1, 0], [3, 3, 0, 4, 2, 2]])
MASKED = jnp.array([[1, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1]], bool)
LABELS = jnp.array([2, 3])


@pytest.mark.parametrize("norm_first", [False, True])
def test_logits_see_both_sides_and_the_class_but_nothing_masked(norm_first):
    network = NETWORK.clone(norm_first=norm_first)
    params = {"params": random_params(network, CODES, MASKED, LABELS)}

    def look(codes=CODES, masked=MASKED, labels=LABELS):
        return np.asarray(jitted_apply(network, params, codes, masked, labels))

    logits = look()
    assert logits.shape == (2, 6, 5)
    hidden = jnp.where(MASKED, 4 - CODES, CODES)
    np.testing.assert_array_equal(look(hidden), logits)
    np.testing.assert_array_equal(look(CODES.at[0, 0].set(-7)), logits)
    for t in (1, 5):  # before a masked place, and behind it
        moved = np.abs(look(CODES.at[0, t].set(3)) - logits).max(axis=-1)
        assert moved[0].min() > 1e-4
        assert not moved[1].any()
    assert np.abs(look(labels=LABELS - 1) - logits).max(axis=-1).min() > 1e-4
    seen = look(masked=jnp.zeros_like(MASKED))
    assert np.abs(seen - logits).max(axis=-1).min() > 1e-4


def test_the_loss_is_of_masked_codes_alone(rng):
    logits = jnp.asarray(rng.normal(size=(2, 6, 5)), jnp.float32)
    log_probs = np.log(jax.nn.softmax(logits))
    places = [(0, 0), (0, 3), *((1, t) for t in range(6))]
    plain = np.mean([-log_probs[b, t, CODES[b, t]] for b, t in places])
    even = np.mean([-log_probs[b, t].mean() for b, t in places])
    loss = masked_loss(logits, CODES, MASKED)
    np.testing.assert_allclose(loss, plain, rtol=1e-5)
    loss = masked_loss(logits, CODES, MASKED, 0.1)
    np.testing.assert_allclose(loss, 0.9 * plain + 0.1 * even, rtol=1e-5)
    gradient = jax.grad(masked_loss)(logits, CODES, MASKED)
    np.testing.assert_array_equal(np.abs(gradient).max(-1) > 0, MASKED)


def test_masks_cover_a_share_by_the_cosine_and_at_least_one_code(key):
    masks = np.asarray(draw_masks(key, 4000, 16))
    counts = masks.sum(axis=1)
    assert counts.min() == 1
    assert counts.max() == 15  # of a share below 1, rounded down
    # P(count < k) = 1 - P(cos(pi r / 2) >= k / 16) = 1 - 2 / pi acos(k / 16)
    for k in (2, 5, 12, 15):
        expected = 1 - 2 / np.pi * np.arccos(k / 16)
        # Five standard deviations of a share of 4000 are below .04.
        assert abs((counts < k).mean() - expected) < 0.04, k
    np.testing.assert_allclose(masks.mean(axis=0), masks.mean(), atol=0.04)
    again = draw_masks(jax.random.clone(key), 4000, 16)
    np.testing.assert_array_equal(again, masks)
    assert draw_masks(jax.random.key(1), 50, 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": CODES + 1}, r"code 5 at \[0, 1\]"),
        ({"labels": LABELS + 1}, r"label 4 at \[1\]"),
        ({"labels": LABELS - 3}, r"label -1 at \[0\]"),
    ],
)
def test_what_is_no_code_or_label_is_refused(change, message):
    inputs = {"codes": CODES, "masked": MASKED, "labels": LABELS, **change}
    with pytest.raises(InputError, match=message):
        NETWORK.init(jax.random.key(0), **inputs)


def test_the_network_of_the_paper_has_its_sizes():
    network = make_maskgit(1024, 1000, length=256)
    assert (network.depth, network.width, network.num_heads) == (24, 768, 16)
    assert (network.max_len, network.norm_eps) == (257, 1e-12)
    assert not network.norm_first
