"""PatchGAN; beside torch it is in `tests.interop.images.test_patch_gan`."""

import jax
import jax.numpy as jnp
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import num_elements
from jaxlab.models.codes.make import make_patch_gan
from jaxlab.models.codes.patch_gan import PatchGAN


@pytest.mark.parametrize(
    ("preset", "side", "patches"),
    [("f16_1024", 256, 30), ("px32", 32, 6), ("digits", 8, 2)],
)
def test_each_preset_scores_patches(preset, side, patches):
    critic = make_patch_gan(preset)
    images = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
    scores, variables = jax.eval_shape(
        critic.init_with_output, jax.random.key(0), images
    )
    assert scores.shape == (1, patches, patches)
    assert ("batch_stats" in variables) == (preset == "f16_1024")
    if preset == "f16_1024":  # taming-transformers' count
        assert num_elements(variables["params"]) == 2_765_633


def test_images_too_small_for_the_kernels_are_refused(key):
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), "float32")
    with pytest.raises(InputError, match="does not fit into images of size"):
        jax.eval_shape(make_patch_gan("f16_1024").init, key, images)


def test_it_starts_as_published(key):
    critic = PatchGAN(width=32, num_layers=1, norm="batch")
    params = jax.jit(critic.init)(key, jnp.zeros((1, 8, 8, 1)))["params"]
    kernel = params["conv_1"]["kernel"]
    assert abs(kernel.std() - 0.02) < 0.001
    assert params["conv_1"].keys() == {"kernel"}
    scales = params["norm_1"]["batch"]["scale"]
    assert abs(scales.mean() - 1) < 0.01
    assert 0.01 < scales.std() < 0.03
