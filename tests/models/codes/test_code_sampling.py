"""Codes drawn in order, beside samplers without a cache that draw one at a time."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.models.codes.code_gpt import CodeGPT
from jaxlab.models.codes.code_sampling import sample_by_windows, sample_codes
from jaxlab.models.decode.decoding import filter_logits
from tests.models.codes.random_params import random_params

K, CLASSES, H, W = 6, 3, 2, 3
PLAIN = CodeGPT(
    num_codes=K, num_classes=CLASSES, length=H * W, width=8, depth=1, num_heads=2
)
HINTED = PLAIN.clone(num_hints=4, hint_length=H * W)
LABELS = jnp.array([0, 2, 3])  # the last one is no class
GIVEN = jnp.array([[5, 0, 1], [2, 2, 2], [0, 0, 4]])
LARGE = (4, 5)
HINTS = jnp.asarray(np.random.default_rng(1).integers(0, 4, (3, *LARGE)), jnp.int32)
SMALL_HINTS = HINTS[:, :H, :W]
CASES = {
    "filtered": {"temperature": 1.3, "top_k": 4, "top_p": 0.8, "given": GIVEN},
    "guided": {"guidance": 2.5},
    "hints": {"guidance": 0.5, "given": GIVEN, "hints": SMALL_HINTS},
}


@pytest.fixture(scope="module")
def weights():
    """Give the parameters of both networks."""
    none = jnp.zeros((3, 0), jnp.int32)
    hints = SMALL_HINTS.reshape(3, -1)
    plain = random_params(PLAIN, PLAIN.join(none, LABELS))
    return plain, random_params(HINTED, HINTED.join(none, LABELS, hints))


def choose(weights, options):
    """Give the network that the options need, and its parameters."""
    plain, hinted = weights
    return (HINTED, hinted) if "hints" in options else (PLAIN, plain)


def one_by_one(
    network, params, key, count, *, order, given=None, hints=None, **options
):
    """Draw `count` codes, each from a call of the network without a cache.

    `order(place)` gives the places of the codes of the window, and the target's number
    among them.
    """
    guidance = options.pop("guidance", 1.0)
    apply = jax.jit(lambda tokens: network.apply({"params": params}, tokens))
    codes = np.zeros((3, count), np.int32)
    begin = 0 if given is None else given.shape[1]
    codes[:, :begin] = 0 if given is None else given
    for place in range(begin, count):
        window, target = order(place)
        seen = jnp.asarray(codes[:, window])
        part = None if hints is None else hints.reshape(3, -1)[:, window]
        cond, uncond = (
            apply(network.join(seen, labels, part))[:, target - len(window) - 1]
            for labels in (LABELS, jnp.full_like(LABELS, CLASSES))
        )
        logits = filter_logits(uncond + guidance * (cond - uncond), **options)
        draw_key = jax.random.fold_in(key, place - begin)
        codes[:, place] = jax.random.categorical(draw_key, logits)
    return codes


def whole(place):
    return np.arange(H * W), place


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_cache_and_one_window_change_nothing(weights, key, name):
    options = dict(CASES[name])
    network, params = choose(weights, options)
    expected = one_by_one(network, params, key, H * W, order=whole, **options)
    in_windows = {"shape": (H, W), "window": (H, W), **options}
    if "hints" in options:
        options["hints"] = options["hints"].reshape(3, -1)

    @jax.jit
    def both(params, key):
        same = network, params, LABELS
        plain = sample_codes(*same, key=key, **options)
        return plain, sample_by_windows(*same, key=key, **in_windows)

    plain, windows = both(params, key)
    assert len(np.unique(plain)) > 2
    np.testing.assert_array_equal(plain, expected)
    np.testing.assert_array_equal(windows.reshape(3, -1), expected)


def test_guidance_of_one_is_none(weights, key):
    @jax.jit
    def both(params, key):
        same = PLAIN, params, LABELS
        return [sample_codes(*same, key=key, guidance=s) for s in (1.0, 1.0000001)]

    plain, mixed = both(weights[0], key)
    np.testing.assert_array_equal(mixed, plain)


def taming_window(place):
    """Give the window as the notebook of taming-transformers has it."""
    (rows, columns), (row, column) = LARGE, divmod(place, LARGE[1])

    def local(i, size, w):
        if i <= w // 2:
            return i
        return w - (size - i) if size - i < w // 2 else w // 2

    # An odd window that the picture just ends in: theirs would reach beyond it.
    y, x = local(row, rows, H), max(local(column, columns, W), W - (columns - column))
    grid = np.arange(rows * columns).reshape(LARGE)
    top, left = row - y, column - x
    return grid[top : top + H, left : left + W].ravel(), y * W + x


@pytest.mark.slow
@pytest.mark.parametrize("name", ["guided", "hints"])
def test_large_pictures_are_drawn_window_by_window(weights, key, name):
    options = dict(CASES[name])
    if "hints" in options:
        options["hints"] = HINTS
    network, params = choose(weights, options)
    count = LARGE[0] * LARGE[1]
    windows = [taming_window(place) for place in range(count)]
    assert all(codes[at] == i for i, (codes, at) in enumerate(windows))
    expected = one_by_one(
        network, params, key, count, order=windows.__getitem__, **options
    )
    drawn = jax.jit(
        lambda params, key: sample_by_windows(
            network, params, LABELS, shape=LARGE, window=(H, W), key=key, **options
        )
    )(params, key)
    assert drawn.shape == (3, *LARGE)
    np.testing.assert_array_equal(drawn.reshape(3, -1), expected)


def test_samples_have_the_probabilities_of_the_network(key):
    rows = 3000
    network = PLAIN.clone(num_codes=3, length=2)
    labels = jnp.full(rows, 1)
    params = random_params(network, network.join(jnp.zeros((1, 0), int), labels[:1]))
    pairs = np.array(list(itertools.product(range(3), repeat=2)))
    tokens = network.join(jnp.asarray(pairs[:, :1]), labels[:9])
    logits = jax.jit(network.apply)({"params": params}, tokens)
    probs = np.asarray(jax.nn.softmax(logits, axis=-1))
    expected = np.prod([probs[range(9), t, pairs[:, t]] for t in (0, 1)], axis=0)
    drawn = np.asarray(sample_codes(network, params, labels, key=key))
    counts = np.bincount(drawn @ [3, 1], minlength=9)
    chi_square = np.square(counts - rows * expected) / (rows * expected)
    assert chi_square.sum() < 30  # 8 degrees of freedom: once in 5000 keys


def test_given_codes_stay_and_may_be_all(weights, key):
    whole = jnp.concatenate([GIVEN, GIVEN], axis=1)
    drawn = sample_codes(PLAIN, weights[0], LABELS, whole, key=key)
    np.testing.assert_array_equal(drawn, whole)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_label_that_cannot_be_is_refused_or_gives_no_codes(weights, key, guidance):
    wrong = LABELS.at[1].set(4)

    def draw(labels):
        plain = sample_codes(
            PLAIN, weights[0], labels, GIVEN, key=key, guidance=guidance
        )
        large = sample_by_windows(
            PLAIN,
            weights[0],
            labels,
            GIVEN,
            shape=(H, W),
            window=(H, W),
            key=key,
            guidance=guidance,
        )
        return plain, large.reshape(3, -1)

    with pytest.raises(InputError, match=r"label 4 at \[1\]"):
        draw(wrong)
    for codes in jax.jit(draw)(wrong):
        np.testing.assert_array_equal(codes[:, :3], GIVEN)
        is_none = [[False] * 3, [True] * 3, [False] * 3]
        np.testing.assert_array_equal(codes[:, 3:] == -1, is_none)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": (3, 3)}, "window 3 x 3 is no picture of this network"),
        ({"shape": (2, 2)}, "shape 2 x 2 is smaller than the window 2 x 3"),
        ({"given": jnp.zeros((3, 21), jnp.int32)}, "21 given codes are more than"),
        ({"given": GIVEN + 1}, r"code 6 at \[0, 0\]"),
        ({"guidance": -1.0}, "guidance -1.0 must be at least 0"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"hints": HINTS}, "hint_length 0 of this network must be 6"),
    ],
)
def test_what_cannot_be_drawn_is_refused(weights, key, change, message):
    options = {"shape": LARGE, "window": (H, W), **change}
    with pytest.raises(InputError, match=message):
        sample_by_windows(PLAIN, weights[0], LABELS, key=key, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"given": jnp.zeros((3, 7), jnp.int32)}, "7 codes a row are more than the 6"),
        ({"given": GIVEN - 1}, r"code -1 at \[0, 1\]"),
        ({"guidance": -1.0}, "guidance -1.0 must be at least 0"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"hints": GIVEN}, "3 hints a row are not the hint_length 0"),
    ],
)
def test_what_cannot_be_drawn_in_one_window_is_refused(weights, key, change, message):
    with pytest.raises(InputError, match=message):
        sample_codes(PLAIN, weights[0], LABELS, key=key, **change)


def test_hints_that_cannot_move_with_the_window_are_refused(weights, key):
    options = {"shape": LARGE, "window": (H, W), "key": key}
    with pytest.raises(InputError, match=r"hints of \(2, 3\) are not of the shape"):
        sample_by_windows(HINTED, weights[1], LABELS, None, SMALL_HINTS, **options)
    fewer = HINTED.clone(hint_length=4)
    wrong = HINTS.at[2, 3, 4].set(9)
    with pytest.raises(InputError, match=r"hint 9 at \[2, 3, 4\]"):
        sample_by_windows(HINTED, weights[1], LABELS, None, wrong, **options)
    with pytest.raises(InputError, match="hint_length 4 of this network must be 6"):
        sample_by_windows(fewer, weights[1], LABELS, None, HINTS, **options)
