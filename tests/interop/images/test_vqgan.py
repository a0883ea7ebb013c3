"""VQGAN beside `VQModel` of diffusers, and its weights in two layouts."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError, WriteError
from jaxlab.core.pytree import num_elements
from jaxlab.interop.images.vqgan import (
    load_diffusers_vqgan,
    load_taming_vqgan,
    save_diffusers_vqgan,
    to_diffusers_vqgan,
    to_taming_vqgan,
)
from jaxlab.models.codes.make import make_vqgan
from jaxlab.nn.quantizers.make import make_quantizer
from jaxlab.nn.quantizers.vq import VectorQuantizer
from tests.closeness import relative_error
from tests.damage import check_reader
from tests.jitted import jitted_apply

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = [pytest.mark.peer, pytest.mark.slow]

# Relative to the largest value: float32 sums of thousands of products, through about 20
# layers, in another order (2e-6 is seen). An epsilon of 1e-5 in the norms exceeds it.
PARITY = 1e-5
# Of squared distances: two codes closer than that may change places by rounding.
NEAR_TIE = 1e-5

TINY = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "latent_channels": 6,
    "vq_embed_dim": 5,
    "num_vq_embeddings": 32,
    "norm_num_groups": 4,
    "sample_size": 16,
}


def kinds(attention, count):
    """Give the names of blocks, with attention in those levels."""
    marks = ["Attn" if level in attention else "" for level in range(count)]
    return {
        "down_block_types": tuple(f"{mark}DownEncoderBlock2D" for mark in marks),
        "up_block_types": tuple(f"{mark}UpDecoderBlock2D" for mark in marks[::-1]),
    }


def vq_model(attention=(1,), seed=0, **changes):
    """Make a small `VQModel` with every parameter random."""
    torch.manual_seed(seed)
    config = {**TINY, **changes}
    config |= kinds(attention, len(config["block_out_channels"]))
    model = diffusers.VQModel(**config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "quantize.embedding.weight":
                parameter.normal_()
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def load(model, **fields):
    return load_diffusers_vqgan(model.state_dict(), dict(model.config), **fields)


def nchw(array):
    return torch.tensor(np.asarray(array).transpose(0, 3, 1, 2))


def nhwc(tensor):
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def model():
    return vq_model()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.uniform(-1, 1, (4, 8, 12, 3)), jnp.float32)


@pytest.mark.parametrize(
    "changes",
    [{}, {"layers_per_block": 2, "attention": (), "block_out_channels": (8, 8, 4)}],
)
def test_encoder_codes_and_decoder_are_those_of_diffusers(images, changes):
    model = vq_model(**changes)
    network, params = load(model)

    def run(network, images):
        latents = network.encode(images)
        quantized = network.quantize(latents)
        return latents, quantized.indices, network.decode(quantized.codes)

    variables = {"params": params}
    found = jitted_apply(network, variables, images, method=run)
    ours, tokens, reconstruction = found
    latents = model.encode(nchw(images)).latents
    assert relative_error(ours, nhwc(latents)) < PARITY

    rows, codes = nhwc(latents).reshape(-1, 5), model.quantize.embedding.weight
    squares = ((rows[:, None] - codes.detach().numpy()[None]) ** 2).sum(-1)
    theirs = model.quantize(latents)[2][2].numpy()
    second, first = np.partition(squares, 1)[:, 1], squares.min(1)
    is_clear = second - first > NEAR_TIE * second
    assert is_clear.mean() > 0.9
    assert len(np.unique(theirs)) > 2
    np.testing.assert_array_equal(np.ravel(tokens)[is_clear], theirs[is_clear])

    decoded = model.decode(latents).sample
    assert relative_error(reconstruction, nhwc(decoded)) < PARITY


def test_f16_1024_has_the_parameters_of_the_paper_in_both():
    def count(network, side):
        images = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
        shapes = jax.eval_shape(network.init, jax.random.key(0), images)
        return num_elements(shapes["params"])

    assert count(make_vqgan("f16_1024", quantizer="vq"), 256) == 72_141_699
    with torch.device("meta"):
        theirs = diffusers.VQModel(
            block_out_channels=(128, 128, 256, 256, 512),
            layers_per_block=2,
            latent_channels=256,
            num_vq_embeddings=1024,
            **kinds((4,), 5),
        )
    assert sum(p.numel() for p in theirs.parameters()) == 72_141_699


def test_weights_come_back_to_the_last_bit(model):
    back, weights = to_diffusers_vqgan(*load(model)), model.state_dict()
    assert back.keys() == weights.keys()
    for name, weight in weights.items():
        np.testing.assert_array_equal(back[name], weight.numpy(), err_msg=name)


@pytest.mark.parametrize("name", ["ema", "simvq"])
def test_diffusers_opens_what_we_wrote(tmp_path, images, key, same, name):
    pytest.importorskip("safetensors")
    network, params = load(vq_model((0,)))
    quantizer = make_quantizer(name, num_codes=32, dim=5)
    drawn = quantizer.init(key, jnp.zeros((1, 5)))
    network = network.clone(quantizer=quantizer)
    params["quantizer"] = drawn.pop("params", {})
    state = {name: {"quantizer": part} for name, part in drawn.items()}

    save_diffusers_vqgan(tmp_path / "new", network, params, state, image_size=16)
    theirs, report = diffusers.VQModel.from_pretrained(
        tmp_path / "new", output_loading_info=True
    )
    assert not any(report.values())
    decoded = theirs.eval()(nchw(images)).sample
    ours, _ = jitted_apply(network, {"params": params, **state}, images)
    assert relative_error(ours, nhwc(decoded)) < PARITY
    again, found = load_diffusers_vqgan(tmp_path / "new")
    assert again.sizes == network.sizes
    del found["quantizer"], params["quantizer"]
    assert same(found, params)


def test_folders_of_diffusers_load_and_files_of_long_ago(tmp_path, model, same):
    pytest.importorskip("safetensors")
    model.save_pretrained(tmp_path)
    network, params = load_diffusers_vqgan(tmp_path)
    assert same(params, load(model)[1])
    assert network.sizes.attention == (1,)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {
        functools.reduce(lambda k, new: k.replace(new, old[new]), old, key): weight
        for key, weight in model.state_dict().items()
    }
    assert weights.keys() != model.state_dict().keys()
    assert same(load_diffusers_vqgan(weights, dict(model.config))[1], params)


def in_taming(key, count=2):
    """Give the key of taming-transformers, by hand."""
    changes = [
        (r"down_blocks\.(\d)", lambda m: f"down.{m[1]}"),
        (r"up_blocks\.(\d)", lambda m: f"up.{count - 1 - int(m[1])}"),
        (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (r"mid_block\.attentions\.0", "mid.attn_1"),
        (r"resnets", "block"),
        (r"attentions", "attn"),
        (r"group_norm", "norm"),
        (r"to_([qkv])", r"\1"),
        (r"to_out\.0", "proj_out"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"downsamplers\.0", "downsample"),
        (r"upsamplers\.0", "upsample"),
        (r"conv_norm_out", "norm_out"),
    ]
    return functools.reduce(lambda k, c: re.sub(c[0], c[1], k), changes, key)


@pytest.fixture(scope="module")
def taming():
    """Give a `VQModel` with 32 groups, and its weights as taming-transformers'."""
    model = vq_model((1,), block_out_channels=(32, 64), norm_num_groups=32)
    weights = {}
    for key, weight in model.state_dict().items():
        is_pixel = ".attentions." in key and weight.ndim == 2
        weights[in_taming(key)] = weight[:, :, None, None] if is_pixel else weight
    return model, weights


