"""Tests of `jaxlab.interop.images.vit`; those against transformers are beside this."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.images.vit import load_hf_vit, to_hf_vit
from jaxlab.models.vision.vit import ViT
from jaxlab.nn.embed import resize_positions
from jaxlab.nn.stack import unstack_blocks

CONFIG = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture
def weights(key, rng):
    """Give weights in the layout of version 4, made without transformers."""
    vit = ViT(
        num_classes=5, patch_size=8, width=32, depth=2, num_heads=4, hidden_dim=48
    )
    shapes = jax.eval_shape(vit.init, key, jnp.zeros((1, 32, 32, 3)))["params"]
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(s.dtype), shapes)
    return to_hf_vit(vit, params)


def output_shape(vit, params, *image_shape):
    image = jax.ShapeDtypeStruct((1, *image_shape), "float32")
    return jax.eval_shape(vit.apply, {"params": params}, image).shape


def test_float16_weights_become_float32(weights):
    half = {key: weight.astype(np.float16) for key, weight in weights.items()}
    _, params = load_hf_vit(half, CONFIG)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}


def test_a_scanned_vit_holds_the_same_weights(weights):
    vit, params = load_hf_vit(weights, CONFIG, scan=True)
    looped, expected = load_hf_vit(weights, CONFIG)
    assert (vit.scan, looped.scan) == (True, False)
    params = {**params, "encoder": unstack_blocks(params["encoder"])}
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_a_new_head_starts_at_zero(weights):
    vit, params = load_hf_vit(weights, CONFIG, num_classes=10)
    assert output_shape(vit, params, 32, 32, 3) == (1, 10)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(params["head"]))
    vit, params = load_hf_vit(weights, CONFIG, num_classes=0)
    assert output_shape(vit, params, 32, 32, 3) == (1, 32)
    assert "head" not in params


@pytest.mark.slow
def test_positions_are_resized_to_other_images(weights):
    _, stored = load_hf_vit(weights, CONFIG)
    vit, params = load_hf_vit(weights, CONFIG, image_size=(48, 40))
    expected = resize_positions(stored["pos_embed"][0], (4, 4), (6, 5))
    np.testing.assert_array_equal(params["pos_embed"][0], expected)
    assert output_shape(vit, params, 48, 40, 3) == (1, 5)


def test_the_stored_image_size_leaves_positions_as_they_are(weights):
    _, params = load_hf_vit(weights, CONFIG, image_size=32)
    np.testing.assert_array_equal(
        params["pos_embed"], weights["vit.embeddings.position_embeddings"]
    )


def test_other_fields_reach_the_network(weights):
    vit, _ = load_hf_vit(weights, CONFIG, dtype=jnp.bfloat16, drop_path_rate=0.1)
    assert (vit.dtype, vit.drop_path_rate, vit.norm_eps) == (jnp.bfloat16, 0.1, 1e-12)
    vit, _ = load_hf_vit(weights, {**CONFIG, "hidden_dropout_prob": 0.1})
    assert vit.dropout_rate == 0.1


def test_a_missing_an_unknown_and_a_misshapen_weight_are_named(weights):
    kernel = "vit.encoder.layer.1.output.dense.weight"
    weights[kernel] = weights[kernel].T
    weights["vit.extra"] = weights.pop("vit.layernorm.bias")
    with pytest.raises(InputError) as raised:
        load_hf_vit(weights, CONFIG)
    message = str(raised.value)
    assert "missing: vit.layernorm.bias;" in message
    assert "not known: vit.extra;" in message
    assert f"{kernel} (48, 32) not (32, 48)" in message


def test_another_depth_than_the_configuration_says_is_refused(weights):
    with pytest.raises(InputError, match=r"missing: vit\.encoder\.layer\.2\."):
        load_hf_vit(weights, {**CONFIG, "num_hidden_layers": 3})
    with pytest.raises(InputError, match=r"not known: vit\.encoder\.layer\.1\."):
        load_hf_vit(weights, {**CONFIG, "num_hidden_layers": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "dinov2"}, "model_type 'dinov2'"),
        ({"hidden_act": "quick_gelu"}, "hidden_act 'quick_gelu'"),
        ({"pooler_act": "relu"}, "pooler_act 'relu'"),
        ({"qkv_bias": False}, "qkv_bias False"),
        ({"patch_size": [8, 4]}, "patches of 8 x 4"),
    ],
)
def test_what_the_vit_does_not_have_is_refused(weights, change, message):
    with pytest.raises(InputError, match=message):
        load_hf_vit(weights, {**CONFIG, **change})


def test_sizes_may_be_pairs(weights):
    pairs = {"image_size": [32, 32], "patch_size": [8, 8]}
    vit, _ = load_hf_vit(weights, {**CONFIG, **pairs})
    assert vit.patch_size == 8


def test_an_image_size_that_patches_do_not_divide_is_refused(weights):
    with pytest.raises(InputError, match=r"patch_size 8 does not divide .* 36 x 32"):
        load_hf_vit(weights, CONFIG, image_size=(36, 32))


def test_weights_without_a_configuration_are_refused(weights):
    with pytest.raises(InputError, match="pass config"):
        load_hf_vit(weights)


def test_a_folder_without_the_files_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        load_hf_vit(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        load_hf_vit(str(tmp_path))


@pytest.mark.parametrize("name", ["google/vit-base-patch16-224", "vit-large"])
def test_a_name_of_the_hub_says_how_to_fetch_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for config in (None, CONFIG):
        with pytest.raises(InputError) as raised:
            load_hf_vit(name, config)
        folder = name.split("/")[-1]
        said = str(raised.value)
        assert f"`hf download {name} --local-dir {folder}`" in said
        assert "\n" not in said


@pytest.mark.parametrize(
    "fields",
    [
        {"pool": "mean"},
        {"pos_embed": "sincos2d"},
        {"representation_size": 8},
        {"stem": "conv"},
    ],
)
def test_a_vit_that_transformers_does_not_have_is_not_exported(fields, key):
    vit = ViT(num_classes=5, patch_size=8, width=32, depth=1, num_heads=4, **fields)
    shapes = jax.eval_shape(vit.init, key, jnp.zeros((1, 32, 32, 3)))["params"]
    params = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    with pytest.raises(InputError):
        to_hf_vit(vit, params)


def test_a_pooler_beside_a_classifier_is_refused(weights):
    weights["vit.pooler.dense.weight"] = np.zeros((32, 32))
    with pytest.raises(InputError, match=r"not known: vit\.pooler\.dense\.weight"):
        load_hf_vit(weights, CONFIG)


def test_both_layouts_load_to_the_same_parameters(weights):
    vit, params = load_hf_vit(weights, CONFIG)
    renamed = to_hf_vit(vit, params, layout="v5")
    assert "vit.layers.1.mlp.fc2.bias" in renamed
    again = load_hf_vit(renamed, CONFIG)[1]
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)
