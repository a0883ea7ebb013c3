"""Tests of `jaxlab.nn.attention`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths
from jaxlab.nn.attention import (
    KeyValues,
    MultiHeadAttention,
    dot_product_attention,
)
from tests.jitted import jitted_apply, jitted_init

# Sums of a few dozen float32 products, in another order.
ORDER_OF_SUMS = 1e-5
# The same for outputs of up to 20, of parameters with deviation 1.
OUTPUTS = 1e-4
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


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_query_that_sees_nothing_gets_zeros(heads, dtype, causal):
    # Query 2 sees nothing; where causal, nor do 0 and 1: their only key comes later.
    visible = jnp.zeros((1, 1, 5, 6), bool).at[..., 2].set(True).at[0, 0, 2].set(False)
    blind = [0, 1, 2] if causal else [2]

    def total(heads):
        out = dot_product_attention(*heads, visible, causal=causal)
        return (out.astype(jnp.float32) ** 2).sum(), out

    given = [array.astype(dtype) for array in heads]
    grads, out = jax.jit(jax.grad(total, has_aux=True))(given)
    np.testing.assert_array_equal(out[:, :, jnp.array(blind)], 0)
    seeing = [t for t in range(5) if t not in blind]
    np.testing.assert_array_equal(
        out[:, :, jnp.array(seeing)],
        jnp.broadcast_to(given[2][:, :, 2:3], (2, 3, len(seeing), 4)),
    )
    for grad in grads:
        assert np.isfinite(grad).all()
    np.testing.assert_array_equal(grads[0][:, :, jnp.array(blind)], 0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_causal_is_a_mask_of_a_triangle(heads, visible, dtype, masked):
    given = [array.astype(dtype) for array in heads]
    triangle = jnp.tril(jnp.ones((1, 1, 5, 6), bool))
    mask = visible if masked else None
    got = dot_product_attention(*given, mask, causal=True)
    expected = dot_product_attention(*given, visible & triangle if masked else triangle)
    np.testing.assert_allclose(
        got.astype(jnp.float32), expected.astype(jnp.float32), atol=ORDER_OF_SUMS
    )
    all_seen = dot_product_attention(*given, mask)
    assert np.abs(got - all_seen).max() > 0.1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_fewer_heads_of_keys_are_heads_repeated(rng, dtype, groups, causal):
    shapes = [(2, 4, 5, 8), (2, groups, 6, 8), (2, groups, 6, 8)]
    queries, *memory = (jnp.asarray(rng.normal(size=s), dtype) for s in shapes)
    visible = jnp.asarray(rng.random((2, 4, 5, 6)) < 0.5).at[..., 0].set(True)
    repeated = [jnp.repeat(array, 4 // groups, axis=1) for array in memory]
    got = dot_product_attention(queries, *memory, visible, causal=causal)
    expected = dot_product_attention(queries, *repeated, visible, causal=causal)
    atol = ORDER_OF_SUMS if dtype == jnp.float32 else BFLOAT16
    np.testing.assert_allclose(
        got.astype(jnp.float32), expected.astype(jnp.float32), atol=atol
    )


def test_heads_of_keys_that_do_not_divide_are_refused(heads, key):
    message = "2 heads of keys do not divide 3 of queries"
    with pytest.raises(InputError, match=message):
        dot_product_attention(heads[0], heads[1][:, :2], heads[2][:, :2])
    attention = MultiHeadAttention(12, 3, num_kv_heads=2)
    with pytest.raises(InputError, match="num_kv_heads 2 does not divide num_heads 3"):
        jitted_init(attention, key, jnp.zeros((1, 2, 12)))


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_that_of_jax(heads, visible, causal):
    theirs = [jnp.swapaxes(array, 1, 2) for array in heads]
    expected = jax.nn.dot_product_attention(*theirs, mask=visible, is_causal=causal)
    got = dot_product_attention(*heads, visible, causal=causal)
    np.testing.assert_allclose(got, expected.swapaxes(1, 2), atol=ORDER_OF_SUMS)


@pytest.fixture
def asked(monkeypatch):
    """Pretend that there is a GPU, and collect what is asked of JAX's attention."""
    calls = []

    def record(queries, keys, values, **options):
        calls.append(options)
        return queries

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", record)
    return calls


