"""Tests of `jaxlab.nn.attention`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths
from jaxlab.nn.attention import MultiHeadAttention, dot_product_attention

# Sums of a few dozen float32 products, in another order.
ORDER_OF_SUMS = 1e-5
# bfloat16 keeps 8 bits: one rounding is 2**-9 of a value of about 1, and a few add up.
BFLOAT16 = 2e-2


@pytest.fixture
def heads(rng):
    """Give queries (2, 3, 5, 4), and keys and values (2, 3, 6, 4)."""
    shapes = [(2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)]
    return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]


@pytest.fixture
def visible(rng):
    """Give a mask in which each query sees at least the first key."""
    return jnp.asarray(rng.random((2, 3, 5, 6)) < 0.5).at[..., 0].set(True)


def naive_attention(queries, keys, values, visible):
    outputs = np.zeros(queries.shape)
    for b, h, t, k in np.ndindex(*queries.shape):
        scores = [queries[b, h, t] @ key / 2.0 for key in keys[b, h]]  # sqrt(4)
        weights = np.exp(scores) * visible[b, h, t]
        outputs[b, h, t, k] = weights @ values[b, h, :, k] / weights.sum()
    return outputs


def test_attention_is_that_of_a_naive_loop(heads, visible):
    expected = naive_attention(*map(np.asarray, heads), np.asarray(visible))
    got = dot_product_attention(*heads, visible)
    np.testing.assert_allclose(got, expected, atol=ORDER_OF_SUMS)


def test_no_mask_is_a_mask_of_ones(heads):
    got = dot_product_attention(*heads)
    all_visible = jnp.ones((2, 3, 5, 6), bool)
    np.testing.assert_allclose(
        got, dot_product_attention(*heads, all_visible), atol=ORDER_OF_SUMS
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 3)])
def test_a_mask_may_be_shared_by_examples_or_heads(heads, visible, shape):
    mask = visible[: shape[0], : shape[1]]
    whole = jnp.broadcast_to(mask, visible.shape)
    np.testing.assert_allclose(
        dot_product_attention(*heads, mask),
        dot_product_attention(*heads, whole),
        atol=ORDER_OF_SUMS,
    )


def test_one_visible_key_gives_its_value(heads):
    only_third = jnp.zeros((1, 1, 5, 6), bool).at[..., 3].set(True)
    got = dot_product_attention(*heads, only_third)
    expected = jnp.broadcast_to(heads[2][:, :, 3:4], got.shape)
    np.testing.assert_allclose(got, expected, atol=ORDER_OF_SUMS)


def test_a_query_that_sees_nothing_is_finite(heads):
    def total(queries):
        nothing = jnp.zeros((1, 1, 5, 6), bool)
        return dot_product_attention(queries, *heads[1:], nothing).sum()

    value, grad = jax.value_and_grad(total)(heads[0])
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


def test_large_scores_do_not_overflow(heads):
    got = dot_product_attention(1e4 * heads[0], *heads[1:])
    assert np.isfinite(got).all()


@pytest.mark.parametrize("masked", [False, True])
def test_bfloat16_is_close_to_float32(heads, visible, masked):
    half = [array.astype(jnp.bfloat16) for array in heads]
    mask = visible if masked else None
    got = dot_product_attention(*half, mask)
    assert got.dtype == jnp.bfloat16
    expected = dot_product_attention(*heads, mask)
    np.testing.assert_allclose(got.astype(jnp.float32), expected, atol=BFLOAT16)


@pytest.mark.peer
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_that_of_torch(heads, visible, masked):
    torch = pytest.importorskip("torch")
    theirs = [torch.from_numpy(np.array(a)) for a in heads]
    mask = torch.from_numpy(np.array(visible)) if masked else None
    expected = torch.nn.functional.scaled_dot_product_attention(*theirs, attn_mask=mask)
    got = dot_product_attention(*heads, visible if masked else None)
    np.testing.assert_allclose(got, expected.numpy(), atol=ORDER_OF_SUMS)


def test_parameters_have_a_head_axis_and_biases_can_be_left_out(key):
    x = jnp.zeros((1, 5, 12))
    params = MultiHeadAttention(12, 3).init(key, x)["params"]
    shapes = {path: leaf.shape for path, leaf in flat_paths(params).items()}
    for name in ("query", "key", "value"):
        assert shapes[f"{name}/kernel"] == (12, 3, 4)
        assert shapes[f"{name}/bias"] == (3, 4)
    assert shapes["out/kernel"] == (3, 4, 12)
    assert shapes["out/bias"] == (12,)
    bare = MultiHeadAttention(12, 3, use_bias=False).init(key, x)["params"]
    assert flat_paths(bare).keys() == {p for p in shapes if not p.endswith("bias")}


def test_kernels_are_drawn_as_matrices_of_all_heads(key):
    params = MultiHeadAttention(64, 8).init(key, jnp.zeros((1, 2, 64)))["params"]
    bound = np.sqrt(6 / (64 + 64))  # xavier uniform of a 64 x 64 matrix
    for name in ("query", "key", "value", "out"):
        kernel = np.abs(params[name]["kernel"])
        assert 0.9 * bound < kernel.max() <= bound, name


@pytest.mark.slow
def test_a_memory_of_another_width_is_read(key, rng):
    x = jnp.asarray(rng.normal(size=(2, 5, 12)), jnp.float32)
    memory = jnp.asarray(rng.normal(size=(2, 7, 8)), jnp.float32)
    attention = MultiHeadAttention(12, 3)
    outputs, variables = attention.init_with_output(key, x, memory)
    assert outputs.shape == (2, 5, 12)
    assert variables["params"]["key"]["kernel"].shape == (8, 3, 4)
    order = jnp.array([3, 1, 4, 0, 5, 6, 2])
    shuffled = attention.apply(variables, x, memory[:, order])
    np.testing.assert_allclose(shuffled, outputs, atol=ORDER_OF_SUMS)


def test_tokens_are_their_own_memory(key, rng):
    x = jnp.asarray(rng.normal(size=(2, 5, 12)), jnp.float32)
    attention = MultiHeadAttention(12, 3)
    variables = attention.init(key, x)
    np.testing.assert_allclose(
        attention.apply(variables, x),
        attention.apply(variables, x, x),
        atol=ORDER_OF_SUMS,
    )


def test_a_hidden_token_changes_no_other(key, rng):
    x = jnp.asarray(rng.normal(size=(1, 5, 12)), jnp.float32)
    attention = MultiHeadAttention(12, 3)
    variables = attention.init(key, x)
    causal = jnp.tril(jnp.ones((1, 1, 5, 5), bool))
    before = attention.apply(variables, x, visible=causal)
    after = attention.apply(variables, x.at[:, -1].add(1.0), visible=causal)
    np.testing.assert_allclose(before[:, :-1], after[:, :-1], atol=ORDER_OF_SUMS)
    assert np.abs(before[:, -1] - after[:, -1]).max() > 0.1


def test_heads_that_do_not_divide_the_width_are_refused(key):
    with pytest.raises(InputError, match="num_heads 5 does not divide the width 12"):
        MultiHeadAttention(12, 5).init(key, jnp.zeros((1, 2, 12)))


@pytest.mark.peer
def test_cross_attention_is_that_of_torch(rng, key):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(12, 3, kdim=8, vdim=8, batch_first=True)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    weights = {name: w.numpy() for name, w in theirs.state_dict().items()}
    params = {}
    for index, name in enumerate(["query", "key", "value"]):
        kernel = weights[f"{name[0]}_proj_weight"].T
        params[name] = {
            "kernel": kernel.reshape(-1, 3, 4),
            "bias": np.split(weights["in_proj_bias"], 3)[index].reshape(3, 4),
        }
    params["out"] = {
        "kernel": weights["out_proj.weight"].T.reshape(3, 4, 12),
        "bias": weights["out_proj.bias"],
    }
    x = rng.normal(size=(2, 5, 12)).astype(np.float32)
    memory = rng.normal(size=(2, 7, 8)).astype(np.float32)
    got = MultiHeadAttention(12, 3).apply(
        {"params": params}, jnp.asarray(x), jnp.asarray(memory)
    )
    with torch.no_grad():
        expected = theirs(*map(torch.from_numpy, (x, memory, memory)))[0].numpy()
    error = np.abs(got - expected).max() / np.abs(expected).max()
    assert error < ORDER_OF_SUMS
