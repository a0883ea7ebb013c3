"""Tests of `jaxlab.nn.stack`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.nn.stack import Stack, stack_blocks, unstack_blocks

# Relative to the largest value: compiled as one program or in parts, float32 sums are
# fused and ordered otherwise.
ORDER_OF_SUMS = 1e-5
DEPTH = 2
BLOCK = {"width": 8, "num_heads": 2, "hidden_dim": 12}


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


@pytest.fixture(scope="module")
def params(x):
    """Give random parameters of a looped stack, all blocks different."""
    rng = np.random.default_rng(0)
    init = Stack(DEPTH, BLOCK).init
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), x, train=False))["params"]
    return jax.tree.map(
        lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), s.dtype), shapes
    )


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
    outputs = stack.apply({"params": params}, x, train=True, rngs={"dropout": key})
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
    outputs = stack.apply({"params": params}, x, train=True, rngs={"dropout": key})
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
