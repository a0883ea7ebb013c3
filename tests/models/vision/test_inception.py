"""Inception; its oracles are in tests/interop/images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.models.vision.inception import Inception, inception_inputs


def test_pixels_lie_where_tensorflow_1_has_them():
    image = jnp.asarray([[0, 100], [200, 40]], jnp.uint8)[None, :, :, None]
    got = inception_inputs(image, 4) * 128 + 128
    rows = np.array([[0, 100], [100, 70], [200, 40], [200, 40]])
    expected = np.stack([rows[:, 0], rows.mean(1), rows[:, 1], rows[:, 1]], axis=1)
    np.testing.assert_allclose(got, np.repeat(expected[None, ..., None], 3, -1))


@pytest.mark.parametrize(("old", "new"), [((5, 7), 12), ((9, 4), 3), ((6, 6), 6)])
def test_inputs_equal_the_formula_pixel_by_pixel(rng, old, new):
    images = rng.integers(0, 256, (2, *old, 3), dtype=np.uint8)
    expected = np.empty((2, new, new, 3))
    for i in range(new):
        for j in range(new):
            y, x = i * old[0] / new, j * old[1] / new
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, old[0] - 1), min(x0 + 1, old[1] - 1)
            v, u, a = y - y0, x - x0, images.astype(float)
            upper = (1 - u) * a[:, y0, x0] + u * a[:, y0, x1]
            lower = (1 - u) * a[:, y1, x0] + u * a[:, y1, x1]
            expected[:, i, j] = (1 - v) * upper + v * lower
    got = inception_inputs(jnp.asarray(images), new)
    np.testing.assert_allclose(got, (expected - 128) / 128, atol=1e-6)


def test_the_first_field_is_the_number_of_classes():
    images = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    logits, _ = jax.eval_shape(
        Inception(1000).init_with_output, jax.random.key(0), images
    )
    assert logits.shape == (1, 1000)


def test_other_channels_and_small_images_are_refused():
    with pytest.raises(InputError, match="1 or 3 channels, not of 4"):
        inception_inputs(jnp.zeros((1, 8, 8, 4), jnp.uint8))
    images = jax.ShapeDtypeStruct((1, 74, 80, 3), jnp.float32)
    with pytest.raises(InputError, match="74 x 80 pixels are too small"):
        jax.eval_shape(Inception().init, jax.random.key(0), images)


def test_features_of_any_block_can_be_read():
    module, images = Inception(), jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    found = jax.eval_shape(
        lambda v, x: module.apply(v, x, (0, 10), method="features"), variables, images
    )
    assert found.pooled.shape == (1, 2048)
    assert [layer.shape[-1] for layer in found.layers] == [256, 2048]
