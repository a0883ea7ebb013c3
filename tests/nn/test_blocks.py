"""Tests of `jaxlab.nn.blocks`."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.pytree import flat_paths
from jaxlab.nn.blocks import TENSOR_RULES, Block, Mlp, drop_path

# Relative to the largest value: float32 sums of a few dozen products, in another order.
ORDER_OF_SUMS = 1e-5
# Relative to the largest value: bfloat16 keeps 8 bits, and a block rounds often.
BFLOAT16 = 3e-2


def relative_error(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def randomize(params, rng):
    """Make every parameter random: zeros and ones would hide faults."""
    return jax.tree.map(
        lambda p: p + 0.3 * rng.normal(size=p.shape).astype(p.dtype), params
    )


@pytest.fixture
def x(rng):
    """Give two sequences of five tokens."""
    return jnp.asarray(rng.normal(size=(2, 5, 12)), jnp.float32)


def random_block(key, rng, x, **fields):
    block = Block(width=12, num_heads=3, hidden_dim=20, **fields)
    params = block.init(key, x, train=False)["params"]
    return block, {"params": randomize(params, rng)}


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize("act", ["gelu", "relu"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_block_is_the_pre_norm_layer_of_torch(key, rng, x, act, masked):
    torch = pytest.importorskip("torch")
    block, variables = random_block(key, rng, x, act=act, norm_eps=1e-3)
    theirs = torch.nn.TransformerEncoderLayer(
        12, 3, 20, 0.0, act, layer_norm_eps=1e-3, batch_first=True, norm_first=True
    )
    p = jax.tree.map(np.array, variables["params"])
    attention = p["attention"]
    qkv = [attention[name] for name in ("query", "key", "value")]
    weights = {
        "self_attn.in_proj_weight": np.concatenate(
            [part["kernel"].reshape(12, 12).T for part in qkv]
        ),
        "self_attn.in_proj_bias": np.concatenate([p["bias"].reshape(-1) for p in qkv]),
        "self_attn.out_proj.weight": attention["out"]["kernel"].reshape(12, 12).T,
        "self_attn.out_proj.bias": attention["out"]["bias"],
        "linear1.weight": p["mlp"]["up"]["kernel"].T,
        "linear1.bias": p["mlp"]["up"]["bias"],
        "linear2.weight": p["mlp"]["down"]["kernel"].T,
        "linear2.bias": p["mlp"]["down"]["bias"],
        "norm1.weight": p["attention_norm"]["scale"],
        "norm1.bias": p["attention_norm"]["bias"],
        "norm2.weight": p["mlp_norm"]["scale"],
        "norm2.bias": p["mlp_norm"]["bias"],
    }
    theirs.load_state_dict({k: torch.from_numpy(w.copy()) for k, w in weights.items()})
    causal = np.tril(np.ones((5, 5), bool))
    hidden = torch.from_numpy(~causal) if masked else None
    expected = theirs(torch.from_numpy(np.array(x)), src_mask=hidden).detach()
    visible = jnp.asarray(causal)[None, None] if masked else None
    got = block.apply(variables, x, visible=visible, train=False)
    assert relative_error(got, expected) < ORDER_OF_SUMS


def test_a_block_with_silent_branches_is_the_identity(key, x):
    block = Block(width=12, num_heads=3, hidden_dim=20)
    params = block.init(key, x, train=False)["params"]
    silent = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_array_equal(block.apply({"params": silent}, x, train=False), x)


def test_tokens_may_come_in_any_order(key, rng, x):
    block, variables = random_block(key, rng, x)
    order = jnp.array([3, 0, 4, 1, 2])
    got = block.apply(variables, x[:, order], train=False)
    expected = block.apply(variables, x, train=False)[:, order]
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
    branches = block.apply(variables, x, train=False) - x
    shifted = block.apply(variables, x + 1000.0, train=False) - (x + 1000.0)
    # Float32 near 1000 has steps of 6e-5; E[x^2] - E[x]^2 would lose everything.
    np.testing.assert_allclose(shifted, branches, atol=1e-2)


@pytest.mark.slow
def test_bfloat16_is_close_to_float32(key, rng, x):
    block, variables = random_block(key, rng, x)
    expected = block.apply(variables, x, train=False)
    half = block.clone(dtype=jnp.bfloat16)
    got = half.apply(variables, x.astype(jnp.bfloat16), train=False)
    assert got.dtype == jnp.bfloat16
    assert relative_error(got.astype(jnp.float32), expected) < BFLOAT16


@pytest.mark.slow
def test_dropout_and_drop_path_act_in_training_alone(key, rng, x):
    block, variables = random_block(key, rng, x)
    expected = block.apply(variables, x, train=False)
    np.testing.assert_array_equal(block.apply(variables, x, train=True), expected)
    for fields in ({"dropout_rate": 0.5}, {"has_drop_path": True}):
        noisy = block.clone(**fields)
        calm = noisy.apply(variables, x, 0.5, train=False)
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
    params = randomize(mlp.init(key, x, train=False)["params"], rng)
    p = jax.tree.map(np.asarray, params)
    hidden = np.maximum(np.asarray(x) @ p["up"]["kernel"] + p["up"]["bias"], 0)
    expected = hidden @ p["down"]["kernel"] + p["down"]["bias"]
    got = mlp.apply({"params": params}, x, train=False)
    assert relative_error(got, expected) < ORDER_OF_SUMS


def test_every_tensor_rule_fits_parameters_of_a_block(key, rng, x):
    _, variables = random_block(key, rng, x)
    shapes = {path: p.shape for path, p in flat_paths(variables["params"]).items()}
    for pattern, spec in TENSOR_RULES:
        found = [path for path in shapes if re.search(pattern, path)]
        assert found, pattern
        assert all(len(shapes[path]) == len(spec) for path in found), pattern