def test_weights_of_taming_transformers_come_in_and_go_out(tmp_path, taming, same):
    model, weights = taming
    network, params = load(model)
    losses = {"loss.discriminator.main.0.bias": torch.zeros(3)}
    torch.save({"state_dict": {**weights, **losses}}, tmp_path / "vqgan.pth")
    found, loaded = load_taming_vqgan(tmp_path / "vqgan.pth")
    assert (found, same(loaded, params)) == (network, True)
    back = to_taming_vqgan(network, params)
    assert back.keys() == weights.keys()
    for key, weight in weights.items():
        np.testing.assert_array_equal(back[key], weight.numpy(), err_msg=key)


def test_fields_of_our_own_are_kept(model):
    quantizer = VectorQuantizer(32, 5, beta_on="codebook")
    network, _ = load(model, quantizer=quantizer, dtype=jnp.bfloat16)
    assert network.quantizer == quantizer
    assert network.dtype == jnp.bfloat16


def test_what_does_not_fit_is_refused_and_named(model, taming):
    weights, config = model.state_dict(), dict(model.config)
    lost = "decoder.up_blocks.0.attentions.1.to_q.bias"
    rest = {key: weight for key, weight in weights.items() if key != lost}
    cases = [
        (rest, {}, f"missing: {re.escape(lost)}"),
        ({**weights, "quantize.used": torch.zeros(3)}, {}, "not known: quantize.used"),
        ({}, {}, r"no encoder\.down_blocks\.0\.resnets\.0\.conv1\.weight of 1 axes"),
        (weights, {"norm_type": "spatial"}, "norm_type 'spatial'"),
        (weights, {"mid_block_add_attention": False}, "mid_block_add_attention False"),
        (weights, {"_class_name": "AutoencoderKL"}, "_class_name 'AutoencoderKL'"),
        (weights, {"norm_num_groups": 5}, r"num_groups 5 does not divide .*\[8, 16\]"),
    ]
    for found, changes, message in cases:
        with pytest.raises(InputError, match=message):
            load_diffusers_vqgan(found, {**config, **changes})
    with pytest.raises(InputError, match=r"no encoder\.down\.0.*no VQGAN of taming"):
        load_taming_vqgan(weights)
    turned = {**taming[1], "encoder.conv_in.weight": torch.zeros(3, 3, 3, 32)}
    with pytest.raises(InputError, match=r"encoder\.conv_in\.weight \(3, 3, 3, 32\)"):
        load_taming_vqgan(turned)


def test_networks_that_they_do_not_have_are_not_written(tmp_path, model):
    network, params = load(model)
    with pytest.raises(InputError, match=r"num_groups 4: .* have 32"):
        to_taming_vqgan(network, params)
    cosine = make_vqgan("digits", quantizer="cosine")
    with pytest.raises(InputError, match=r"no VQModel .* CosineQuantizer"):
        to_diffusers_vqgan(cosine, {})
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="give another folder"):
        save_diffusers_vqgan(tmp_path / "file", network, params)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_damaged_folders_are_refused_or_read_right(tmp_path, name):
    network, params = load(vq_model((), block_out_channels=(4,)))
    save_diffusers_vqgan(tmp_path, network, params)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"

    def is_right(found):  # neither file has a checksum: other numbers may pass
        shapes = jax.tree.map(np.shape, (found[1], params))
        return shapes[0] == shapes[1] and found[0].sizes.widths == (4,)

    check_reader(lambda _: load_diffusers_vqgan(weights), tmp_path / name, is_right)