@pytest.mark.parametrize(
    ("lengths", "width", "dtype", "masked", "implementation"),
    [
        ((6, 4), 8, "bfloat16", False, "cudnn"),
        ((6, 4), 128, "float16", True, "cudnn"),
        ((5, 7), 8, "bfloat16", False, "cudnn"),
        ((5, 4), 8, "bfloat16", True, None),  # masks of even lengths only
        ((4, 5), 8, "bfloat16", True, None),
        ((1, 4), 8, "bfloat16", True, None),  # a step of decoding
        ((6, 4), 12, "bfloat16", False, None),  # widths by eights only,
        ((6, 4), 136, "bfloat16", False, None),  # and up to 128
    ],
)
def test_the_fused_kernel_is_asked_for_what_it_takes(
    asked, lengths, width, dtype, masked, implementation
):
    t, m = lengths
    shapes = [(2, 2, t, width), (2, 2, m, width), (2, 2, m, width)]
    heads = [jnp.zeros(shape, dtype) for shape in shapes]
    mask = jnp.ones((2, 1, 1, m), bool) if masked else None
    dot_product_attention(*heads, mask)
    (call,) = asked
    assert call["implementation"] == implementation
    if masked and implementation:  # cuDNN wants a row of the mask for each query
        assert call["mask"].shape == (2, 1, t, m)


def test_float32_has_no_kernel(asked, heads):
    dot_product_attention(*heads)
    assert not asked


def test_without_a_gpu_no_kernel_is_asked_for(asked, monkeypatch, heads):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    half = [jnp.zeros((1, 1, 2, 8), jnp.bfloat16)] * 3
    dot_product_attention(*half)
    assert asked[0]["implementation"] is None


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
    params = jitted_init(MultiHeadAttention(12, 3), key, x)["params"]
    shapes = {path: leaf.shape for path, leaf in flat_paths(params).items()}
    for name in ("query", "key", "value"):
        assert shapes[f"{name}/kernel"] == (12, 3, 4)
        assert shapes[f"{name}/bias"] == (3, 4)
    assert shapes["out/kernel"] == (3, 4, 12)
    assert shapes["out/bias"] == (12,)
    bare = jitted_init(MultiHeadAttention(12, 3, use_bias=False), key, x)["params"]
    assert flat_paths(bare).keys() == {p for p in shapes if not p.endswith("bias")}


def test_kernels_are_drawn_as_matrices_of_all_heads(key):
    params = jitted_init(MultiHeadAttention(64, 8), key, jnp.zeros((1, 2, 64)))[
        "params"
    ]
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
    shuffled = jitted_apply(attention, variables, x, memory[:, order])
    np.testing.assert_allclose(shuffled, outputs, atol=ORDER_OF_SUMS)


def test_tokens_are_their_own_memory(key, rng):
    x = jnp.asarray(rng.normal(size=(2, 5, 12)), jnp.float32)
    attention = MultiHeadAttention(12, 3)
    variables = jitted_init(attention, key, x)
    np.testing.assert_allclose(
        jitted_apply(attention, variables, x),
        jitted_apply(attention, variables, x, x),
        atol=ORDER_OF_SUMS,
    )


def test_a_hidden_token_changes_no_other(key, rng):
    x = jnp.asarray(rng.normal(size=(1, 5, 12)), jnp.float32)
    attention = MultiHeadAttention(12, 3)
    variables = jitted_init(attention, key, x)
    causal = jnp.tril(jnp.ones((1, 1, 5, 5), bool))
    before = attention.apply(variables, x, visible=causal)
    after = attention.apply(variables, x.at[:, -1].add(1.0), visible=causal)
    np.testing.assert_allclose(before[:, :-1], after[:, :-1], atol=ORDER_OF_SUMS)
    assert np.abs(before[:, -1] - after[:, -1]).max() > 0.1


