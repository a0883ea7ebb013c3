"""Llama of transformers beside ours: `jaxlab.interop.text.llama`.

The oracle of rotary positions, root mean square norms, gated MLPs and grouped heads.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.text.llama import load_hf_llama, to_hf_llama
from jaxlab.models.decode.decoding import greedy
from jaxlab.models.transformer.decoder import TransformerLM
from tests.closeness import relative_error
from tests.jitted import jitted_apply

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.peer

# Relative to the largest value: both sides sum in float32, in another order (1e-6 is
# seen). Rotations of neighbours in place of halves exceed it a thousandfold.
PARITY = 1e-5

CONFIG = {
    "vocab_size": 29,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
TOKENS = np.array([[5, 6, 7, 8, 9, 10, 11, 12], [11, 0, 13, 2, 28, 1, 3, 4]])
PROMPTS = [[5, 6, 7, 8], [11], [28, 27, 26], [3, 4]]
NEW = 10


def hugging_face(**changes):
    """Make a small Llama with every parameter random."""
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{**CONFIG, **changes})
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def load(model, **options):
    return load_hf_llama(model.state_dict(), model.config.to_dict(), **options)


def rope(theta):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"tie_word_embeddings": True, "num_key_value_heads": None}, {"scan": True}),
        ({"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1}, {}),
        ({"hidden_act": "gelu", "rms_norm_eps": 1e-2, **rope(50.0)}, {}),
    ],
)
def test_logits_are_those_of_transformers(changes, options):
    model = hugging_face(**changes)
    expected = model(torch.from_numpy(TOKENS)).logits.detach()
    network, params = load(model, **options)
    outputs = jitted_apply(network, {"params": params}, jnp.asarray(TOKENS, "int32"))
    assert relative_error(outputs, expected) < PARITY


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_greedy_decoding_of_ragged_prompts_gives_the_tokens_of_generate(scan):
    model = hugging_face()
    network, params = load(model, scan=scan)
    size = max(map(len, PROMPTS))

    @jax.jit
    def generate(params, prompts, lengths):
        variables = {"params": params}
        begin, state = network.apply(
            variables, prompts, lengths, size + NEW, method="prefill"
        )

        def step(token, state, context):
            return network.apply(variables, token, state, context, method="step")

        return greedy(step, begin, state, max_new=NEW)

    behind = jnp.array([p + [0] * (size - len(p)) for p in PROMPTS], jnp.int32)
    decoded = generate(params, behind, jnp.array([len(p) for p in PROMPTS], jnp.int32))
    for prompt, tokens in zip(PROMPTS, np.asarray(decoded.tokens), strict=True):
        expected = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            do_sample=False,
            max_new_tokens=NEW,
            eos_token_id=None,
            pad_token_id=0,
        )[0, len(prompt) :]
        np.testing.assert_array_equal(tokens, expected.numpy())


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
def test_weights_come_back_to_the_last_bit(is_tied, has_bias):
    biases = {"attention_bias": has_bias, "mlp_bias": has_bias}
    model = hugging_face(tie_word_embeddings=is_tied, **biases)
    back = to_hf_llama(*load(model, scan=is_tied))
    assert back.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        np.testing.assert_array_equal(back[name], weight.numpy(), err_msg=name)
    empty = transformers.LlamaForCausalLM(model.config)
    empty.load_state_dict({k: torch.tensor(w) for k, w in back.items()})
    expected = model(torch.from_numpy(TOKENS)).logits
    outputs = empty.eval()(torch.from_numpy(TOKENS)).logits
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_saved_folder_loads_and_so_does_an_old_file(is_tied, tmp_path):
    pytest.importorskip("safetensors")
    model = hugging_face(tie_word_embeddings=is_tied, **rope(500.0))
    network, params = load(model)
    assert network.rotary_base == 500
    model.save_pretrained(tmp_path)
    again, loaded = load_hf_llama(tmp_path)
    assert again == network
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    old = model.state_dict()
    for i in range(3):
        old[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    of_version_4 = {**CONFIG, "rope_theta": 500.0, "tie_word_embeddings": is_tied}
    again, loaded = load_hf_llama(old, of_version_4)
    assert again == network
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_fields_follow_the_configuration_and_the_call():
    network, _ = load(hugging_face(), dtype=jnp.bfloat16)
    assert network == TransformerLM(
        vocab_size=29,
        depth=3,
        width=24,
        num_heads=6,
        num_kv_heads=2,
        hidden_dim=40,
        act="swiglu",
        norm="rms",
        norm_eps=1e-6,
        positions="rotary",
        max_len=64,
        use_bias=False,
        tie_softmax=False,
        dropout_rate=0.0,
        dtype=jnp.bfloat16,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mistral"}, "model_type 'mistral'"),
        ({"hidden_act": "tanh"}, "hidden_act 'tanh'"),
        ({"head_dim": 8}, r"head_dim 8 .* None, 4"),
        ({"attention_bias": True}, "mlp_bias False .* has True"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "rope_type 'llama3'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type 'linear'"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor",
        ),
    ],
)
def test_what_the_language_model_does_not_have_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        load_hf_llama({}, {**CONFIG, **change})


def test_wrong_weights_are_named():
    model = hugging_face()
    weights, config = model.state_dict(), model.config.to_dict()
    with pytest.raises(InputError, match="correct tie_word_embeddings"):
        load_hf_llama(weights, {**config, "tie_word_embeddings": True})
    with pytest.raises(InputError, match=r"k_proj\.weight \(8, 24\) not \(24, 24\)"):
        load_hf_llama(weights, {**config, "num_key_value_heads": 6})
    del weights["model.layers.1.mlp.gate_proj.weight"]
    with pytest.raises(
        InputError, match=r"missing: model\.layers\.1\.mlp\.gate_proj\.weight"
    ):
        load_hf_llama(weights, config)


@pytest.mark.parametrize(
    "fields", [{"norm": "layer"}, {"positions": "learned"}, {"act": "gelu"}]
)
def test_a_network_that_llama_cannot_be_is_not_exported(fields):
    fitting = {"norm": "rms", "positions": "rotary", "act": "swiglu"}
    with pytest.raises(InputError, match=next(iter(fields))):
        to_hf_llama(TransformerLM(**{**fitting, **fields}), {})
