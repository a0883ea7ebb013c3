"""Augmentation as pure functions of a key and images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.images.augment import random_flip, random_shift, to_unit_range


@pytest.fixture
def images(rng):
    return jnp.asarray(rng.integers(1, 256, (64, 5, 4, 3)), jnp.uint8)


def shifted(image, down, right):
    """The image moved over a ground of zeros, pixel by pixel."""
    rows, columns, _ = image.shape
    result = np.zeros_like(image)
    for row in range(rows):
        for column in range(columns):
            if 0 <= row - down < rows and 0 <= column - right < columns:
                result[row, column] = image[row - down, column - right]
    return result


def test_pixels_0_to_255_become_minus_one_to_one_in_float32():
    pixels = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    values = to_unit_range(pixels)
    assert values.dtype == jnp.float32
    assert values.min() == -1
    assert values.max() == 1
    np.testing.assert_allclose(
        values.ravel(),
        np.arange(256) / 127.5 - 1,
        atol=1e-6,  # float32
    )


def test_each_image_is_shifted_by_one_of_the_offsets(images):
    result = np.asarray(random_shift(jax.random.key(0), images, 1))
    assert result.dtype == np.uint8
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    found = set()
    for image, moved in zip(np.asarray(images), result, strict=True):
        equal = [np.array_equal(moved, shifted(image, *move)) for move in moves]
        assert sum(equal) == 1
        found.add(moves[equal.index(True)])
    assert found == set(moves)  # 64 images miss one of 9 moves for one key in 200


def test_a_shift_is_a_crop_of_the_padded_image(images):
    offsets = jax.random.randint(jax.random.key(3), (64, 2), 0, 5)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = [
        image[down : down + 5, right : right + 4]
        for image, (down, right) in zip(padded, np.asarray(offsets), strict=True)
    ]
    result = random_shift(jax.random.key(3), images, 2)
    np.testing.assert_array_equal(result, np.stack(expected))


def test_a_shift_of_at_most_zero_is_the_identity(images):
    np.testing.assert_array_equal(random_shift(jax.random.key(0), images, 0), images)


def test_about_half_of_the_images_are_mirrored_and_the_others_left(images):
    result = np.asarray(random_flip(jax.random.key(0), images))
    mirrored = np.asarray(images)[:, :, ::-1]
    is_flipped = (result == mirrored).all((1, 2, 3))
    is_same = (result == np.asarray(images)).all((1, 2, 3))
    assert (is_flipped ^ is_same).all()
    # Binomial(64, 1/2) has a standard deviation of 4; this is four of them.
    assert abs(is_flipped.sum() - 32) <= 16


def test_mirroring_twice_by_the_same_key_is_the_identity(images):
    once = random_flip(jax.random.key(1), images)
    twice = random_flip(jax.random.key(1), once)
    np.testing.assert_array_equal(twice, images)
    assert (once != images).any()


@pytest.mark.parametrize(
    "augment", [random_flip, lambda key, images: random_shift(key, images, 2)]
)
def test_the_result_is_a_function_of_the_key_jitted_or_not(augment, images):
    first = augment(jax.random.key(0), images)
    np.testing.assert_array_equal(first, augment(jax.random.key(0), images))
    np.testing.assert_array_equal(first, jax.jit(augment)(jax.random.key(0), images))
    assert (first != augment(jax.random.key(1), images)).any()


def test_a_negative_shift_is_refused(key):
    with pytest.raises(InputError, match="max_shift -1"):
        random_shift(key, jnp.zeros((1, 2, 2, 1)), -1)