# Name: what is asked of the attention beside its sizes.
KINDS = {
    "plain": {},
    "grouped": {"num_heads": 6, "num_kv_heads": 2, "rotary": 100.0, "use_bias": False},
}


@pytest.fixture(scope="module", params=KINDS)
def causal(request):
    """Give a causal attention, seven tokens of three rows, parameters and outputs."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 7, 12)), jnp.float32)
    fields = {"num_heads": 3, **KINDS[request.param]}
    attention = MultiHeadAttention(12, causal=True, **fields)
    variables = jax.eval_shape(attention.init, jax.random.key(0), x)
    variables = jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), variables
    )
    return attention, variables, x, jitted_apply(attention, variables, x)


def room(attention, rows, size, fill=0.0):
    heads = attention.num_kv_heads or attention.num_heads
    shape = (rows, heads, size, attention.width // attention.num_heads)
    return KeyValues(jnp.full(shape, fill), jnp.full(shape, fill))


def assert_close(got, expected):
    np.testing.assert_allclose(got, expected, atol=OUTPUTS)


def test_causal_tokens_see_none_after_them(causal):
    attention, variables, x, outputs = causal
    for t in (3, 6):
        changed = jitted_apply(attention, variables, x.at[:, t].add(1.0))
        assert_close(changed[:, :t], outputs[:, :t])
        assert np.abs(changed - outputs)[:, t:].max(axis=(0, 2)).min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [(7,), (1,) * 7, (3, 1, 3), (1, 6)])
def test_tokens_that_come_in_chunks_are_those_of_one_call(causal, chunks):
    attention, variables, x, outputs = causal
    # Whatever lies in the places not yet filled is not seen.
    cache, done = room(attention, 3, 9, fill=50.0), 0
    for size in chunks:
        start = jnp.full(3, done, jnp.int32)
        part = x[:, done : done + size]
        got, cache = jitted_apply(
            attention, variables, part, cache, start, method=attention.extend
        )
        assert_close(got, outputs[:, done : done + size])
        done += size


@pytest.mark.slow
def test_rows_may_be_of_different_lengths(causal):
    attention, variables, x, outputs = causal
    extend = attention.extend
    cache, starts = room(attention, 3, 7), jnp.array([0, 4, 5])
    # All five places are written, with what each row does not yet have too.
    _, cache = jitted_apply(
        attention, variables, x[:, :5], cache, jnp.zeros(3, jnp.int32), method=extend
    )
    places = starts[:, None] + jnp.arange(2)[None]
    part = jnp.take_along_axis(x, places[..., None], axis=1)
    got, _ = jitted_apply(attention, variables, part, cache, starts, method=extend)
    assert_close(got, jnp.take_along_axis(outputs, places[..., None], axis=1))


def test_a_memory_read_once_is_the_memory(causal, rng):
    attention, variables, x, _ = causal
    memory = jnp.asarray(rng.normal(size=(3, 5, 12)), jnp.float32)
    visible = jnp.asarray(rng.random((3, 1, 1, 5)) < 0.5).at[0].set(False)
    read = jitted_apply(attention, variables, memory, method=attention.read)
    assert read.keys.shape == room(attention, 3, 5).keys.shape
    got = jitted_apply(attention, variables, x, read, visible, method=attention.look)
    assert_close(got, jitted_apply(attention, variables, x, memory, visible))
    if attention.use_bias:  # a row that sees nothing gets the bias alone
        blind = jnp.broadcast_to(variables["params"]["out"]["bias"], (7, 12))
        assert_close(got[0], blind)


def test_kept_weights_sum_to_one_and_make_the_outputs(causal):
    attention, variables, x, outputs = causal
    visible = jnp.ones((3, 1, 1, 7), bool).at[0, ..., 0].set(False)
    got, kept = attention.apply(variables, x, mutable=["intermediates"])
    assert_close(got, outputs)
    (weights,) = kept["intermediates"]["attention_weights"]
    assert weights.shape == (3, attention.num_heads, 7, 7)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=ORDER_OF_SUMS)
    np.testing.assert_array_equal(np.triu(weights, 1), 0)
    values = jitted_apply(attention, variables, x, method=attention.read).values
    values = jnp.repeat(values, attention.num_heads // values.shape[1], axis=1)
    out = variables["params"]["out"]
    heads = jnp.einsum("bhtm,bhmk->bthk", weights, values)
    mixed = jnp.einsum("bthk,hkd->btd", heads, out["kernel"])
    if attention.use_bias:
        mixed += out["bias"][None, None]
    assert_close(mixed, outputs)
    _, kept = attention.apply(variables, x, visible=visible, mutable=["intermediates"])
    (weights,) = kept["intermediates"]["attention_weights"]
    sums = np.asarray(weights.sum(-1))
    np.testing.assert_array_equal(sums[0, :, 0], 0)  # it sees nothing
    np.testing.assert_allclose(sums[0, :, 1:], 1, atol=ORDER_OF_SUMS)
    assert isinstance(jitted_apply(attention, variables, x), jax.Array)


def test_rotary_tokens_see_distances_not_places(rng, key):
    x = jnp.asarray(rng.normal(size=(1, 5, 12)), jnp.float32)
    attention = MultiHeadAttention(12, 3, rotary=100.0)
    variables = jitted_init(attention, key, x)
    # Without a causal mask, turning the order about turns all distances.
    turned = jitted_apply(attention, variables, x[:, ::-1])[:, ::-1]
    assert np.abs(turned - jitted_apply(attention, variables, x)).max() > 1e-3
    plain = attention.clone(rotary=0.0)
    assert_close(
        jitted_apply(plain, variables, x[:, ::-1])[:, ::-1],
        jitted_apply(plain, variables, x),
    )


def test_rotary_heads_of_odd_width_are_refused(key):
    with pytest.raises(InputError, match="positions by pairs need an even width"):
        jitted_init(MultiHeadAttention(9, 3, rotary=100.0), key, jnp.zeros((1, 2, 9)))


def test_heads_that_do_not_divide_the_width_are_refused(key):
    with pytest.raises(InputError, match="num_heads 5 does not divide the width 12"):
        jitted_init(MultiHeadAttention(12, 5), key, jnp.zeros((1, 2, 12)))


@pytest.mark.peer
@pytest.mark.parametrize("causal", [False, True])
def test_fewer_heads_of_keys_are_those_of_torch(rng, causal):
    torch = pytest.importorskip("torch")
    shapes = [(2, 6, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8)]
    heads = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    expected = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.from_numpy, heads), is_causal=causal, enable_gqa=True
    )
    got = dot_product_attention(*map(jnp.asarray, heads), causal=causal)
    np.testing.assert_allclose(got, expected.numpy(), atol=ORDER_OF_SUMS)


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
    got = jitted_apply(
        MultiHeadAttention(12, 3),
        {"params": params},
        jnp.asarray(x),
        jnp.asarray(memory),
    )
    with torch.no_grad():
        expected = theirs(*map(torch.from_numpy, (x, memory, memory)))[0].numpy()
    error = np.abs(got - expected).max() / np.abs(expected).max()
    assert error < ORDER_OF_SUMS


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 3), (1, 3), (1, 1)])
def test_a_bias_is_added_to_the_scores_as_in_jax(heads, visible, rng, causal, shape):
    bias = jnp.asarray(rng.normal(size=(*shape, 5, 6)), jnp.float32)
    theirs = [jnp.swapaxes(array, 1, 2) for array in heads]
    expected = jax.nn.dot_product_attention(
        *theirs, bias=bias, mask=visible, is_causal=causal
    ).swapaxes(1, 2)
    got = dot_product_attention(*heads, visible, bias, causal=causal)
    np.testing.assert_allclose(got, expected, atol=ORDER_OF_SUMS)
    half = [array.astype(jnp.bfloat16) for array in heads]
    got = dot_product_attention(
        *half, visible, bias.astype(jnp.bfloat16), causal=causal
    )
    np.testing.assert_allclose(got.astype(jnp.float32), expected, atol=BFLOAT16)
