"""Tests of `jaxlab.nn.blocks`."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths
from jaxlab.nn.attention import KeyValues
from jaxlab.nn.blocks import TENSOR_RULES, Block, Mlp, drop_path
from tests.closeness import relative_error
from tests.jitted import jitted_apply, jitted_init

# Relative to the largest value: float32 sums of a few dozen products, in another order.
ORDER_OF_SUMS = 1e-5
# Relative to the largest value: bfloat16 keeps 8 bits, and a block rounds often.
BFLOAT16 = 3e-2


def randomize(params, rng):
    """Make every parameter random: zeros and ones would hide faults."""
    return jax.tree.map(
        lambda p: p + 0.3 * rng.normal(size=p.shape).astype(p.dtype), params
    )


@pytest.fixture
def x(rng):
    """Give two sequences of five tokens."""
    return jnp.asarray(rng.normal(size=(2, 5, 12)), jnp.float32)


@pytest.fixture
def memory(rng):
    """Give two sequences of seven tokens to be read."""
    return jnp.asarray(rng.normal(size=(2, 7, 12)), jnp.float32)


def random_block(key, rng, x, memory=None, **fields):
    block = Block(width=12, num_heads=3, hidden_dim=20, **fields)
    init = jax.eval_shape(lambda: block.init(key, x, memory=memory, train=False))
    params = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), init["params"])
    for path in flat_paths(params):
        if path.endswith("norm/scale"):
            params[path.split("/")[0]]["scale"] += 1
    return block, {"params": randomize(params, rng)}


def attention_of_torch(name, attention):
    """Give an attention's parameters by the names of `torch.nn.MultiheadAttention`."""
    parts = [attention[part] for part in ("query", "key", "value")]
    kernels = [part["kernel"].reshape(12, 12).T for part in parts]
    return {
        f"{name}.in_proj_weight": np.concatenate(kernels),
        f"{name}.in_proj_bias": np.concatenate([p["bias"].reshape(-1) for p in parts]),
        f"{name}.out_proj.weight": attention["out"]["kernel"].reshape(12, 12).T,
        f"{name}.out_proj.bias": attention["out"]["bias"],
    }


def load_into_torch(layer, params):
    """Give a layer of torch the parameters of a block."""
    p = jax.tree.map(np.array, params)
    norms = ["attention_norm", "mlp_norm"]
    weights = attention_of_torch("self_attn", p["attention"])
    if "memory_attention" in p:
        weights |= attention_of_torch("multihead_attn", p["memory_attention"])
        norms.insert(1, "memory_norm")
    for index, norm in enumerate(norms, start=1):
        weights[f"norm{index}.weight"] = p[norm]["scale"]
        weights[f"norm{index}.bias"] = p[norm]["bias"]
    for index, dense in enumerate(["up", "down"], start=1):
        weights[f"linear{index}.weight"] = p["mlp"][dense]["kernel"].T
        weights[f"linear{index}.bias"] = p["mlp"][dense]["bias"]
    torch = pytest.importorskip("torch")
    layer.load_state_dict({k: torch.from_numpy(w.copy()) for k, w in weights.items()})


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize(
    ("norm_first", "act", "masked"),
    [
        (True, "gelu", False),
        (True, "gelu", True),
        (True, "relu", True),
        (False, "relu", False),
        (False, "gelu", True),
    ],
)
def test_a_block_is_the_encoder_layer_of_torch(key, rng, x, norm_first, act, masked):
    torch = pytest.importorskip("torch")
    fields = {"act": act, "norm_eps": 1e-3, "norm_first": norm_first}
    block, variables = random_block(key, rng, x, **fields)
    theirs = torch.nn.TransformerEncoderLayer(
        *(12, 3, 20, 0.0, act),
        layer_norm_eps=1e-3,
        batch_first=True,
        norm_first=norm_first,
    )
    load_into_torch(theirs, variables["params"])
    causal = np.tril(np.ones((5, 5), bool))
    hidden = torch.from_numpy(~causal) if masked else None
    expected = theirs(torch.from_numpy(np.array(x)), src_mask=hidden).detach()
    visible = jnp.asarray(causal)[None, None] if masked else None
    got = block.apply(variables, x, visible=visible, train=False)
    assert relative_error(got, expected) < ORDER_OF_SUMS


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize("norm_first", [False, True])
def test_a_block_with_a_memory_is_the_decoder_layer_of_torch(
    key, rng, x, memory, norm_first
):
    torch = pytest.importorskip("torch")
    fields = {"act": "relu", "norm_eps": 1e-3, "norm_first": norm_first}
    block, variables = random_block(
        key, rng, x, memory, is_causal=True, has_memory=True, **fields
    )
    theirs = torch.nn.TransformerDecoderLayer(
        *(12, 3, 20, 0.0, "relu"),
        layer_norm_eps=1e-3,
        batch_first=True,
        norm_first=norm_first,
    )
    load_into_torch(theirs, variables["params"])
    is_token = np.array([[True] * 7, [True] * 4 + [False] * 3])
    expected = theirs(
        *(torch.from_numpy(np.array(array)) for array in (x, memory)),
        tgt_mask=torch.from_numpy(~np.tril(np.ones((5, 5), bool))),
        memory_key_padding_mask=torch.from_numpy(~is_token),
    ).detach()
    masks = {"memory_visible": jnp.asarray(is_token)[:, None, None]}
    got = block.apply(variables, x, memory=memory, **masks, train=False)
    assert relative_error(got, expected) < ORDER_OF_SUMS


