"""BERT of transformers beside ours: `jaxlab.interop.text.bert`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.text.bert import load_hf_bert, to_hf_bert
from jaxlab.models.transformer.encoder import TransformerEncoder
from tests.closeness import relative_error

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.peer

# Relative to the largest value: both sides sum in float32, in another order (1e-6 is
# seen). The tanh GELU exceeds it by a factor of 20.
PARITY = 1e-5

CONFIG = {
    "vocab_size": 29,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
    "type_vocab_size": 3,
}
TOKENS = np.array([[5, 6, 7, 8, 9, 10], [11, 12, 13, 0, 0, 0], [28, *[0] * 5]])
TYPES = np.array([[0, 0, 0, 1, 1, 1], [0, 2, 1, 0, 0, 0], [1, *[0] * 5]])
KINDS = {
    "base": lambda config: transformers.BertModel(config, add_pooling_layer=False),
    "pooler": lambda config: transformers.BertModel(config),
    "classifier": lambda config: transformers.BertForSequenceClassification(config),
    "tokens": lambda config: transformers.BertForTokenClassification(config),
    "pretraining": lambda config: transformers.BertForPreTraining(config),
}


def hugging_face(kind, **changes):
    """Make a small BERT with every parameter random."""
    torch.manual_seed(0)
    config = transformers.BertConfig(**{**CONFIG, "num_labels": 5, **changes})
    model = KINDS[kind](config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def forward(model, kind):
    """Apply a model of transformers to `TOKENS` and `TYPES`."""
    model = model.bert if kind == "pretraining" else model
    outputs = model(
        input_ids=torch.from_numpy(TOKENS),
        token_type_ids=torch.from_numpy(TYPES),
        attention_mask=torch.from_numpy((TOKENS != 0).astype(np.int64)),
    )
    if kind in ("classifier", "tokens"):
        return outputs.logits.detach()
    return (
        outputs.last_hidden_state[:, 0] if kind == "base" else outputs.pooler_output
    ).detach()


def load(model, **options):
    return load_hf_bert(model.state_dict(), model.config.to_dict(), **options)


def apply(network, params, types=TYPES):
    inputs = (jnp.asarray(array, "int32") for array in (TOKENS, types))
    return network.apply({"params": params}, *inputs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_outputs_are_those_of_transformers(kind):
    model = hugging_face(kind)
    expected = forward(model, kind)
    outputs = apply(*load(model))
    assert outputs.shape == expected.shape
    assert relative_error(outputs, expected) < PARITY


@pytest.mark.slow
@pytest.mark.parametrize("act", ["gelu_new", "relu", "silu"])
def test_the_configuration_is_followed(act):
    changes = {"hidden_act": act, "layer_norm_eps": 1e-2, "type_vocab_size": 3}
    model = hugging_face("pooler", **changes)
    outputs = apply(*load(model, scan=True))
    assert relative_error(outputs, forward(model, "pooler")) < PARITY


def test_all_tokens_are_the_last_hidden_state():
    model = hugging_face("classifier")
    expected = model.bert(
        input_ids=torch.from_numpy(TOKENS),
        attention_mask=torch.from_numpy((TOKENS != 0).astype(np.int64)),
    ).last_hidden_state.detach()
    network, params = load(model, pool="none")
    assert {"pre_logits", "head"}.isdisjoint(params)
    outputs = apply(network, params, np.zeros_like(TYPES))
    assert outputs.shape == (3, 6, 16)
    assert relative_error(outputs, expected) < PARITY


@pytest.mark.parametrize("kind", ["base", "pooler", "classifier", "tokens"])
@pytest.mark.parametrize("scan", [False, True])
def test_weights_come_back_to_the_last_bit(kind, scan):
    model = hugging_face(kind)
    back = to_hf_bert(*load(model, scan=scan))
    assert back.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        np.testing.assert_array_equal(back[name], weight.numpy(), err_msg=name)
    empty = KINDS[kind](model.config)
    empty.load_state_dict({k: torch.tensor(w) for k, w in back.items()})
    torch.testing.assert_close(
        forward(empty.eval(), kind), forward(model, kind), rtol=0, atol=0
    )


def test_a_saved_folder_in_shards_loads(tmp_path):
    pytest.importorskip("safetensors")
    model = hugging_face("classifier")
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert not (tmp_path / "model.safetensors").exists()
    jax.tree.map(
        np.testing.assert_array_equal, load_hf_bert(tmp_path)[1], load(model)[1]
    )
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(InputError, match=r"no model-00002-of-\d+\.safetensors"):
        load_hf_bert(tmp_path)


def test_a_bfloat16_file_becomes_float32(tmp_path):
    pytest.importorskip("safetensors")
    model = hugging_face("base").bfloat16()
    model.save_pretrained(tmp_path)
    params = load_hf_bert(tmp_path)[1]
    jax.tree.map(np.testing.assert_array_equal, params, load(model.float())[1])


def test_old_names_of_norms_are_known():
    model = hugging_face("pooler")
    weights = {
        k.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): w
        for k, w in model.state_dict().items()
    }
    assert any("gamma" in key for key in weights)
    weights["embeddings.position_ids"] = torch.arange(12)[None]
    params = load_hf_bert(weights, CONFIG)[1]
    jax.tree.map(np.testing.assert_array_equal, params, load(model)[1])


def test_a_new_head_starts_at_zero_behind_the_pooler():
    network, params = load(hugging_face("classifier"), num_classes=7)
    assert apply(network, params).shape == (3, 7)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(params["head"]))
    network, params = load(hugging_face("classifier"), num_classes=0)
    assert apply(network, params).shape == (3, 16)
    assert "pre_logits" in params


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type 'roberta'"),
        ({"hidden_act": "tanh"}, "hidden_act 'tanh'"),
        ({"is_decoder": True}, "is_decoder True"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ],
)
def test_what_the_encoder_does_not_have_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        load_hf_bert({}, {**CONFIG, **change})


def test_wrong_weights_are_named():
    model = hugging_face("pooler")
    weights = model.state_dict()
    kernel = "encoder.layer.1.output.dense.weight"
    weights[kernel] = weights[kernel].T
    weights["qa_outputs.weight"] = weights.pop("embeddings.LayerNorm.bias")
    with pytest.raises(InputError) as raised:
        load_hf_bert(weights, CONFIG)
    message = str(raised.value)
    assert "missing: embeddings.LayerNorm.bias;" in message
    assert "not known: qa_outputs.weight;" in message
    assert f"{kernel} (24, 16) not (16, 24)" in message


@pytest.mark.parametrize(
    "fields",
    [
        {"norm_first": True},
        {"embed_norm": False},
        {"norm": "rms"},
        {"positions": "rotary"},
        {"pool": "mean"},
        {"use_bias": False},
        {"num_kv_heads": 1},
        {"act": "geglu"},
        {"representation_size": 8},
        {"representation_size": 0, "num_classes": 3, "pool": "token"},
        {"representation_size": 16, "num_classes": 3, "pool": "none"},
    ],
)
def test_an_encoder_that_bert_cannot_be_is_not_exported(fields):
    with pytest.raises(InputError, match=next(iter(fields))):
        to_hf_bert(TransformerEncoder(width=16, num_heads=2, **fields), {})
