"""Images of fixed latent rows, and what is measured of them."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import Model, from_linen
from jaxlab.data.images.augment import to_unit_range
from jaxlab.evals.image_sampler import ImageSampler, to_pixels
from jaxlab.nn.batch_norm import BatchNorm
from tests.jitted import jitted_init

# Running statistics move a tenth of the way at each of 50 batches: .9^50.
LEFT_OF_THE_START = 6e-3


def test_pixels_come_back_from_the_unit_range():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(to_pixels(to_unit_range(jnp.asarray(pixels))), pixels)
    beyond = jnp.array([-3.0, 3.0]).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(to_pixels(beyond).ravel(), [0, 255])


def test_each_latent_row_is_one_image_in_order():
    def apply(params, model_state, z, labels, *, key=None, train=False):
        return (z * params).reshape(-1, 1, 1, 1), model_state

    count = 600  # two batches and a part
    latents = np.linspace(-0.5, 0.5, count, dtype=np.float32)[:, None]
    labels = np.zeros(count, np.int32)
    sample = ImageSampler(Model(lambda key: None, apply), latents, labels)
    images = sample(1.0, {})
    assert images.shape == (count, 1, 1, 1)
    np.testing.assert_array_equal(
        images.ravel(), to_pixels(jnp.asarray(latents[:, None, None])).ravel()
    )


class Shifted(nn.Module):
    """Batch normalisation of the latent rows, as an image of one pixel."""

    @nn.compact
    def __call__(self, z, labels, *, train):
        x = BatchNorm()(z, train=train)
        return nn.Dense(1, kernel_init=nn.initializers.ones)(x)[:, None, None]


def test_running_statistics_are_taken_anew_for_averaged_parameters(key, rng):
    latents = (3 + 2 * rng.normal(size=(64, 1))).astype(np.float32)
    labels = np.zeros(64, np.int32)
    model = from_linen(Shifted())
    params, stale = jitted_init(model, key, jnp.asarray(latents), jnp.asarray(labels))
    images = ImageSampler(model, latents, labels)(params, stale)
    normal = (latents - latents.mean()) / latents.std(ddof=1)
    found = images.ravel() / 127.5 - 1
    bound = LEFT_OF_THE_START * abs(latents).max() + 1 / 127.5
    assert abs(found - np.clip(normal, -1, 1).ravel()).max() < bound


def test_latents_and_labels_must_fit():
    with pytest.raises(InputError, match="3 latent rows and 2 labels"):
        ImageSampler(from_linen(Shifted()), np.zeros((3, 1)), np.zeros(2, np.int32))
