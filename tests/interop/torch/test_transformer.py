"""torch's `nn.Transformer` beside ours: `jaxlab.interop.torch.transformer`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.torch.transformer import (
    EncoderDecoder,
    NormedStack,
    load_torch_transformer,
    to_torch_transformer,
)
from jaxlab.models.transformer.encoder_decoder import Transformer
from jaxlab.nn.stack import Stack
from tests.closeness import relative_error
from tests.jitted import jitted_apply

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peer

# Relative to the largest value: both sides sum in float32, in another order (5e-7 is
# seen). A mask or a norm that is left out exceeds it a thousandfold.
PARITY = 1e-5

WIDTH, HEADS = 16, 2
TOLD = {"act": "relu", "norm_first": False}  # torch's defaults
LAYER = {"dim_feedforward": 24, "dropout": 0.0, "batch_first": True}
# True: padding, as torch has it.
SOURCE_PAD = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]], bool)
TARGET_PAD = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]], bool)
LATER = np.triu(np.ones((4, 4), bool), 1)


def randomised(make):
    """Make a module of torch with every parameter random."""
    torch.manual_seed(0)
    module = make()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    # Gradients stay on, which keeps torch from its fast path: that one is nested
    # tensors, with other values where there is padding.
    return module.eval()


def transformer(**options):
    return randomised(
        lambda: torch.nn.Transformer(WIDTH, HEADS, 2, 3, **{**LAYER, **options})
    )


def encoder(norm=True, **options):
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, **{**LAYER, **options})
    last = torch.nn.LayerNorm(WIDTH) if norm else None
    return randomised(
        lambda: torch.nn.TransformerEncoder(layer, 2, last, enable_nested_tensor=False)
    )


def decoder(norm=True, **options):
    layer = torch.nn.TransformerDecoderLayer(WIDTH, HEADS, **{**LAYER, **options})
    last = torch.nn.LayerNorm(WIDTH) if norm else None
    return randomised(lambda: torch.nn.TransformerDecoder(layer, 2, last))


@pytest.fixture
def vectors(rng):
    """Give vectors of a source and a target."""
    return [rng.normal(size=(3, t, WIDTH)).astype(np.float32) for t in (5, 4)]


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


def shown(padding):
    """Tell our way which keys may be seen."""
    return jnp.asarray(~padding)[:, None, None]


@pytest.mark.slow
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(
    ("options", "ours"),
    [
        ({}, {}),
        ({"activation": "gelu"}, {"act": "gelu", "scan": True}),
        ({"layer_norm_eps": 1e-2}, {"norm_eps": 1e-2}),
    ],
)
def test_a_whole_transformer_with_masks_is_that_of_torch(
    norm_first, options, ours, vectors
):
    theirs = transformer(norm_first=norm_first, **options)
    expected = theirs(
        *tensors(*vectors),
        tgt_mask=torch.from_numpy(LATER),
        src_key_padding_mask=torch.from_numpy(SOURCE_PAD),
        tgt_key_padding_mask=torch.from_numpy(TARGET_PAD),
        memory_key_padding_mask=torch.from_numpy(SOURCE_PAD),
    )
    network, params = load_torch_transformer(
        theirs.state_dict(), HEADS, **{**TOLD, "norm_first": norm_first, **ours}
    )
    source_visible = shown(SOURCE_PAD)
    masks = (source_visible, shown(TARGET_PAD), source_visible)
    outputs = network.apply({"params": params}, *map(jnp.asarray, vectors), *masks)
    assert relative_error(outputs, expected) < PARITY


@pytest.mark.slow
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_an_encoder_alone_is_that_of_torch(norm_first, norm, vectors):
    theirs = encoder(norm, norm_first=norm_first)
    hidden = np.triu(np.ones((5, 5), bool), 2)
    expected = theirs(*tensors(vectors[0], hidden, SOURCE_PAD))
    network, params = load_torch_transformer(
        theirs.state_dict(), HEADS, act="relu", norm_first=norm_first
    )
    visible = shown(SOURCE_PAD) & jnp.asarray(~hidden)[None, None]
    outputs = jitted_apply(
        network, {"params": params}, jnp.asarray(vectors[0]), visible
    )
    assert relative_error(outputs, expected) < PARITY


@pytest.mark.slow
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_decoder_alone_is_that_of_torch(norm, is_causal, vectors):
    theirs = decoder(norm)
    mask = torch.from_numpy(LATER) if is_causal else None
    source, target = tensors(*vectors)
    expected = theirs(target, source, tgt_mask=mask)
    network, params = load_torch_transformer(
        theirs.state_dict(), HEADS, is_causal=is_causal, **TOLD
    )
    source, target = map(jnp.asarray, vectors)
    outputs = network.apply({"params": params}, target, None, source)
    assert relative_error(outputs, expected) < PARITY


@pytest.mark.parametrize("make", [transformer, encoder, decoder])
@pytest.mark.parametrize("scan", [False, True])
def test_weights_come_back_to_the_last_bit(make, scan):
    theirs = make()
    network, params = load_torch_transformer(
        theirs.state_dict(), HEADS, scan=scan, **TOLD
    )
    back = to_torch_transformer(network, params)
    assert back.keys() == theirs.state_dict().keys()
    for name, weight in theirs.state_dict().items():
        np.testing.assert_array_equal(back[name], weight.numpy(), err_msg=name)
    make().load_state_dict({k: torch.tensor(w) for k, w in back.items()})


def test_the_parameters_fit_a_transformer_of_tokens(key):
    weights = transformer(norm_first=True).state_dict()
    _, params = load_torch_transformer(weights, HEADS, act="relu", norm_first=True)
    network = Transformer(
        vocab_size=7,
        encoder_depth=2,
        decoder_depth=3,
        width=WIDTH,
        num_heads=HEADS,
        hidden_dim=24,
        norm_first=True,
    )
    tokens = jnp.ones((1, 2), jnp.int32)
    shapes = jax.eval_shape(network.init, key, tokens, tokens)["params"]
    same = {name: shapes[name] for name in params}
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, same)
    assert set(shapes) - set(params) == {"source_embed"}


def test_fields_reach_the_blocks():
    weights = transformer().state_dict()
    network, _ = load_torch_transformer(
        weights, HEADS, dtype=jnp.bfloat16, dropout_rate=0.1, **TOLD
    )
    assert isinstance(network, EncoderDecoder)
    assert (network.encoder.depth, network.decoder.depth) == (2, 3)
    for stack in (network.encoder, network.decoder):
        assert stack.fields["dtype"] == jnp.bfloat16
        assert stack.fields["dropout_rate"] == 0.1
    assert network.encoder_norm.dtype == jnp.bfloat16
    assert network.encoder.fields["is_causal"] is False
    assert network.decoder.fields["is_causal"] is True


def test_wrong_weights_are_named():
    weights = transformer().state_dict()
    weights["decoder.extra"] = weights.pop("decoder.layers.2.norm3.bias")
    with pytest.raises(InputError) as raised:
        load_torch_transformer(weights, HEADS, **TOLD)
    assert "missing: decoder.layers.2.norm3.bias;" in str(raised.value)
    assert "not known: decoder.extra" in str(raised.value)
    with pytest.raises(InputError, match="bias=False is not offered"):
        load_torch_transformer(transformer(bias=False).state_dict(), HEADS, **TOLD)
    with pytest.raises(InputError, match=r"no layers\.0\.linear1\.weight"):
        load_torch_transformer({"weight": np.zeros(3)}, HEADS, **TOLD)


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "rms"},
        {"use_bias": False},
        {"num_kv_heads": 1},
        {"rotary": 1e4},
        {"act": "swiglu"},
    ],
)
def test_a_stack_that_torch_cannot_have_is_not_exported(fields):
    stack = Stack(1, {"width": 8, "num_heads": 2, "hidden_dim": 8, **fields})
    with pytest.raises(InputError, match=next(iter(fields))):
        to_torch_transformer(NormedStack(stack), {})


@pytest.mark.parametrize("left_out", TOLD)
def test_what_no_weight_tells_must_be_said(left_out):
    told = {name: value for name, value in TOLD.items() if name != left_out}
    with pytest.raises(TypeError, match=left_out):
        load_torch_transformer(encoder().state_dict(), HEADS, **told)
