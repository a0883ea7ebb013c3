"""Tests of `jaxlab.nn.stack`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.nn.stack import Stack, stack_blocks, unstack_blocks
from tests.jitted import jitted_apply

# Relative to the largest value: compiled as one program or in parts, float32 sums are
# fused and ordered otherwise.
ORDER_OF_SUMS = 1e-5
DEPTH = 2
BLOCK = {"width": 8, "num_heads": 2, "hidden_dim": 12}
DECODER = {
    **BLOCK,
    "num_kv_heads": 1,
    "norm_first": False,
    "rotary": 100.0,
    "is_causal": True,
    "has_memory": True,
}


def assert_close(ours, theirs):
    def compare(a, b):
        assert np.abs(a - b).max() < ORDER_OF_SUMS * max(1.0, np.abs(b).max())

    jax.tree.map(compare, ours, theirs)


def value_and_grads(stack, params, x, **options):
    def loss(params):
        outputs = stack.apply({"params": params}, x, **options)
        return (outputs**2).mean(), outputs

    (_, outputs), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return outputs, grads


@pytest.fixture(scope="module")
def x():
    """Give two sequences of five tokens."""
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 8)), jnp.float32)


def random_params(fields, x, memory=None):
    rng = np.random.default_rng(0)
    init, inputs = Stack(DEPTH, fields).init, (jax.random.key(0), x, None, memory)
    shapes = jax.eval_shape(lambda: init(*inputs, train=False))["params"]
    return jax.tree.map(
        lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), s.dtype), shapes
    )


@pytest.fixture(scope="module")
def params(x):
    """Give random parameters of a looped stack, all blocks different."""
    return random_params(BLOCK, x)


@pytest.fixture(scope="module")
def looped(params, x):
    """Give outputs and gradients of a loop that keeps everything."""
    return value_and_grads(Stack(DEPTH, BLOCK), params, x, train=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scan", "remat"), [(False, True), (True, False), (True, True)]
)
def test_scan_and_remat_change_neither_values_nor_gradients(
    params, x, looped, scan, remat
):
    stack = Stack(DEPTH, BLOCK, scan=scan, remat=remat)
    given = stack_blocks(params) if scan else params
    outputs, grads = value_and_grads(stack, given, x, train=False)
    assert_close((outputs, unstack_blocks(grads) if scan else grads), looped)


@pytest.fixture(scope="module")
def memory():
    """Give what a decoder reads, and which of its six tokens two rows see."""
    rng = np.random.default_rng(1)
    memory = jnp.asarray(rng.normal(size=(2, 6, 8)), jnp.float32)
    return memory, jnp.array([[True] * 6, [True] * 2 + [False] * 4])[:, None, None]


@pytest.fixture(scope="module")
def decoder(x, memory):
    """Give random parameters of a looped stack that reads a memory."""
    return random_params(DECODER, x, memory[0])


def read_and_differentiate(stack, params, x, memory):
    """Give outputs, and gradients by parameters, tokens and memory."""
    tokens, is_token = memory

    def loss(params, x, tokens):
        given = (x, None, tokens, is_token)
        outputs = stack.apply({"params": params}, *given, train=False)
        return (outputs[:, 2] ** 3).sum(), outputs

    by = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    (grads, *others), outputs = by(params, x, tokens)
    return outputs, unstack_blocks(grads) if stack.scan else grads, *others


@pytest.fixture(scope="module")
def read_in_a_loop(decoder, x, memory):
    """Give outputs and gradients of a loop that keeps everything."""
    return read_and_differentiate(Stack(DEPTH, DECODER), decoder, x, memory)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scan", "remat"), [(False, True), (True, False), (True, True)]
)
def test_scan_and_remat_read_a_memory_alike(
    decoder, x, memory, read_in_a_loop, scan, remat
):
    stack = Stack(DEPTH, DECODER, scan=scan, remat=remat)
    params = stack_blocks(decoder) if scan else decoder
    got = read_and_differentiate(stack, params, x, memory)
    assert_close(got, read_in_a_loop)
    by_memory = np.abs(got[3]).max(axis=-1)
    assert (by_memory[0] > 0).all()  # all of a memory that is seen has a part
    np.testing.assert_array_equal(by_memory[1] > 0, [True] * 2 + [False] * 4)


def extend_by_parts(stack, params, x, memory):
    """Give outputs of tokens that come as 3, 1 and 1, and the last cache."""
    tokens, is_token = memory
    variables = {"params": params}
    read = jitted_apply(stack, variables, tokens, method=stack.read)
    cache, parts, done = stack.make_cache(2, 5), [], 0
    extend = jax.jit(lambda *inputs: stack.apply(variables, *inputs, method="extend"))
    for size in (3, 1, 1):
        start = jnp.full(2, done, jnp.int32)
        part = x[:, done : done + size]
        out, cache = extend(part, cache, start, read, is_token)
        parts, done = [*parts, out], done + size
    return jnp.concatenate(parts, axis=1), cache, read


@pytest.mark.slow
def test_scan_and_loop_extend_alike(decoder, x, memory, read_in_a_loop):
    looped, filled, read = extend_by_parts(Stack(DEPTH, DECODER), decoder, x, memory)
    assert_close(looped, read_in_a_loop[0])
    scanned, stacked, read_once = extend_by_parts(
        Stack(DEPTH, DECODER, scan=True), stack_blocks(decoder), x, memory
    )
    assert_close(scanned, looped)
    for ours, theirs in ((stacked, filled), (read_once, read)):
        assert_close(ours, jax.tree.map(lambda *layers: jnp.stack(layers, 1), *theirs))


@pytest.mark.parametrize("scan", [False, True])
def test_a_cache_has_rows_first_and_the_heads_of_keys(scan):
    cache = Stack(3, {**DECODER, "dtype": jnp.bfloat16}, scan=scan).make_cache(5, 7)
    shapes = {(leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(cache)}
    shape = (5, 3, 1, 7, 4) if scan else (5, 1, 7, 4)
    assert shapes == {(shape, "bfloat16")}
    assert len(jax.tree.leaves(cache)) == (2 if scan else 6)


@pytest.mark.slow
def test_scan_and_loop_keep_the_same_weights(decoder, x, memory):
    given = (x, None, *memory)
    kept = []
    for scan in (False, True):
        params = stack_blocks(decoder) if scan else decoder
        _, variables = Stack(DEPTH, DECODER, scan=scan).apply(
            {"params": params}, *given, train=False, mutable=["intermediates"]
        )
        kept.append(variables["intermediates"])
    assert_close(unstack_blocks(kept[1]), kept[0])
    weights = kept[0]["block_1"]["memory_attention"]["attention_weights"][0]
    assert weights.shape == (2, 2, 5, 6)


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_remat_draws_the_same_dropout(params, x, key, scan):
    options = {"train": True, "rngs": {"dropout": key}}
    block = {**BLOCK, "dropout_rate": 0.3}
    given = stack_blocks(params) if scan else params
    results = [
        value_and_grads(Stack(DEPTH, block, 0.2, scan, remat), given, x, **options)
        for remat in (False, True)
    ]
    assert_close(*results)


@pytest.mark.slow
def test_scanned_parameters_are_stacked_and_drawn_apart(params, key, x):
    init = jax.jit(Stack(DEPTH, BLOCK, scan=True).init, static_argnames="train")
    scanned = init(key, x, train=False)["params"]
    assert jax.tree.map(jnp.shape, scanned) == jax.tree.map(
        jnp.shape, stack_blocks(params)
    )
    kernel = scanned["blocks"]["mlp"]["up"]["kernel"]
    assert not np.allclose(kernel[0], kernel[1])


@pytest.mark.slow
def test_scanned_blocks_draw_different_dropout(x, key):
    # Equal blocks that add a constant: only the masks can differ between them.
    block = {**BLOCK, "dropout_rate": 0.5}
    stack = Stack(2, block, scan=True)
    init = jax.eval_shape(lambda: stack.init(key, x, train=False))["params"]
    params = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), init)
    params["blocks"]["mlp"]["down"]["bias"] = jnp.ones((2, 8))
    outputs = jitted_apply(
        stack, {"params": params}, x, train=True, rngs={"dropout": key}
    )
    # Each block adds 0 or 2; if both drew alike, 2 would never be their sum.
    assert set(np.unique((outputs - x).round(3))) == {0.0, 2.0, 4.0}


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_drop_path_rises_from_zero_at_the_first_block(rng, key, scan):
    x = jnp.zeros((400, 1, 8))
    stack = Stack(3, BLOCK, 0.5, scan=scan)
    init = jax.eval_shape(lambda: stack.init(key, x, train=False))["params"]
    params = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), init)
    for i in range(3):  # block i adds 1 to unit i, and nothing else
        unit = jnp.zeros(8).at[i].set(1.0)
        if scan:
            bias = params["blocks"]["mlp"]["down"]["bias"]
            params["blocks"]["mlp"]["down"]["bias"] = bias.at[i].set(unit)
        else:
            params[f"block_{i}"]["mlp"]["down"]["bias"] = unit
    outputs = jitted_apply(
        stack, {"params": params}, x, train=True, rngs={"dropout": key}
    )
    dropped = (outputs[:, 0, :3] == 0).mean(axis=0)
    # Shares of 400 examples deviate by at most sqrt(.25 / 400) = 0.025.
    np.testing.assert_allclose(dropped, [0, 0.25, 0.5], atol=0.1)
    assert dropped[0] == 0


def test_unstacking_undoes_stacking(params):
    again = unstack_blocks(stack_blocks(params))
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_blocks_are_stacked_in_the_order_of_their_numbers():
    params = {f"block_{i}": {"bias": np.full(2, i)} for i in range(11)}
    params["norm"] = {"scale": np.ones(2)}
    stacked = stack_blocks(params)
    np.testing.assert_array_equal(stacked["blocks"]["bias"][:, 0], np.arange(11))
    assert stacked["norm"] is params["norm"]


def test_parameters_without_blocks_are_refused():
    with pytest.raises(InputError, match="no entry block_0 among norm"):
        stack_blocks({"norm": 1})
    with pytest.raises(InputError, match="no entry 'blocks' among block_0, norm"):
        unstack_blocks({"block_0": 1, "norm": 1})


class Gate(nn.Module):
    """A block of one's own: it adds a share of the tokens and of another input."""

    start: float = 1.0

    @nn.compact
    def __call__(self, x, drop_path_rate, other, *, train):
        share = self.param("share", nn.initializers.constant(self.start), (1, 1, 1))
        return x + share * other + drop_path_rate + float(train)