@pytest.mark.slow
@pytest.mark.parametrize("norm_first", [False, True])
def test_a_block_goes_on_where_it_stopped(key, rng, x, memory, norm_first):
    block, variables = random_block(
        key, rng, x, memory, is_causal=True, has_memory=True, norm_first=norm_first
    )
    is_token = jnp.array([[True] * 7, [True] * 4 + [False] * 3])[:, None, None]
    expected = block.apply(
        variables, x, memory=memory, memory_visible=is_token, train=False
    )
    read = jitted_apply(block, variables, memory, method=block.read)
    empty = jnp.zeros((2, 3, 5, 4))
    cache, outputs = KeyValues(empty, empty), []
    for start in range(5):
        starts = jnp.full(2, start, jnp.int32)
        given = (x[:, start : start + 1], cache, starts, read, is_token)
        out, cache = block.apply(variables, *given, method=block.extend)
        outputs.append(out)
    assert relative_error(jnp.concatenate(outputs, 1), expected) < ORDER_OF_SUMS


def test_a_memory_must_be_there_if_and_only_if_it_was_asked_for(x, key, memory):
    block = Block(width=12, num_heads=3, hidden_dim=20)
    message = "a memory if and only if it was made with has_memory"
    with pytest.raises(InputError, match=message):
        jitted_init(block, key, x, memory=memory, train=False)
    with pytest.raises(InputError, match=message):
        jitted_init(block.clone(has_memory=True), key, x, train=False)


def test_a_block_with_silent_branches_is_the_identity(key, x):
    block = Block(width=12, num_heads=3, hidden_dim=20)
    params = jitted_init(block, key, x, train=False)["params"]
    silent = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_array_equal(
        jitted_apply(block, {"params": silent}, x, train=False), x
    )


def test_tokens_may_come_in_any_order(key, rng, x):
    block, variables = random_block(key, rng, x)
    order = jnp.array([3, 0, 4, 1, 2])
    got = jitted_apply(block, variables, x[:, order], train=False)
    expected = jitted_apply(block, variables, x, train=False)[:, order]
    assert relative_error(got, expected) < ORDER_OF_SUMS


def test_a_hidden_token_changes_no_other(key, rng, x):
    block, variables = random_block(key, rng, x)
    visible = jnp.tril(jnp.ones((1, 1, 5, 5), bool))
    before = block.apply(variables, x, visible=visible, train=False)
    changed = x.at[:, -1].add(1.0)
    after = block.apply(variables, changed, visible=visible, train=False)
    assert relative_error(after[:, :-1], before[:, :-1]) < ORDER_OF_SUMS


@pytest.mark.slow
def test_layer_norm_survives_a_large_mean(key, rng):
    block, variables = random_block(key, rng, jnp.zeros((1, 2, 12)))
    x = jnp.asarray(rng.normal(size=(1, 2, 12)), jnp.float32)
    branches = jitted_apply(block, variables, x, train=False) - x
    shifted = jitted_apply(block, variables, x + 1000.0, train=False) - (x + 1000.0)
    # Float32 near 1000 has steps of 6e-5; E[x^2] - E[x]^2 would lose everything.
    np.testing.assert_allclose(shifted, branches, atol=1e-2)


@pytest.mark.slow
def test_bfloat16_is_close_to_float32(key, rng, x):
    block, variables = random_block(key, rng, x)
    expected = jitted_apply(block, variables, x, train=False)
    half = block.clone(dtype=jnp.bfloat16)
    got = jitted_apply(half, variables, x.astype(jnp.bfloat16), train=False)
    assert got.dtype == jnp.bfloat16
    assert relative_error(got.astype(jnp.float32), expected) < BFLOAT16


