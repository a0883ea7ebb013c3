"""Marian of transformers beside ours: `jaxlab.interop.text.marian`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.text.marian import load_hf_marian, to_hf_marian
from jaxlab.models.decode.decoding import greedy
from jaxlab.models.transformer.encoder_decoder import Transformer
from tests.closeness import relative_error
from tests.jitted import jitted_apply

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.peer

# Relative to the largest value: both sides sum in float32, in another order (1e-6 is
# seen). A wrong activation, scale or norm exceeds it a thousandfold.
PARITY = 1e-5

CONFIG = {
    "vocab_size": 29,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
    "eos_token_id": 2,
    "forced_eos_token_id": None,
}
APART = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 31}
SOURCE = np.array([[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2, 0, 0, 0], [28, 2, *[0] * 5]])
TARGETS = np.array([[0, 3, 4, 5, 6], [0, 7, 8, 0, 0], [0, 27, 26, 25, 24]])


def hugging_face(seed=0, **changes):
    """Make a small Marian with every parameter random, the bias of logits too."""
    torch.manual_seed(seed)
    model = transformers.MarianMTModel(
        transformers.MarianConfig(**{**CONFIG, **changes})
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
        model.final_logits_bias.normal_()
    return model.eval()


def forward(model):
    """Give the logits of transformers for `SOURCE` and `TARGETS`."""
    source = torch.from_numpy(SOURCE)
    return model(
        input_ids=source,
        attention_mask=(source != 0).long(),
        decoder_input_ids=torch.from_numpy(TARGETS),
    ).logits.detach()


def load(model, **options):
    return load_hf_marian(model.state_dict(), model.config.to_dict(), **options)


def logits(network, params):
    inputs = jnp.asarray(SOURCE, "int32"), jnp.asarray(TARGETS, "int32")
    return network.apply({"params": params}, *inputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"activation_function": "swish", "scale_embedding": True},
        {"activation_function": "gelu"},
        APART,
    ],
)
def test_logits_are_those_of_transformers(changes):
    model = hugging_face(**changes)
    network, params = load(model)
    assert relative_error(logits(network, params), forward(model)) < PARITY


@pytest.mark.slow
def test_a_scanned_network_gives_the_same_and_its_weights_come_back():
    model = hugging_face()
    network, params = load(model, scan=True)
    assert relative_error(logits(network, params), forward(model)) < PARITY
    back = to_hf_marian(network, params)
    np.testing.assert_array_equal(
        back["model.decoder.layers.2.encoder_attn.v_proj.weight"],
        model.model.decoder.layers[2].encoder_attn.v_proj.weight.detach().numpy(),
    )


@pytest.mark.slow
def test_greedy_decoding_gives_the_tokens_of_generate():
    model = hugging_face(seed=18, scale_embedding=True)
    with torch.no_grad():  # else one token has the largest logit always
        model.model.shared.weight /= model.model.shared.weight.norm(dim=1, keepdim=True)
        for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("bias"):
                parameter *= 0.1
    source = torch.from_numpy(SOURCE)
    expected = model.generate(
        input_ids=source,
        attention_mask=(source != 0).long(),
        num_beams=1,
        do_sample=False,
        max_new_tokens=12,
        bad_words_ids=[[0]],
        eos_token_id=19,
    ).numpy()[:, 1:]
    network, params = load(model)

    @jax.jit
    def translate(params, source):
        bound = network.bind({"params": params})
        context, state = bound.prepare(source, 12)
        begin = jnp.zeros(len(source), jnp.int32)

        def step(token, state, context):
            return network.apply(
                {"params": params}, token, state, context, method="step"
            )

        return greedy(step, begin, state, context, max_new=12, eos=19, forbidden=(0,))

    decoded = translate(params, jnp.asarray(SOURCE, "int32"))
    tokens = np.asarray(decoded.tokens)[:, : expected.shape[1]]
    np.testing.assert_array_equal(tokens, expected)
    assert len(np.unique(tokens)) > 6  # what came before counts, and the source
    assert decoded.lengths.tolist() == [6, 12, 12]


@pytest.mark.parametrize("changes", [{}, APART])
def test_weights_come_back_to_the_last_bit(changes):
    model = hugging_face(**changes)
    network, params = load(model)
    back = to_hf_marian(network, params)
    assert back.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        np.testing.assert_array_equal(back[name], weight.numpy(), err_msg=name)
    empty = transformers.MarianMTModel(model.config)
    empty.load_state_dict({k: torch.tensor(w) for k, w in back.items()})
    torch.testing.assert_close(forward(empty.eval()), forward(model), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_tables_of_positions_may_be_rounded(dtype):
    model = hugging_face()
    rounded, state = getattr(torch, dtype), model.state_dict()
    half = {key: weight.to(rounded).float() for key, weight in state.items()}
    _, params = load_hf_marian(half, model.config.to_dict())
    table = half["model.shared.weight"].numpy()
    np.testing.assert_array_equal(params["source_embed"]["embedding"], table)
    # Other positions are refused in any precision.
    key = "model.encoder.embed_positions.weight"
    for wrong in (half[key].roll(1, 0), half[key][:, :8], half[key][:, 0]):
        with pytest.raises(InputError, match="does not hold the sines and cosines"):
            load_hf_marian(half | {key: wrong}, model.config.to_dict())
    if dtype == "bfloat16":  # which torch does not turn to NumPy
        raw = {k: w.bfloat16() for k, w in half.items()}
        with pytest.raises(InputError, match=r"pass weight\.detach\(\)\.float"):
            load_hf_marian(raw, model.config.to_dict())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_folder_of_half_precision_loads(dtype, tmp_path):
    model = hugging_face().to(getattr(torch, dtype))
    weights = model.state_dict()
    model.save_pretrained(tmp_path)
    pickled = tmp_path / "pickled.bin"  # with the tables of positions
    torch.save(weights, pickled)
    expected = load_hf_marian({k: w.float() for k, w in weights.items()}, CONFIG)[1]
    for source in (tmp_path, pickled):
        found = load_hf_marian(source)[1]
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_without_padding_nothing_is_hidden():
    model = hugging_face()
    network, params = load_hf_marian(
        model.state_dict(), {**model.config.to_dict(), "pad_token_id": None}
    )
    assert network.pad is None
    source = torch.from_numpy(SOURCE)
    expected = model(
        input_ids=source,
        attention_mask=torch.ones_like(source),
        decoder_input_ids=torch.from_numpy(TARGETS),
    ).logits.detach()
    inputs = jnp.asarray(SOURCE, "int32"), jnp.asarray(TARGETS, "int32")
    found = jitted_apply(network, {"params": params}, *inputs)
    assert relative_error(found, expected) < PARITY


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, APART])
def test_a_saved_folder_loads(changes, tmp_path):
    pytest.importorskip("safetensors")
    model = hugging_face(**changes)
    model.save_pretrained(tmp_path)
    jax.tree.map(
        np.testing.assert_array_equal, load_hf_marian(tmp_path)[1], load(model)[1]
    )


def test_fields_follow_the_configuration_and_the_call():
    model = hugging_face(activation_function="swish", dropout=0.2)
    network, _ = load(model, dtype=jnp.bfloat16)
    assert network == Transformer(
        vocab_size=29,
        encoder_depth=2,
        decoder_depth=3,
        width=16,
        num_heads=2,
        hidden_dim=24,
        act="silu",
        norm_eps=1e-5,
        positions="halves",
        max_len=32,
        has_logits_bias=True,
        scale_embedding=False,
        dropout_rate=0.2,
        dtype=jnp.bfloat16,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bart"}, "model_type 'bart'"),
        ({"activation_function": "tanh"}, "activation_function 'tanh'"),
        ({"decoder_ffn_dim": 32}, r"decoder_ffn_dim 32 .* has 24"),
        ({"decoder_attention_heads": 4}, r"decoder_attention_heads 4 .* has 2"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings False"),
        ({"decoder_vocab_size": 31}, "decoder_vocab_size 31"),
        ({"d_model": 15, "encoder_attention_heads": 3}, "has 3"),
        ({"d_model": 15}, "d_model 15 .* is odd"),
        ({"d_model": "16"}, "d_model '16' of the configuration must be a whole number"),
        ({"pad_token_id": -1}, "pad_token_id '-1' .* must be a token, or null"),
        ({"dropout": None}, "dropout 'None' .* a number of at least 0"),
    ],
)
def test_what_the_transformer_does_not_have_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        load_hf_marian({}, {**CONFIG, **change})


def test_wrong_weights_are_named():
    model = hugging_face()
    weights, config = model.state_dict(), model.config.to_dict()
    positions = "model.encoder.embed_positions.weight"
    with pytest.raises(InputError, match=rf"{positions} does not hold"):
        load_hf_marian({**weights, positions: weights[positions].flip(1)}, config)
    other = {"lm_head.weight": weights["lm_head.weight"] + 1}
    with pytest.raises(InputError, match=r"model\.shared\.weight and lm_head\.weight"):
        load_hf_marian({**weights, **other}, config)
    del weights["model.decoder.layers.1.fc1.bias"]
    with pytest.raises(
        InputError, match=r"missing: model\.decoder\.layers\.1\.fc1\.bias"
    ):
        load_hf_marian(weights, config)


@pytest.mark.parametrize(
    "fields",
    [
        {"norm_first": True},
        {"final_norm": True},
        {"norm_eps": 1e-6},
        {"positions": "interleaved"},
        {"tie_softmax": False},
        {"num_kv_heads": 1},
        {"act": "swiglu"},
        {"norm": "rms"},
        {"use_bias": False},
    ],
)
def test_a_network_that_marian_cannot_be_is_not_exported(fields):
    fitting = {"norm_eps": 1e-5, "positions": "halves", "width": 8, "num_heads": 2}
    with pytest.raises(InputError, match=next(iter(fields))):
        to_hf_marian(Transformer(**{**fitting, **fields}), {})


def test_a_network_without_a_bias_of_logits_has_one_of_zeros_there(key):
    network = Transformer(
        vocab_size=29,
        encoder_depth=2,
        decoder_depth=3,
        width=16,
        num_heads=2,
        hidden_dim=24,
        norm_eps=1e-5,
        positions="halves",
        max_len=32,
    )
    tokens = jnp.ones((1, 2), jnp.int32)
    shapes = jax.eval_shape(network.init, key, tokens, tokens)["params"]
    params = jax.tree.map(lambda s: np.ones(s.shape, s.dtype), shapes)
    weights = to_hf_marian(network, params)
    assert weights.keys() == hugging_face().state_dict().keys()
    assert not weights["final_logits_bias"].any()
