"""Tests of `jaxlab.nn.positions`."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.nn.positions import rotate, sinusoids

# Angles of up to 100 in float32 are off by 4e-6; sines by as much.
ANGLES = 1e-5
WIDTH = 8


def naive_sinusoid(position, width, temperature, has_halves):
    """Give one vector in float64, number by number as the paper writes them."""
    vector = np.zeros(width)
    for i in range(width // 2):
        angle = position / temperature ** (2 * i / width)
        vector[i if has_halves else 2 * i] = math.sin(angle)
        vector[width // 2 + i if has_halves else 2 * i + 1] = math.cos(angle)
    return vector


@pytest.mark.parametrize("layout", ["interleaved", "halves"])
@pytest.mark.parametrize("temperature", [10_000.0, 50.0])
def test_sinusoids_are_those_of_a_naive_loop(layout, temperature):
    positions = np.array([[0, 1, 2], [3, 50, 99]])
    got = sinusoids(jnp.asarray(positions), WIDTH, layout, temperature=temperature)
    expected = [
        [naive_sinusoid(p, WIDTH, temperature, layout == "halves") for p in row]
        for row in positions
    ]
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, atol=ANGLES)


def test_the_paper_layout_is_the_usual_one():
    positions = jnp.arange(4)
    np.testing.assert_array_equal(
        sinusoids(positions, WIDTH), sinusoids(positions, WIDTH, "interleaved")
    )


@pytest.mark.parametrize("shift", [1, 7])
def test_a_shift_is_one_rotation_of_each_pair_whatever_the_position(shift):
    positions = jnp.arange(20)
    sin, cos = np.split(np.asarray(sinusoids(positions, WIDTH, "halves")), 2, axis=-1)
    turn = shift / 10_000 ** (2 * np.arange(WIDTH // 2) / WIDTH)
    expected = [
        sin * np.cos(turn) + cos * np.sin(turn),
        cos * np.cos(turn) - sin * np.sin(turn),
    ]
    got = sinusoids(positions + shift, WIDTH, "halves")
    np.testing.assert_allclose(got, np.concatenate(expected, axis=-1), atol=ANGLES)


@pytest.fixture
def pair(rng):
    """Give queries and keys (2, 3, 5, 8)."""
    return [jnp.asarray(rng.normal(size=(2, 3, 5, 8)), jnp.float32) for _ in range(2)]


@pytest.fixture
def positions():
    """Give positions of two rows of five tokens."""
    return jnp.array([[0, 1, 2, 3, 4], [9, 4, 30, 0, 1]])


def test_rotations_are_those_of_a_naive_loop(pair, positions):
    x = np.asarray(pair[0], np.float64)
    expected = np.zeros(x.shape)
    for b, h, t, i in np.ndindex(2, 3, 5, 4):
        angle = float(positions[b, t]) / 500.0 ** (2 * i / 8)
        z = (x[b, h, t, i] + 1j * x[b, h, t, i + 4]) * np.exp(1j * angle)
        expected[b, h, t, i], expected[b, h, t, i + 4] = z.real, z.imag
    got = rotate(pair[0], positions, temperature=500.0)
    np.testing.assert_allclose(got, expected, atol=ANGLES)


def test_products_depend_on_distances_alone(pair, positions):
    def products(shift):
        queries, keys = (rotate(x, positions + shift) for x in pair)
        return jnp.einsum("bhtk,bhmk->bhtm", queries, keys)

    # Scores of up to 10, turned by angles of up to 60.
    np.testing.assert_allclose(products(23), products(0), atol=10 * ANGLES)
    moved = jnp.einsum(
        "bhtk,bhmk->bhtm", rotate(pair[0], positions + 23), rotate(pair[1], positions)
    )
    assert np.abs(moved - products(0)).max() > 0.1  # and they do depend on these


def test_the_first_position_changes_nothing_and_no_other_any_length(pair, positions):
    turned = np.asarray(rotate(pair[0], positions))
    at_zero = np.asarray(positions == 0)
    x = np.asarray(pair[0])
    np.testing.assert_array_equal(
        turned.swapaxes(1, 2)[at_zero], x.swapaxes(1, 2)[at_zero]
    )
    np.testing.assert_allclose(
        np.linalg.norm(turned, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5
    )


def test_half_precision_is_turned_in_float32(pair, positions):
    half = pair[0].astype(jnp.bfloat16)
    got = rotate(half, positions)
    assert got.dtype == jnp.bfloat16
    expected = rotate(half.astype(jnp.float32), positions).astype(jnp.bfloat16)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.peer
def test_rotations_are_those_of_llama(pair, positions):
    torch = pytest.importorskip("torch")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    omega = 10_000.0 ** (-np.arange(0, 8, 2) / 8)
    angles = np.tile(np.asarray(positions)[..., None] * omega, 2)
    cos, sin = (torch.tensor(f(angles), dtype=torch.float32) for f in (np.cos, np.sin))
    theirs = [torch.from_numpy(np.array(x)) for x in pair]
    for ours, expected in zip(
        pair, llama.apply_rotary_pos_emb(*theirs, cos, sin), strict=True
    ):
        np.testing.assert_allclose(rotate(ours, positions), expected, atol=ANGLES)


@pytest.mark.parametrize("width", [0, 7])
def test_an_odd_width_is_refused(width):
    message = f"positions by pairs need an even width, not {width}"
    with pytest.raises(InputError, match=message):
        sinusoids(jnp.arange(3), width)
    with pytest.raises(InputError, match=message):
        rotate(jnp.zeros((1, 1, 3, width)), jnp.arange(3)[None])
