"""VQ-VAE beside the same layers of torch, and what autoencoders of codes share."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths, num_elements
from jaxlab.models.codes.make import make_vqvae
from tests.closeness import assert_close, relative_error

# Relative to the largest value: float32 sums of hundreds of products, in another order.
ORDER_OF_SUMS = 1e-5
SMALL = {"width": 8, "block_width": 6, "code_dim": 5, "num_codes": 16}
NETWORK = make_vqvae(**SMALL, quantizer="vq")


@pytest.fixture
def images(rng):
    return jnp.asarray(rng.uniform(-1, 1, (3, 8, 12, 3)), jnp.float32)


@pytest.fixture
def params(rng, images):
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), images)["params"]

    def draw(path, leaf):
        is_code = path[-1].key == "codebook"
        fan_in = 1 if is_code else np.prod(leaf.shape[:3])
        return jnp.asarray(rng.normal(size=leaf.shape) / fan_in**0.5, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def test_the_sizes_are_those_of_sonnets_example():
    network = make_vqvae(quantizer="vq")
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)["params"]
    convs = [(48, 64), (1024, 128), (1152, 128), (128, 64), (576, 128)]
    convs += 4 * [(1152, 32), (32, 128)]
    convs += [(16 * 128, 64), (16 * 64, 3)]  # transposed
    expected = sum((before + 1) * after for before, after in convs)
    assert num_elements(shapes) == expected + 512 * 64
    reconstruction, quantized = jax.eval_shape(
        network.apply, {"params": shapes}, images
    )
    assert reconstruction.shape == images.shape
    assert quantized.indices.shape == (1, 8, 8)


@pytest.mark.peer
def test_encoder_decoder_and_gradients_are_those_of_torch(params, images):
    torch = pytest.importorskip("torch")
    from tests.models.codes import codes_in_torch as theirs

    module = theirs.vqvae(3, 8, 2, 6, 5)
    own = {name: part for name, part in params.items() if name != "quantizer"}
    for path, leaf in flat_paths(own).items():
        *names, kind = re.sub(r"_(\d)/conv", r"/\1/conv", path).split("/")
        layer = functools.reduce(
            lambda m, name: m[int(name) if name.isdigit() else name], names, module
        )
        target = layer.weight if kind == "kernel" else layer.bias
        array = np.asarray(leaf)
        array = array.transpose(3, 2, 0, 1) if kind == "kernel" else array
        with torch.no_grad():
            target.copy_(torch.tensor(array.copy()))

    @jax.jit
    def both(params, images):
        def loss(params):
            latents = NETWORK.apply({"params": params}, images, method="encode")
            decoded = NETWORK.apply({"params": params}, latents, method="decode")
            return (decoded**2).mean(), (latents, decoded)

        return jax.grad(loss, has_aux=True)(params)

    gradients, (latents, decoded) = both(params, images)
    z = theirs.encode(module, torch.tensor(np.asarray(images).transpose(0, 3, 1, 2)))
    x = theirs.decode(module, z)
    (x**2).mean().backward()
    for ours, other in ((latents, z), (decoded, x)):
        assert relative_error(ours, other.permute(0, 2, 3, 1)) < ORDER_OF_SUMS
    expected = module["down_0"].weight.grad.permute(2, 3, 1, 0)
    assert_close(gradients["down_0"]["kernel"], expected, ORDER_OF_SUMS)


def test_an_image_goes_to_tokens_and_back_on_every_way(params, images):
    def run(params, images):
        variables = {"params": params}

        def apply(method, x):
            return NETWORK.apply(variables, x, method=method)

        latents, tokens = apply("encode", images), apply("tokens", images)
        features = apply("decode_features", apply("quantize", latents).codes)
        # VQGAN weighs its losses by the gradients of this layer, run alone.
        last = {"params": {"last_layer": params["last_layer"]}}
        alone = NETWORK.apply(last, features, method="to_images")
        return tokens, alone, apply("from_tokens", tokens), apply(None, images)

    tokens, *ways, (reconstruction, quantized) = jax.jit(run)(params, images)
    assert reconstruction.shape == images.shape
    assert tokens.shape == (3, 2, 3)
    assert len(np.unique(tokens)) > 1
    np.testing.assert_array_equal(quantized.indices, tokens)
    for way in ways:
        assert relative_error(way, reconstruction) < ORDER_OF_SUMS
    assert (NETWORK.stride, NETWORK.num_codes) == (4, 16)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 10, 8, 3), r"10 x 8 pixels have no whole number of codes: .* 4 x 4"),
        ((1, 8, 8, 1), "1 channels do not fit a network of channels=3"),
    ],
)
def test_images_of_other_shapes_are_refused(params, shape, message):
    with pytest.raises(InputError, match=message):
        NETWORK.apply({"params": params}, jnp.zeros(shape), method="encode")
