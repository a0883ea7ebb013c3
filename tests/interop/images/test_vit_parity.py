"""ViT of transformers beside ours, all weights random: `jaxlab.interop.images.vit`."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.images.vit import load_hf_vit, to_hf_vit
from tests.closeness import relative_error
from tests.jitted import jitted_apply

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.peer

# Relative to the largest value: both sides sum in float32, in another order (1e-6 is
# seen). The tanh GELU exceeds it by a factor of 20.
PARITY = 1e-5

CONFIG = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
KINDS = ["base", "pooler", "classifier"]
# From the layout of version 5 to that of version 4.
RENAMES = [
    (r"\blayers\.(\d+)", r"encoder.layer.\1"),
    (r"attention\.q_proj", "attention.attention.query"),
    (r"attention\.k_proj", "attention.attention.key"),
    (r"attention\.v_proj", "attention.attention.value"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
]


def to_layout(weights, layout):
    if layout == "v4":
        for pattern, name in RENAMES:
            weights = {re.sub(pattern, name, k): w for k, w in weights.items()}
    return weights


def hugging_face(kind, **changes):
    """Make a small ViT of transformers with every parameter random."""
    config = transformers.ViTConfig(**CONFIG, **changes)
    if kind == "classifier":
        model = transformers.ViTForImageClassification(config)
    else:
        model = transformers.ViTModel(config, add_pooling_layer=kind == "pooler")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def forward(model, kind, images):
    """Apply a model of transformers to our images."""
    outputs = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    if kind == "classifier":
        return outputs.logits
    last = outputs.last_hidden_state[:, 0]
    return outputs.pooler_output if kind == "pooler" else last


@pytest.fixture
def images(rng):
    """Give four images."""
    return rng.uniform(-1, 1, size=(4, 32, 32, 3)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["v4", "v5"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_transformers(kind, layout, images):
    model = hugging_face(kind, num_labels=5)
    expected = forward(model, kind, images).detach().numpy()
    weights = to_layout(model.state_dict(), layout)
    vit, params = load_hf_vit(weights, model.config.to_dict())
    outputs = jitted_apply(vit, {"params": params}, jnp.asarray(images))
    assert outputs.shape == expected.shape
    assert relative_error(outputs, expected) < PARITY


@pytest.mark.slow
@pytest.mark.parametrize("act", ["gelu_pytorch_tanh", "relu", "silu"])
def test_the_configuration_is_followed(act, images):
    changes = {"hidden_act": act, "layer_norm_eps": 1e-2, "num_channels": 2}
    model = hugging_face("pooler", **changes, pooler_output_size=7)
    images = images[..., :2]
    vit, params = load_hf_vit(model.state_dict(), model.config.to_dict())
    expected = forward(model, "pooler", images).detach()
    assert expected.shape == (4, 7)
    outputs = jitted_apply(vit, {"params": params}, jnp.asarray(images))
    assert relative_error(outputs, expected) < PARITY


def test_all_tokens_are_the_last_hidden_state(images):
    model = hugging_face("pooler")
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    expected = model(pixels).last_hidden_state.detach()
    vit, params = load_hf_vit(
        model.state_dict(), model.config.to_dict(), num_classes=0, pool="none"
    )
    outputs = jitted_apply(vit, {"params": params}, jnp.asarray(images))
    assert relative_error(outputs, expected) < PARITY


@pytest.mark.slow
def test_gradients_of_a_scanned_vit_are_those_of_torch(images):
    model = hugging_face("classifier", num_labels=5)
    labels = np.array([0, 1, 2, 4])
    logits = forward(model, "classifier", images)
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    vit, params = load_hf_vit(model.state_dict(), model.config.to_dict(), scan=True)

    def loss(params):
        log_p = jax.nn.log_softmax(vit.apply({"params": params}, jnp.asarray(images)))
        return -log_p[np.arange(4), labels].mean()

    # The key map is linear, so it carries gradients as it carries weights.
    grads = to_hf_vit(vit, jax.jit(jax.grad(loss))(params), layout="v5")
    assert grads.keys() == expected.keys()
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, grad in expected.items():
        assert np.abs(grads[name] - grad.numpy()).max() < PARITY * largest, name


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_folder_loads_and_its_weights_come_back(kind, images, tmp_path):
    pytest.importorskip("safetensors")
    model = hugging_face(kind, num_labels=5)
    model.save_pretrained(tmp_path)
    vit, params = load_hf_vit(tmp_path)
    outputs = jitted_apply(vit, {"params": params}, jnp.asarray(images))
    assert relative_error(outputs, forward(model, kind, images).detach()) < PARITY
    back = to_hf_vit(vit, params, layout="v5")
    assert back.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        np.testing.assert_array_equal(back[name], weight.numpy())


def test_the_mask_token_alone_may_be_left_out():
    model = transformers.ViTModel(
        transformers.ViTConfig(**CONFIG), add_pooling_layer=False, use_mask_token=True
    )
    assert "embeddings.mask_token" in model.state_dict()
    load_hf_vit(model.state_dict(), model.config.to_dict())
    whole = transformers.ViTForMaskedImageModeling(transformers.ViTConfig(**CONFIG))
    with pytest.raises(InputError, match=r"not known: decoder\.0\.weight"):
        load_hf_vit(whole.state_dict(), whole.config.to_dict())


def test_a_bfloat16_tensor_is_named():
    model = hugging_face("base")
    with pytest.raises(InputError, match=r"embeddings\.cls_token .*\.float\(\)"):
        load_hf_vit(model.bfloat16().state_dict(), model.config.to_dict())
