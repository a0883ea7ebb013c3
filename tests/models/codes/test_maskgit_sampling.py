"""Codes filled in, beside a sampler of NumPy that works row by row."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.models.codes.maskgit import MaskGIT
from jaxlab.models.codes.maskgit_sampling import masked_counts, sample_masked
from tests.models.codes.random_params import random_params

K, CLASSES, LENGTH = 5, 3, 12
NETWORK = MaskGIT(
    num_codes=K, num_classes=CLASSES, length=LENGTH, width=8, depth=1, num_heads=2
)
LABELS = jnp.array([0, 2, 3])  # the last one is no class
CODES = jnp.asarray(np.random.default_rng(1).integers(0, K, (3, LENGTH)), jnp.int32)
KNOWN = jnp.zeros((3, LENGTH), bool).at[0, jnp.array([0, 2, 7])].set(True)
KNOWN = KNOWN.at[1].set(True)  # one is partly known, one is, one is not


@pytest.fixture(scope="module")
def params():
    """Give parameters that are all random."""
    return random_params(NETWORK, CODES, KNOWN, LABELS)


def test_so_many_codes_are_masked_after_each_step():
    np.testing.assert_array_equal(masked_counts(64, 8), [62, 59, 53, 45, 35, 24, 12, 0])
    assert masked_counts(64, 1).tolist() == [0]
    assert masked_counts(64, 2).tolist() == [45, 0]
    # 64 cos(pi / 3) is 32, which float32 may round down.
    assert masked_counts(64, 3).tolist() == [55, 32, 0]
    counts = masked_counts(64, 100)
    steps = -np.diff(counts, prepend=64)
    assert (steps[counts > 1] >= 1).all()
    assert counts[-2:].tolist() == [1, 0]
    # Of several pictures; where all is known, nothing is masked.
    many = masked_counts(np.array([0, 1, 2, 64]), 8)
    np.testing.assert_array_equal(many[:, 3], masked_counts(64, 8))
    np.testing.assert_array_equal(many[:, :2], [[0, 1]] * 7 + [[0, 0]])
    assert many[:, 2].tolist() == [1] * 7 + [0]


def in_numpy(params, key, steps, *, codes, known, guidance, choice_temperature):
    """Draw as the paper says, with sorted confidences, one row after another."""
    apply = functools.partial(jax.jit(NETWORK.apply), {"params": params})
    codes, masked = np.array(codes), ~np.array(known)
    first = masked.sum(axis=1)
    history = []
    for step in range(steps):
        cond, uncond = (
            apply(jnp.asarray(codes), jnp.asarray(masked), labels)
            for labels in (LABELS, jnp.full_like(LABELS, CLASSES))
        )
        logits = np.asarray(uncond + guidance * (cond - uncond), np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        code_key, choice_key = jax.random.split(jax.random.fold_in(key, step))
        noise = jax.random.gumbel(code_key, (3 * LENGTH, K)).reshape(logits.shape)
        drawn = (logits + noise).argmax(-1)
        choice = np.asarray(jax.random.gumbel(choice_key, (3, LENGTH)))
        scale = choice_temperature * (1 - (step + 1) / steps)
        for b in range(3):
            places = np.flatnonzero(masked[b])
            codes[b, places] = drawn[b, places]
            confidence = log_probs[b, places, drawn[b, places]]
            confidence += scale * choice[b, places]
            left = int(np.floor(first[b] * np.cos(np.pi / 2 * (step + 1) / steps)))
            left = max(1, min(len(places) - 1, left)) if step + 1 < steps else 0
            masked[b] = False
            masked[b, places[np.argsort(confidence)[:left]]] = True
        history.append(np.where(masked, -1, codes))
    for before, after in itertools.pairwise(history):
        assert (after[before >= 0] == before[before >= 0]).all()
    return codes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "guidance", "choice_temperature"),
    [(1, 1.0, 4.5), (2, 3.0, 2.0), (9, 0.5, 1.0)],
)
def test_samples_are_those_of_the_paper_and_known_codes_stay(
    params, steps, guidance, choice_temperature
):
    options = {"codes": CODES, "known": KNOWN, "guidance": guidance}
    options["choice_temperature"] = choice_temperature
    draw = jax.jit(
        lambda params, key: sample_masked(
            NETWORK, params, LABELS, key=key, steps=steps, **options
        )
    )
    for seed in range(4):  # the order of confidences has to be met
        key = jax.random.key(seed)
        drawn = draw(params, key)
        assert ((drawn >= 0) & (drawn < K)).all()
        np.testing.assert_array_equal(drawn[KNOWN], CODES[KNOWN])
        expected = in_numpy(params, jax.random.clone(key), steps, **options)
        np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("steps", [64, 100])
def test_more_steps_than_codes_draw_all_and_known_codes_stay(params, key, steps):
    options = {"key": key, "steps": steps, "top_k": 2, "top_p": 0.9}
    draw = jax.jit(
        lambda codes: sample_masked(NETWORK, params, LABELS, codes, KNOWN, **options)
    )
    drawn = draw(CODES)
    assert ((drawn >= 0) & (drawn < K)).all()
    np.testing.assert_array_equal(drawn[KNOWN], CODES[KNOWN])
    # What stands in unknown places does not matter.
    np.testing.assert_array_equal(draw(jnp.where(KNOWN, CODES, -9)), drawn)


def test_without_noise_the_likeliest_codes_do_not_depend_on_the_key(params):
    options = {"steps": 3, "temperature": 0.0, "choice_temperature": 0.0}
    draw = jax.jit(
        lambda key: sample_masked(NETWORK, params, LABELS, key=key, **options)
    )
    first, second = (draw(jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(first, second)


def test_codes_of_one_step_have_the_probabilities_of_the_network(params, key):
    rows = 3000
    labels = jnp.full(rows, 1)
    masked = jnp.ones((1, LENGTH), bool)
    apply = jax.jit(NETWORK.apply)
    logits = apply({"params": params}, CODES[:1], masked, labels[:1])
    expected = rows * np.asarray(jax.nn.softmax(logits[0], axis=-1))
    draw = jax.jit(lambda key: sample_masked(NETWORK, params, labels, key=key, steps=1))
    drawn = np.asarray(draw(key))
    counts = (drawn[..., None] == np.arange(K)).sum(axis=0)
    chi_square = (np.square(counts - expected) / expected).sum()
    assert chi_square < 95  # 48 degrees of freedom: once in 15,000 keys


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_label_or_code_that_cannot_be_is_refused_or_gives_no_codes(
    params, key, guidance
):
    def draw(labels, codes):
        return sample_masked(
            NETWORK, params, labels, codes, KNOWN, key=key, guidance=guidance, steps=2
        )

    wrong = LABELS.at[2].set(4), CODES.at[0, 0].set(5)
    with pytest.raises(InputError, match=r"label 4 at \[2\]"):
        draw(wrong[0], CODES)
    with pytest.raises(InputError, match=r"code 5 at \[0, 0\]"):
        draw(LABELS, wrong[1])
    codes = jax.jit(draw)(*wrong)
    is_none = np.array(~KNOWN)
    is_none[1] = False
    is_none[0, 0] = True  # no code either
    np.testing.assert_array_equal(codes == -1, is_none)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps 0 must be at least 1"),
        ({"guidance": -1.0}, "guidance -1.0 must be at least 0"),
        ({"choice_temperature": -1.0}, "choice_temperature -1.0 must be at least 0"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"codes": CODES}, "codes and known belong together"),
        ({"known": KNOWN}, "codes and known belong together"),
        ({"codes": CODES[:, 1:], "known": KNOWN[:, 1:]}, r"must be of \(3, 12\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(params, key, options, message):
    with pytest.raises(InputError, match=message):
        sample_masked(NETWORK, params, LABELS, key=key, **options)
