"""The priors beside GPT-2 and BERT of transformers, with the same weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.interop.text.bert import load_hf_bert
from jaxlab.interop.text.gpt2 import load_hf_gpt2
from jaxlab.models.codes.code_gpt import CodeGPT
from jaxlab.models.codes.maskgit import MaskGIT
from tests.closeness import relative_error
from tests.jitted import jitted_apply

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.peer

# Relative to the largest value: both sides sum in float32, in another order (1e-6 is
# seen). The other GELU exceeds it by a factor of 20.
PARITY = 1e-5
SIZES = {"num_codes": 20, "num_classes": 4, "length": 6, "width": 16, "num_heads": 2}
CODES = np.array([[5, 6, 7, 8, 9, 10], [11, 0, 13, 2, 19, 1]])
LABELS = np.array([3, 4])


def random(model):
    """Make every parameter of a model of torch random."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("is_tied", [False, True])
def test_code_gpt_is_gpt2(is_tied):
    config = transformers.GPT2Config(
        vocab_size=25,
        n_positions=7,
        n_embd=16,
        n_layer=2,
        n_head=2,
        activation_function="gelu",
        tie_word_embeddings=is_tied,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = random(transformers.GPT2LMHeadModel(config))
    network = CodeGPT(**SIZES, depth=2, tie_softmax=is_tied)
    _, params = load_hf_gpt2(model.state_dict(), config.to_dict())
    tokens = network.join(jnp.asarray(CODES), jnp.asarray(LABELS))
    expected = model(torch.tensor(np.array(tokens))).logits.detach()
    logits = jitted_apply(network, {"params": params}, tokens)
    assert relative_error(logits, expected[..., :20]) < PARITY


@pytest.mark.slow
def test_maskgit_is_bert_for_masked_tokens():
    config = transformers.BertConfig(
        vocab_size=26,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=7,
        type_vocab_size=1,
        hidden_act="gelu_new",
    )
    model = random(transformers.BertForMaskedLM(config))
    weights = model.state_dict()
    _, params = load_hf_bert(weights, config.to_dict(), num_classes=0, pool="none")
    head = {k: v.numpy() for k, v in weights.items() if k.startswith("cls.")}
    transform = "cls.predictions.transform."
    params["head"] = {
        "kernel": head[f"{transform}dense.weight"].T,
        "bias": head[f"{transform}dense.bias"],
    }
    params["head_norm"] = {
        "scale": head[f"{transform}LayerNorm.weight"],
        "bias": head[f"{transform}LayerNorm.bias"],
    }
    params["head_bias"] = head["cls.predictions.bias"][:20]
    # Our tokens are of one kind, whose vector is the positions' here.
    params["token_embed"]["pos_embed"] += params.pop("type_embed")
    masked = np.array([[1, 0, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1]], bool)
    tokens = np.concatenate([20 + LABELS[:, None], np.where(masked, 25, CODES)], axis=1)
    expected = model(torch.from_numpy(tokens)).logits.detach()
    inputs = (jnp.asarray(array) for array in (CODES, masked, LABELS))
    network = MaskGIT(**SIZES, depth=2)
    logits = jitted_apply(network, {"params": params}, *inputs)
    assert relative_error(logits, expected[:, 1:, :20]) < PARITY
