"""ViT; parity of the whole network is in tests/interop/images."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths, num_elements
from jaxlab.models.vision.vit import VARIANTS, ViT, vit
from jaxlab.nn.embed import sincos2d_positions
from jaxlab.nn.stack import stack_blocks
from tests.closeness import relative_error

# Relative to the largest value: float32 sums of a few dozen products, in another order.
ORDER_OF_SUMS = 1e-5
# Relative to the largest value: bfloat16 keeps 8 bits, and two blocks round often.
BFLOAT16 = 5e-2

TINY = ViT(num_classes=5, patch_size=4, width=16, depth=2, num_heads=2)


def abstract_params(module, *image_shape):
    images = jax.ShapeDtypeStruct((1, *image_shape), "float32")
    return jax.eval_shape(module.init, jax.random.key(0), images)["params"]


def random_params(module, rng, *image_shape):
    """Give random values for every parameter: zeros and ones would hide faults."""
    return jax.tree.map(
        lambda s: jnp.asarray(0.3 * rng.normal(size=s.shape), s.dtype),
        abstract_params(module, *(image_shape or (12, 8, 3))),
    )


def apply(module, params, images, **options):
    jitted = jax.jit(module.apply, static_argnames="train")
    return jitted({"params": params}, images, **options)


@pytest.fixture
def images(rng):
    """Give two images of 3 x 2 patches of TINY."""
    return jnp.asarray(rng.uniform(-1, 1, size=(2, 12, 8, 3)), jnp.float32)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("Ti/16", 5_717_416),
        ("S/16", 22_050_664),
        ("B/16", 86_567_656),
        ("B/32", 88_224_232),
        ("L/16", 304_326_632),
    ],
)
@pytest.mark.parametrize("scan", [False, True])
def test_parameter_counts_are_those_published(name, count, scan):
    # timm and transformers count the same, at 1000 classes and 224 pixels.
    assert num_elements(abstract_params(vit(name, scan=scan), 224, 224, 3)) == count


@pytest.mark.slow
def test_huge_without_a_head_has_the_published_count():
    module = vit("H/14", num_classes=0)
    assert num_elements(abstract_params(module, 224, 224, 3)) == 630_764_800


@pytest.mark.slow
def test_initial_predictions_are_uniform(key, images):
    module = TINY.clone(depth=1)
    logits, _ = jax.jit(module.init_with_output)(key, images)
    np.testing.assert_array_equal(logits, np.zeros((2, 5)))
    np.testing.assert_allclose(-jax.nn.log_softmax(logits), math.log(5), rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({}, (2, 5)),
        ({"num_classes": 0}, (2, 16)),
        ({"num_classes": 0, "pool": "mean"}, (2, 16)),
        ({"num_classes": 0, "pool": "map"}, (2, 16)),
        ({"num_classes": 0, "pool": "none"}, (2, 7, 16)),
        ({"num_classes": 0, "pool": "none", "representation_size": 9}, (2, 7, 9)),
        ({"pool": "none"}, (2, 7, 5)),
        ({"num_classes": 0, "representation_size": 9}, (2, 9)),
        ({"pos_embed": "learned2d"}, (2, 5)),
        ({"pos_embed": "none", "stem": "conv"}, (2, 5)),
    ],
)
def test_outputs_have_the_shape_of_the_request(fields, shape, images):
    module = TINY.clone(**fields)
    outputs, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), images)
    assert outputs.shape == shape
    assert outputs.dtype == jnp.float32


@pytest.mark.slow
def test_all_tokens_come_normalised_with_the_class_token_first(rng, images):
    features = TINY.clone(num_classes=0)
    params = random_params(features, rng)
    tokens = apply(features.clone(pool="none"), params, images)
    np.testing.assert_allclose(
        tokens[:, 0], apply(features, params, images), atol=ORDER_OF_SUMS
    )
    norm = params["norm"]
    units = (tokens - norm["bias"][None, None]) / norm["scale"][None, None]
    np.testing.assert_allclose(units.mean(-1), 0, atol=1e-3)
    np.testing.assert_allclose(units.std(-1), 1, atol=1e-3)


@pytest.mark.slow
def test_mean_pooling_averages_the_normalised_patches(rng, images):
    module = TINY.clone(num_classes=0, pool="mean", pos_embed="none")
    params = random_params(module, rng)
    # Silent blocks do not mix tokens, so a class token changes no patch.
    params["encoder"] = jax.tree.map(jnp.zeros_like, params["encoder"])
    tokens = apply(
        module.clone(pool="none"), {**params, "cls": jnp.zeros((1, 1, 16))}, images
    )
    expected = tokens[:, 1:].mean(axis=1)
    assert relative_error(apply(module, params, images), expected) < ORDER_OF_SUMS


def naive_map_pool(params, x, num_heads, norm_eps):
    """Pool tokens (t, d) of one image by the learned probe, head by head."""
    attention, mlp = params["map_attention"], params["map_mlp"]
    probe, y = params["probe"][0, 0], attention["out"]["bias"].astype(np.float64)
    for h in range(num_heads):
        q, k, v = (
            tokens @ attention[name]["kernel"][:, h] + attention[name]["bias"][h]
            for name, tokens in (("query", probe), ("key", x), ("value", x))
        )
        scores = np.exp(k @ q / math.sqrt(len(q)))
        y = y + (scores @ v / scores.sum()) @ attention["out"]["kernel"][h]
    normed = (y - y.mean()) / math.sqrt(y.var() + norm_eps)
    normed = normed * params["map_norm"]["scale"] + params["map_norm"]["bias"]
    hidden = normed @ mlp["up"]["kernel"] + mlp["up"]["bias"]
    hidden = np.array([u * (1 + math.erf(u / math.sqrt(2))) / 2 for u in hidden])
    return y + hidden @ mlp["down"]["kernel"] + mlp["down"]["bias"]


@pytest.mark.slow
def test_map_pooling_is_that_of_a_naive_loop(rng, images):
    module = TINY.clone(num_classes=0, pool="map", pos_embed="none")
    params = random_params(module, rng)
    params["encoder"] = jax.tree.map(jnp.zeros_like, params["encoder"])
    tokens = apply(
        module.clone(pool="none"), {**params, "cls": jnp.zeros((1, 1, 16))}, images
    )[:, 1:]
    p = jax.tree.map(np.asarray, params)
    expected = [naive_map_pool(p, np.asarray(x), 2, 1e-6) for x in tokens]
    assert relative_error(apply(module, params, images), expected) < ORDER_OF_SUMS


def test_representation_is_a_tanh_layer_on_the_features(rng, images):
    module = TINY.clone(num_classes=0, representation_size=9)
    params = random_params(module, rng)
    features = apply(
        module.clone(representation_size=0),
        {k: v for k, v in params.items() if k != "pre_logits"},
        images,
    )
    layer = params["pre_logits"]
    expected = np.tanh(features @ layer["kernel"] + layer["bias"][None])
    assert relative_error(apply(module, params, images), expected) < ORDER_OF_SUMS


@pytest.mark.slow
def test_patches_may_come_in_any_order_without_positions(rng, images):
    module = TINY.clone(pool="mean", pos_embed="none")
    params = random_params(module, rng)
    swapped = jnp.concatenate([images[:, 4:8], images[:, :4], images[:, 8:]], axis=1)
    outputs, others = (apply(module, params, im) for im in (images, swapped))
    assert relative_error(others, outputs) < ORDER_OF_SUMS
    placed = module.clone(pos_embed="sincos2d")
    outputs, others = (apply(placed, params, im) for im in (images, swapped))
    assert relative_error(others, outputs) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("pos_embed", ["learned", "learned2d", "sincos2d"])
def test_positions_are_added_to_their_tokens(rng, images, pos_embed):
    module = TINY.clone(num_classes=0, pool="none", pos_embed=pos_embed)
    params = random_params(module, rng)
    if pos_embed == "learned":
        positions = params["pos_embed"][0]
    elif pos_embed == "learned2d":
        y, x = params["pos_embed_y"][:, 0], params["pos_embed_x"][0]
        rows = [np.concatenate([y[i], x[j]]) for i in range(3) for j in range(2)]
        positions = np.stack([np.zeros(16), *rows])
    else:
        positions = np.concatenate([np.zeros((1, 16)), sincos2d_positions(3, 2, 16)])
    # Without patches and blocks, the outputs are the normalised positions.
    params["patch_embed"] = jax.tree.map(jnp.zeros_like, params["patch_embed"])
    params["encoder"] = jax.tree.map(jnp.zeros_like, params["encoder"])
    x = np.asarray(positions).copy()
    x[0] += params["cls"][0, 0]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    expected = x * np.asarray(params["norm"]["scale"]) + np.asarray(
        params["norm"]["bias"]
    )
    got = apply(module, params, images)
    np.testing.assert_allclose(got[0], expected, atol=1e-4)


@pytest.mark.slow
def test_scanned_stacked_parameters_give_the_same_logits(rng, images):
    params = random_params(TINY, rng)
    expected = apply(TINY, params, images)
    stacked = {**params, "encoder": stack_blocks(params["encoder"])}
    got = apply(TINY.clone(scan=True), stacked, images)
    assert relative_error(got, expected) < ORDER_OF_SUMS


@pytest.mark.slow
def test_bfloat16_gives_float32_logits_close_to_those_of_float32(rng, images):
    params = random_params(TINY, rng)
    half = TINY.clone(dtype=jnp.bfloat16)
    got = apply(half, params, images)
    assert got.dtype == jnp.float32
    assert relative_error(got, apply(TINY, params, images)) < BFLOAT16
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(abstract_params(half, 12, 8, 3))}
    assert dtypes == {np.dtype("float32")}


@pytest.mark.slow
def test_dropout_and_drop_path_act_in_training_alone(rng, images, key):
    params = random_params(TINY, rng)
    expected = apply(TINY, params, images)
    for fields in ({"dropout_rate": 0.5}, {"drop_path_rate": 0.9}):
        noisy = TINY.clone(**fields)
        np.testing.assert_array_equal(apply(noisy, params, images), expected)
        trained = apply(noisy, params, images, train=True, rngs={"dropout": key})
        assert relative_error(trained, expected) > 1e-3, fields


def test_the_convolutional_stem_comes_before_the_patches():
    paths = flat_paths(abstract_params(TINY.clone(stem="conv"), 12, 8, 3))
    assert paths["stem_0/kernel"].shape == (3, 3, 3, 8)
    assert paths["stem_1/kernel"].shape == (3, 3, 8, 8)
    assert paths["patch_embed/kernel"].shape == (4 * 4 * 8, 16)


def test_only_token_and_none_have_a_class_token():
    for pool in ("token", "none", "mean", "map"):
        params = abstract_params(TINY.clone(pool=pool), 12, 8, 3)
        has_token = pool in ("token", "none")
        assert ("cls" in params) == has_token
        assert params["pos_embed"].shape == (1, 6 + has_token, 16)


def test_the_mlp_is_four_times_as_wide_unless_said():
    up = "encoder/block_0/mlp/up/kernel"
    assert flat_paths(abstract_params(TINY, 12, 8, 3))[up].shape == (16, 64)
    other = TINY.clone(hidden_dim=7)
    assert flat_paths(abstract_params(other, 12, 8, 3))[up].shape == (16, 7)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_heads": 3}, "num_heads 3 does not divide width 16"),
        ({"depth": 0}, "depth 0 must be at least 1"),
        ({"patch_size": 5}, "patch_size 5 does not divide the image of 12 x 8"),
        ({"width": 18, "pos_embed": "sincos2d"}, "not 18"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        abstract_params(TINY.clone(**fields), 12, 8, 3)


def test_a_usual_name_gives_its_sizes():
    for size, fields in VARIANTS.items():
        module = vit(f"{size}/8", num_classes=3, pool="mean")
        assert {name: getattr(module, name) for name in fields} == fields
        assert (module.patch_size, module.num_classes, module.pool) == (8, 3, "mean")
    assert vit("B/32", width=32).width == 32


@pytest.mark.parametrize("name", ["B", "B/", "X/16", "B/p", "16/B", ""])
def test_a_name_that_is_not_understood_is_refused(name):
    with pytest.raises(InputError, match="is not SIZE/PATCH with SIZE of Ti, S, B"):
        vit(name)


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_features_are_what_the_head_reads_and_outputs_of_blocks(rng, images, scan):
    params = random_params(TINY, rng)
    shallow = {k: v for k, v in params.items() if k != "encoder"}
    shallow["encoder"] = {"block_0": params["encoder"]["block_0"]}
    given = {**params, "encoder": stack_blocks(params["encoder"])} if scan else params
    module = TINY.clone(scan=scan)
    found = jax.jit(
        lambda p, x: module.apply({"params": p}, x, (0, -1), method="features")
    )(given, images)
    logits = apply(TINY, params, images)
    kernel, bias = (params["head"][name] for name in ("kernel", "bias"))
    assert relative_error(found.pooled @ kernel + bias[None], logits) < ORDER_OF_SUMS
    normed = TINY.clone(depth=1, pool="none", num_classes=0)
    scale, shift = (params["norm"][name][None, None] for name in ("scale", "bias"))
    for layer, (weights, depth) in enumerate([(shallow, 1), (params, 2)]):
        expected = apply(normed.clone(depth=depth), weights, images)
        tokens = found.layers[layer]
        centred = tokens - tokens.mean(-1, keepdims=True)
        normal = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        assert relative_error(normal * scale + shift, expected) < ORDER_OF_SUMS


def test_a_layer_that_is_not_there_is_refused(images):
    params = abstract_params(TINY, 12, 8, 3)
    with pytest.raises(InputError, match="layer 2 is not one of the 2 from 0 on"):
        jax.eval_shape(
            lambda p: TINY.apply({"params": p}, images, (2,), method="features"), params
        )
