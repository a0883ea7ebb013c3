"""Tests of `jaxlab.models.codes.code_gpt`; parity: test_transformers."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.models.codes.code_gpt import CodeGPT, code_losses
from jaxlab.models.codes.make_prior import make_code_gpt
from jaxlab.models.sizing import num_parameters
from tests.closeness import relative_error
from tests.jitted import jitted_apply
from tests.models.codes.random_params import random_params

SMALL = {"num_codes": 5, "length": 4, "width": 8, "depth": 1, "num_heads": 2}
GPT = CodeGPT(**SMALL, num_classes=3, num_hints=6, hint_length=2)
CODES = jnp.array([[0, 4, 2, 1], [3, 3, 0, 4]])
LABELS, HINTS = jnp.array([2, 3]), jnp.array([[0, 5], [1, 1]])


def test_rows_are_a_class_then_hints_then_codes():
    assert (GPT.vocab_size, GPT.max_len) == (5 + 3 + 1 + 6, 7)
    rows = [[7, 9, 14, 0, 4, 2, 1], [8, 10, 10, 3, 3, 0, 4]]
    np.testing.assert_array_equal(GPT.join(CODES, LABELS, HINTS), rows)
    begun = GPT.join(CODES[:, :0], LABELS, HINTS)
    np.testing.assert_array_equal(begun, [row[:3] for row in rows])
    blind = GPT.without_class(GPT.join(CODES, LABELS, HINTS))
    np.testing.assert_array_equal(blind, [[8, *rows[0][1:]], rows[1]])


def test_sizes_follow_the_codes_in_copies_too():
    assert GPT.clone(num_codes=9, hint_length=0).vocab_size == 19
    assert GPT.clone(num_codes=9, hint_length=0).max_len == 5


@pytest.mark.parametrize("is_tied", [False, True])
def test_logits_are_of_the_codes_alone(is_tied):
    network = GPT.clone(tie_softmax=is_tied)
    tokens = network.join(CODES[:, :-1], LABELS, HINTS)
    params = {"params": random_params(network, tokens)}
    logits = jitted_apply(network, params, tokens)
    assert logits.shape == (2, 6, 5)
    for place in (2, 5):
        expected = logits[:, place]
        place = jnp.int32(place)
        got = jitted_apply(network, params, tokens, place, method="next_logits")
        assert relative_error(got, expected) < 1e-5


def test_codes_see_the_class_the_hints_and_the_codes_before_them():
    params = {"params": random_params(GPT, GPT.join(CODES[:, :-1], LABELS, HINTS))}

    def logits(codes=CODES, labels=LABELS, hints=HINTS):
        tokens = GPT.join(codes[:, :-1], labels, hints)
        return np.asarray(jitted_apply(GPT, params, tokens))[:, -4:]

    expected = logits()
    for others in (logits(labels=LABELS - 1), logits(hints=HINTS.at[:, 1].set(3))):
        assert np.abs(others - expected).max(axis=-1).min() > 1e-4
    others = logits(CODES.at[:, 1].set(1))
    np.testing.assert_allclose(others[:, :2], expected[:, :2], atol=1e-5)
    assert np.abs(others - expected)[:, 2:].max(axis=-1).min() > 1e-4


def test_the_loss_is_of_the_codes_alone(rng):
    logits = rng.normal(size=(2, 6, 5)).astype(np.float32)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_probs[:, 2:], np.asarray(CODES)[..., None], -1)
    losses = code_losses(jnp.asarray(logits), CODES)
    np.testing.assert_allclose(losses, expected[..., 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": CODES + 1}, r"code 5 at \[0, 1\]"),
        ({"labels": LABELS - 4}, r"label -2 at \[0\]"),
        ({"labels": LABELS + 1}, r"label 4 at \[1\]"),
        ({"hints": HINTS + 1}, r"hint 6 at \[0, 1\]"),
        ({"hints": None}, "0 hints a row are not the hint_length 2"),
        ({"codes": jnp.zeros((2, 5), jnp.int32)}, "5 codes a row are more than the 4"),
    ],
)
def test_what_is_no_row_is_refused(change, message):
    given = {"codes": CODES, "labels": LABELS, "hints": HINTS, **change}
    with pytest.raises(InputError, match=message):
        GPT.join(**given)


def test_the_network_of_the_paper_has_its_parameters():
    # 1024 tokens, of which one is no class, and 512 places.
    network = make_code_gpt(1023, length=511, scan=True)
    assert num_parameters(network, np.zeros((1, 2), np.int32)) == 304_932_864
