"""Pixels from 0 to 255 are told from what networks take, by their type."""

import jax
import jax.numpy as jnp
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.models.vision.feature_classifier import FeatureClassifier
from jaxlab.models.vision.inception import Inception
from jaxlab.models.vision.vit import ViT

VIT = ViT(num_classes=3, patch_size=4, width=8, depth=1, num_heads=1)


@pytest.mark.parametrize(
    ("network", "side", "dtype"),
    [
        (VIT, 8, jnp.uint8),
        (VIT, 8, jnp.int32),
        (FeatureClassifier(3, 32), 8, jnp.uint8),
        (Inception(), 75, jnp.uint8),
    ],
    ids=["vit", "vit-int32", "feature_classifier", "inception"],
)
def test_whole_numbers_are_refused_with_the_way_out(network, side, dtype, key):
    images = jnp.full((1, side, side, 3), 200, dtype)
    model = from_linen(network)
    floats = images.astype(jnp.float32)
    params, state = jax.eval_shape(model.init, key, floats)
    assert jax.eval_shape(model.apply, params, state, floats)[0].shape[0] == 1
    with pytest.raises(InputError, match=r"type u?int.*to_unit_range\(images\)"):
        jax.eval_shape(model.apply, params, state, images)
