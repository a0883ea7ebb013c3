"""GPT-2 of transformers beside ours: `jaxlab.interop.text.gpt2`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.text.gpt2 import load_hf_gpt2, to_hf_gpt2
from jaxlab.models.decode.decoding import greedy
from jaxlab.models.transformer.decoder import TransformerLM
from tests.closeness import relative_error
from tests.jitted import jitted_apply

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.peer

# Relative to the largest value: both sides sum in float32, in another order (1e-6 is
# seen). The exact GELU in place of the tanh one exceeds it by a factor of 20.
PARITY = 1e-5

CONFIG = {
    "vocab_size": 29,
    "n_positions": 24,
    "n_embd": 16,
    "n_layer": 3,
    "n_head": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
TOKENS = np.array([[5, 6, 7, 8, 9, 10], [11, 0, 13, 2, 28, 1]])
PROMPTS = [[5, 6, 7, 8], [11], [28, 27, 26], [3, 4]]
NEW = 10


def hugging_face(is_bare=False, seed=0, **changes):
    """Make a small GPT-2 with every parameter random."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(**{**CONFIG, **changes})
    kind = transformers.GPT2Model if is_bare else transformers.GPT2LMHeadModel
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def load(model, **options):
    return load_hf_gpt2(model.state_dict(), model.config.to_dict(), **options)


def logits(network, params):
    return jitted_apply(network, {"params": params}, jnp.asarray(TOKENS, "int32"))


def features(network, params):
    def run(network, tokens):
        return network.features(network.token_embed(tokens))

    tokens = jnp.asarray(TOKENS, "int32")
    return jitted_apply(network, {"params": params}, tokens, method=run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"n_inner": 40, "activation_function": "gelu"}, {"scan": True}),
        # Untied, with exact GELUs: the prior of VQGAN (its epsilon is 1e-5).
        (
            {
                "tie_word_embeddings": False,
                "layer_norm_epsilon": 1e-2,
                "activation_function": "gelu",
            },
            {},
        ),
    ],
)
def test_logits_are_those_of_transformers(changes, options):
    model = hugging_face(**changes)
    expected = model(torch.from_numpy(TOKENS)).logits.detach()
    network, params = load(model, **options)
    assert ("head" in params) != network.tie_softmax
    assert relative_error(logits(network, params), expected) < PARITY


@pytest.mark.slow
def test_features_are_the_hidden_states_of_the_bare_model():
    model = hugging_face(is_bare=True)
    expected = model(torch.from_numpy(TOKENS)).last_hidden_state.detach()
    assert relative_error(features(*load(model)), expected) < PARITY


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_greedy_decoding_of_ragged_prompts_gives_the_tokens_of_generate(scan):
    model = hugging_face(seed=7, tie_word_embeddings=False)
    network, params = load(model, scan=scan)
    size = max(map(len, PROMPTS))
    # Theirs are padded before, ours behind.
    before = [[0] * (size - len(p)) + p for p in PROMPTS]
    behind = [p + [0] * (size - len(p)) for p in PROMPTS]
    mask = [[0] * (size - len(p)) + [1] * len(p) for p in PROMPTS]
    expected = model.generate(
        torch.tensor(before),
        attention_mask=torch.tensor(mask),
        do_sample=False,
        num_beams=1,
        max_new_tokens=NEW,
    )[:, size:].numpy()

    @jax.jit
    def generate(params, prompts, lengths):
        variables = {"params": params}
        begin, state = network.apply(
            variables, prompts, lengths, size + NEW, method="prefill"
        )

        def step(token, state, context):
            return network.apply(variables, token, state, context, method="step")

        return greedy(step, begin, state, max_new=NEW, eos=2)

    lengths = jnp.array([len(p) for p in PROMPTS], jnp.int32)
    decoded = generate(params, jnp.array(behind, jnp.int32), lengths)
    tokens = np.asarray(decoded.tokens)
    np.testing.assert_array_equal(tokens[:, : expected.shape[1]], expected)
    assert len(np.unique(tokens)) > 4  # what came before counts
    assert (tokens == 2).any(axis=1).tolist() == [False, True, True, True]


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("is_tied", [True, False])
def test_weights_come_back_to_the_last_bit(scan, is_tied):
    model = hugging_face(tie_word_embeddings=is_tied)
    back = to_hf_gpt2(*load(model, scan=scan))
    assert back.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        np.testing.assert_array_equal(back[name], weight.numpy(), err_msg=name)
    empty = transformers.GPT2LMHeadModel(model.config)
    empty.load_state_dict({k: torch.tensor(w) for k, w in back.items()})
    expected = model(torch.from_numpy(TOKENS)).logits
    outputs = empty.eval()(torch.from_numpy(TOKENS)).logits
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)


def test_a_saved_folder_loads_and_so_does_an_old_file(tmp_path):
    pytest.importorskip("safetensors")
    model = hugging_face()
    params = load(model)[1]
    model.save_pretrained(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, load_hf_gpt2(tmp_path)[1], params)
    old = {k.removeprefix("transformer."): w for k, w in model.state_dict().items()}
    del old["lm_head.weight"]
    for i in range(3):
        old[f"h.{i}.attn.bias"] = torch.ones(1, 1, 24, 24).tril()
        old[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    jax.tree.map(np.testing.assert_array_equal, load_hf_gpt2(old, CONFIG)[1], params)


def test_fields_follow_the_configuration_and_the_call():
    network, _ = load(hugging_face(resid_pdrop=0.2), dtype=jnp.bfloat16)
    assert network == TransformerLM(
        vocab_size=29,
        depth=3,
        width=16,
        num_heads=2,
        act="gelu_tanh",
        norm_eps=1e-5,
        max_len=24,
        dropout_rate=0.2,
        dtype=jnp.bfloat16,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt_neo"}, "model_type 'gpt_neo'"),
        ({"activation_function": "tanh"}, "activation_function 'tanh'"),
        ({"scale_attn_weights": False}, "scale_attn_weights False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"add_cross_attention": True}, "add_cross_attention True"),
    ],
)
def test_what_the_language_model_does_not_have_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        load_hf_gpt2({}, {**CONFIG, **change})


def test_wrong_weights_are_named():
    weights = hugging_face().state_dict()
    other = {"lm_head.weight": weights["lm_head.weight"] + 1}
    with pytest.raises(InputError, match=r"transformer\.wte\.weight and lm_head"):
        load_hf_gpt2({**weights, **other}, CONFIG)
    weights["transformer.extra"] = weights.pop("transformer.h.1.attn.c_attn.bias")
    with pytest.raises(InputError) as raised:
        load_hf_gpt2(weights, CONFIG)
    assert "missing: transformer.h.1.attn.c_attn.bias;" in str(raised.value)
    assert "not known: transformer.extra" in str(raised.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "rms"},
        {"positions": "rotary"},
        {"use_bias": False},
        {"num_kv_heads": 1},
        {"act": "swiglu"},
    ],
)
def test_a_network_that_gpt2_cannot_be_is_not_exported(fields):
    with pytest.raises(InputError, match=next(iter(fields))):
        to_hf_gpt2(TransformerLM(width=16, num_heads=2, **fields), {})