@pytest.mark.slow
def test_dropout_and_drop_path_act_in_training_alone(key, rng, x):
    block, variables = random_block(key, rng, x)
    expected = jitted_apply(block, variables, x, train=False)
    np.testing.assert_array_equal(
        jitted_apply(block, variables, x, train=True), expected
    )
    for fields in ({"dropout_rate": 0.5}, {"has_drop_path": True}):
        noisy = block.clone(**fields)
        calm = jitted_apply(noisy, variables, x, 0.5, train=False)
        np.testing.assert_array_equal(calm, expected)
        trained = noisy.apply(variables, x, 0.5, train=True, rngs={"dropout": key})
        assert relative_error(trained, expected) > 0.01, fields


@pytest.mark.slow
def test_a_dropped_branch_leaves_the_stream_as_it_is(key, rng):
    x = jnp.asarray(rng.normal(size=(64, 2, 12)), jnp.float32)
    block, variables = random_block(key, rng, x, has_drop_path=True)
    got = block.apply(variables, x, 0.7, train=True, rngs={"dropout": key})
    untouched = np.isclose(got, x, atol=1e-6).all(axis=(1, 2)).sum()
    # Both branches dropped: binomial of 64 at 0.49, mean 31, deviation 4.
    assert 15 <= untouched <= 47


def test_drop_path_keeps_or_drops_whole_examples(key):
    branch = jnp.ones((4000, 2, 3))
    got = np.asarray(drop_path(key, branch, 0.25))
    assert (got == got[:, :1, :1]).all()
    np.testing.assert_allclose(np.unique(got), [0, 1 / 0.75], rtol=1e-6)
    # Unbiased: the mean deviates by sqrt(.25 / .75 / 4000) = 0.009.
    assert abs(got.mean() - 1) < 4 * 0.009


def test_a_rate_of_zero_drops_nothing(key, x):
    keys = jax.random.split(key)
    np.testing.assert_array_equal(drop_path(keys[0], x, 0.0), x)
    np.testing.assert_array_equal(drop_path(keys[1], x, jnp.zeros(())), x)


def test_drop_path_keeps_bfloat16(key, x):
    got = drop_path(key, x.astype(jnp.bfloat16), jnp.float32(0.5))
    assert got.dtype == jnp.bfloat16


def test_the_mlp_is_two_layers_with_an_activation_between(key, rng, x):
    mlp = Mlp(20, act="relu")
    params = randomize(jitted_init(mlp, key, x, train=False)["params"], rng)
    p = jax.tree.map(np.asarray, params)
    hidden = np.maximum(np.asarray(x) @ p["up"]["kernel"] + p["up"]["bias"], 0)
    expected = hidden @ p["down"]["kernel"] + p["down"]["bias"]
    got = jitted_apply(mlp, {"params": params}, x, train=False)
    assert relative_error(got, expected) < ORDER_OF_SUMS


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("act", ["swiglu", "geglu", "reglu"])
def test_a_gated_mlp_multiplies_by_an_activated_layer(key, rng, x, act, use_bias):
    gates = {
        "swiglu": lambda z: z / (1 + np.exp(-z)),
        "geglu": np.vectorize(lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2),
        "reglu": lambda z: np.maximum(z, 0),
    }
    mlp = Mlp(20, act=act, use_bias=use_bias)
    params = randomize(jitted_init(mlp, key, x, train=False)["params"], rng)
    p = jax.tree.map(np.asarray, params)
    assert all(("bias" in layer) == use_bias for layer in p.values())

    def dense(y, name):
        return y @ p[name]["kernel"] + (p[name]["bias"] if use_bias else 0)

    hidden = gates[act](dense(np.asarray(x), "gate")) * dense(np.asarray(x), "up")
    got = jitted_apply(mlp, {"params": params}, x, train=False)
    assert relative_error(got, dense(hidden, "down")) < ORDER_OF_SUMS


def test_every_tensor_rule_fits_parameters_of_a_block(key, rng, x, memory):
    fields = {"has_memory": True, "act": "swiglu"}
    _, variables = random_block(key, rng, x, memory, **fields)
    shapes = {path: p.shape for path, p in flat_paths(variables["params"]).items()}
    for pattern, spec in TENSOR_RULES:
        found = [path for path in shapes if re.search(pattern, path)]
        assert found, pattern
        assert all(len(shapes[path]) == len(spec) for path in found), pattern