@pytest.mark.parametrize("scan", [False, True])
def test_any_block_can_be_stacked_and_each_output_read(x, key, scan):
    stack = Stack(3, {"start": 0.5}, scan=scan, remat=scan, make_block=Gate)
    other = 2 * jnp.ones_like(x)
    variables = stack.init(key, x, other, train=False)
    shapes = jax.tree.map(jnp.shape, variables["params"])
    names = ["blocks"] if scan else ["block_0", "block_1", "block_2"]
    assert shapes == {
        name: {"share": (3, 1, 1, 1) if scan else (1, 1, 1)} for name in names
    }
    np.testing.assert_allclose(stack.apply(variables, x, other, train=True), x + 6)
    outputs = stack.apply(variables, x, other, train=False, method="layers")
    for number, output in enumerate(outputs, 1):
        np.testing.assert_allclose(output, x + number, rtol=1e-6)


class Counting(nn.Module):
    """A block that keeps a state of its own."""

    @nn.compact
    def __call__(self, x, drop_path_rate, *, train):
        calls = self.variable("batch_stats", "calls", lambda: jnp.zeros(()))
        calls.value += 1.0 * train
        return x + drop_path_rate


@pytest.mark.parametrize("scan", [False, True])
def test_blocks_may_keep_a_state(x, key, scan):
    stack = Stack(3, {}, scan=scan, make_block=Counting)
    variables = stack.init(key, x, train=False)
    _, updated = stack.apply(variables, x, train=True, mutable=["batch_stats"])
    counts = jax.tree.leaves(updated["batch_stats"])
    assert np.concatenate([np.ravel(count) for count in counts]).tolist() == [1, 1, 1]
