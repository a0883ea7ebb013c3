"""Tests of `jaxlab.interop.images.preprocessing`."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.images.augment import to_unit_range
from jaxlab.interop.images.preprocessing import Preprocessing, load_hf_preprocessing
from tests.damage import check_reader

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
# That of google/vit-base-patch16-224, which says nothing of a scale.
GOOGLE = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "size": 8,
}
# A few float32 operations, in another order, on values of at most 3.
ROUNDING = 1e-6


@pytest.fixture
def images(rng):
    """Give two images of 8 x 8 pixels."""
    return jnp.asarray(rng.integers(0, 256, (2, 8, 8, 3)), jnp.uint8)


def load(folder, config):
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return load_hf_preprocessing(folder)


def test_the_original_vit_wants_what_our_networks_are_given(images, tmp_path):
    found = load(tmp_path, GOOGLE)
    assert found == Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3, 1 / 255)
    assert found.signed
    np.testing.assert_allclose(found(images), to_unit_range(images), atol=ROUNDING)
    assert load_hf_preprocessing(tmp_path / "preprocessor_config.json") == found


@pytest.mark.peer
@pytest.mark.slow  # transformers takes long to import
@pytest.mark.parametrize(
    "options",
    [
        {},
        IMAGENET,
        {"do_rescale": False},
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
    ],
)
def test_inputs_are_those_of_transformers(options, images, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    theirs = transformers.ViTImageProcessorPil(
        size={"height": 8, "width": 8}, **options
    )
    theirs.save_pretrained(tmp_path)
    expected = theirs(list(np.asarray(images)), return_tensors="np")["pixel_values"]
    found = load_hf_preprocessing(tmp_path)
    np.testing.assert_allclose(
        np.moveaxis(found(images), -1, 1), expected, rtol=ROUNDING, atol=ROUNDING
    )
    is_signed = options in ({},) or "rescale_factor" in options
    assert found.signed == is_signed


def test_sizes_are_those_after_the_crop(tmp_path):
    for size, crop, expected in (
        ({"height": 6, "width": 8}, None, (6, 8)),
        ({"shortest_edge": 8}, None, (8, 8)),
        ({"shortest_edge": 9}, {"height": 7, "width": 8}, (7, 8)),
        (9, 7, (7, 7)),
    ):
        config = {**GOOGLE, "size": size, "crop_size": crop}
        found = load(tmp_path, {**config, "do_center_crop": crop is not None})
        assert found.size == expected


def test_other_images_are_refused(images, tmp_path):
    found = load(tmp_path, GOOGLE)
    with pytest.raises(InputError, match=r"8 x 4 pixels and 3 .* wants 8 x 8 and 3"):
        found(images[:, :, :4])
    with pytest.raises(InputError, match="8 x 8 pixels and 1 channels"):
        found(images[..., :1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": None}, "size 'None'"),
        ({"size": {"longest_edge": 3}}, "size .* must be of pixels"),
        ({"size": [8.0, 8]}, "must be of pixels"),
        ({"image_mean": None}, "image_mean 'None' .* must be numbers"),
        ({"image_mean": ["a"]}, "must be numbers"),
        ({"image_mean": [0.5]}, "do not fit"),
        ({"image_std": [0.0] * 3}, "do not fit"),
        ({"rescale_factor": 0}, "do not fit"),
        ({"rescale_factor": "1/255"}, "rescale_factor .*1/255.* must be numbers"),
    ],
)
def test_what_cannot_be_is_named(change, said, tmp_path):
    with pytest.raises(InputError, match=said) as raised:
        load(tmp_path, {**GOOGLE, **change})
    assert str(tmp_path) in str(raised.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no preprocessor_config\.json in"):
        load_hf_preprocessing(tmp_path)


@pytest.mark.fuzz
def test_a_damaged_file_is_refused_or_could_be_one(tmp_path):
    load(tmp_path, GOOGLE | IMAGENET)
    file = tmp_path / "preprocessor_config.json"

    def is_right(found):
        return min(found.size) > 0 and min(found.std) > 0 and len(found.mean) == 3

    assert check_reader(load_hf_preprocessing, file, is_right) > 10
