"""Tests of `jaxlab.models.vision.feature_classifier`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.core.pytree import flat_paths
from jaxlab.models.vision.feature_classifier import FeatureClassifier

NETWORK = FeatureClassifier(num_classes=3, num_features=32, depth=1)

# Float32 sums of a batch of another size are taken in another order.
ORDER_OF_SUMS = 1e-5


def start(network, size, channels=3):
    images = jnp.zeros((1, size, size, channels))
    return jax.eval_shape(network.init, jax.random.key(0), images)["params"]


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (4, [128]),
        (8, [64, 128]),
        (16, [32, 64, 128]),
        (28, [32, 64, 128]),
        (32, [32, 64, 128]),
        (48, [32, 32, 64, 128]),
        (64, [32, 32, 64, 128]),
    ],
)
def test_sides_are_halved_to_four_and_widths_double_to_the_features(size, widths):
    network = FeatureClassifier(num_classes=10, num_features=128, depth=2)
    params = flat_paths(start(network, size))
    got = [params[f"conv_{stage}_1/kernel"].shape[-1] for stage in range(len(widths))]
    assert got == widths
    assert f"conv_{len(widths)}_0/kernel" not in params
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda images: network.init_with_output(
            jax.random.key(0), images, method=network.embed
        )[0],
        images,
    )
    assert [leaf.shape for leaf in shapes] == [(2, 128), (2, 10)]


def test_the_features_of_an_image_depend_on_no_other(rng):
    images = jnp.asarray(rng.uniform(-1, 1, (4, 8, 8, 1)), jnp.float32)
    params = jax.jit(NETWORK.init)(jax.random.key(1), images)["params"]
    params["head"]["kernel"] = jnp.asarray(rng.normal(size=(32, 3)), jnp.float32)
    embed = jax.jit(from_linen(NETWORK, method=FeatureClassifier.embed).apply)
    (features, logits), state = embed(params, {}, images)
    assert state == {}
    (alone, _), _ = embed(params, {}, images[1:2])
    np.testing.assert_allclose(features[1:2], alone, rtol=ORDER_OF_SUMS, atol=1e-6)
    got, _ = jax.jit(from_linen(NETWORK).apply)(params, {}, images)
    np.testing.assert_allclose(got, logits, rtol=ORDER_OF_SUMS, atol=1e-5)
    np.testing.assert_allclose(
        logits, features @ params["head"]["kernel"], rtol=ORDER_OF_SUMS, atol=1e-5
    )


def test_a_width_without_groups_is_refused():
    with pytest.raises(InputError, match="num_features 100 must be a multiple of 32"):
        start(FeatureClassifier(3, num_features=100), 8)


def test_features_are_those_of_embed_and_of_chosen_convolutions(rng):
    module = FeatureClassifier(3, 32)
    images = jnp.asarray(rng.uniform(-1, 1, (2, 8, 8, 1)), jnp.float32)
    variables = module.init(jax.random.key(0), images)
    found = module.apply(variables, images, (0, -1), method="features")
    features, _ = module.apply(variables, images, method="embed")
    np.testing.assert_array_equal(found.pooled, features)
    assert [layer.shape for layer in found.layers] == [(2, 8, 8, 16), (2, 4, 4, 32)]
    with pytest.raises(InputError, match="layer 2 is not one of the 2"):
        module.apply(variables, images, (2,), method="features")
