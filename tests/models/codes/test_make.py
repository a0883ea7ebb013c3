"""Networks of codes by name: sizes, records, what is refused."""

import jax
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.recorded import read_fields, record
from jaxlab.models.codes.make import (
    PRESETS,
    make_patch_gan,
    make_vqgan,
    make_vqvae,
)


@pytest.mark.parametrize(
    ("preset", "shape", "codes"),
    [
        ("f16_1024", (256, 256, 3), (16, 16)),
        ("px32", (32, 32, 3), (8, 8)),
        ("digits", (8, 8, 1), (4, 4)),
    ],
)
def test_each_preset_makes_a_map_of_codes(preset, shape, codes):
    network = make_vqgan(preset, channels=shape[-1])
    images = jax.ShapeDtypeStruct((1, *shape), "float32")
    init = network.init_with_output
    (found, quantized), _ = jax.eval_shape(init, jax.random.key(0), images)
    assert found.shape == images.shape
    assert quantized.indices.shape == (1, *codes)
    assert network.num_codes == PRESETS[preset].num_codes


@pytest.mark.parametrize(
    ("maker", "fields"),
    [
        (make_vqvae, {"width": 8, "quantizer_options": {"beta": 0.5}}),
        (make_vqgan, {"preset": "digits", "widths": (8, 16), "attention": (1,)}),
        (make_patch_gan, {"preset": "digits", "norm": "batch", "spectral": True}),
    ],
)
def test_a_network_is_made_again_of_its_record(maker, fields):
    recorded = record(maker, **fields)
    assert maker(**read_fields(recorded.fields)) == recorded.network
    for name, value in fields.items():
        if hasattr(recorded.network, name):
            assert getattr(recorded.network, name) == value


def test_sizes_and_options_reach_the_network():
    network = make_vqgan(
        "digits",
        widths=(8, 16, 16),
        attention=(2,),
        code_dim=4,
        num_codes=32,
        quantizer="vq",
        quantizer_options={"beta": 0.5},
    )
    assert (network.sizes.widths, network.sizes.attention) == ((8, 16, 16), (2,))
    assert (network.stride, network.sizes.num_blocks) == (4, 1)
    quantizer = network.quantizer
    assert (quantizer.num_codes, quantizer.dim, quantizer.beta) == (32, 4, 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_vqgan("f16"), r"preset 'f16'.*f16_1024, px32, digits"),
        (lambda: make_vqgan(widths=(64, 100)), r"num_groups 32 .* widths \[100\]"),
        (lambda: make_vqgan(widths=()), r"widths \(\) must be numbers of at least 1"),
        (lambda: make_vqgan(attention=(3,)), r"attention \[3\] names no level"),
        (lambda: make_vqgan(attention=(-1,)), r"attention \[-1\] names no level"),
        (lambda: make_vqgan(num_blocks=0), "num_blocks 0 must be at least 1"),
        (lambda: make_vqgan(quantizer="pq"), "quantizer 'pq'"),
        (lambda: make_vqvae(width=0), "width 0 must be at least 1"),
        (lambda: make_vqvae(num_blocks=-1), "num_blocks -1 must be at least 0"),
        (lambda: make_patch_gan(num_layers=0), "num_layers 0 must be at least 1"),
        (lambda: make_vqgan(channels=0), "channels 0 must be at least 1"),
        (lambda: make_vqgan(quantizer_options={"bta": 1}), "did you mean 'beta'"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
