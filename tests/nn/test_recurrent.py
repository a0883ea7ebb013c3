"""Tests of `jaxlab.nn.recurrent` and `jaxlab.nn.recurrent_kernels`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths
from jaxlab.nn.recurrent import Recurrent, RecurrentStack
from jaxlab.nn.recurrent_kernels import GATES, CellWeights, run_cell, step_cell
from tests.closeness import assert_close
from tests.jitted import jitted_apply, jitted_init

B, T, D, H = 3, 5, 4, 2
# A few dozen float32 operations, in another order.
ROUNDING = 2e-6
# The same for derivatives, which are sums over times and rows.
GRADIENT = 1e-5
# bfloat16 keeps 8 bits, and five steps add their roundings up.
BFLOAT16 = 5e-2

close = functools.partial(assert_close, tolerance=ROUNDING)


def draw(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.fixture(params=GATES)
def cell(request):
    """Give the name of a cell."""
    return request.param


@pytest.fixture
def weights(cell, rng):
    """Give random parameters of a cell."""
    columns = GATES[cell] * H
    return CellWeights(
        draw(rng, D, columns),
        draw(rng, H, columns),
        draw(rng, columns),
        draw(rng, H) if cell == "gru" else None,
    )


@pytest.fixture
def carry(cell, rng):
    """Give a random start."""
    return tuple(draw(rng, B, H) for _ in range(2 if cell == "lstm" else 1))


@pytest.fixture
def x(rng):
    """Give inputs."""
    return draw(rng, B, T, D)


@pytest.fixture
def is_token():
    """Give tokens with padding behind, before and between them."""
    return jnp.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 1]], bool)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def numpy_step(cell, weights, x, carry):
    """Take one step of one row, gate by gate, in float64."""
    input_kernel, hidden_kernel, bias, hidden_bias = (
        None if w is None else np.asarray(w, np.float64) for w in weights
    )
    hidden = carry[0]
    gates = np.split(x @ input_kernel + bias, GATES[cell])
    products = np.split(hidden @ hidden_kernel, GATES[cell])
    if cell == "rnn":
        return (np.tanh(gates[0] + products[0]),)
    if cell == "rnn_relu":
        return (np.maximum(gates[0] + products[0], 0),)
    if cell == "gru":
        r, z = (sigmoid(gates[k] + products[k]) for k in (0, 1))
        n = np.tanh(gates[2] + r * (products[2] + hidden_bias))
        return ((1 - z) * n + z * hidden,)
    i, f, g, o = (a + b for a, b in zip(gates, products, strict=True))
    memory = sigmoid(f) * carry[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(memory), memory


def numpy_run(cell, weights, x, carry, is_token, reverse):
    """Run the rows one by one."""
    outputs = np.zeros((B, T, H))
    ends = [np.array(part, np.float64) for part in carry]
    for row in range(B):
        state = tuple(part[row] for part in ends)
        for t in reversed(range(T)) if reverse else range(T):
            if is_token[row, t]:
                state = numpy_step(cell, weights, np.asarray(x[row, t]), state)
                outputs[row, t] = state[0]
        for part, end in zip(ends, state, strict=True):
            part[row] = end
    return outputs, tuple(ends)


def naive_run(cell, weights, x, carry, is_token=None, *, reverse=False):
    """Run with a loop over `step_cell`, differentiated by JAX."""
    outputs = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        projected = x[:, t] @ weights.input_kernel + weights.bias[None]
        after = step_cell(cell, weights, projected, carry)
        output = after[0]
        if is_token is not None:
            keep = is_token[:, t, None]
            after = tuple(
                jnp.where(keep, a, b) for a, b in zip(after, carry, strict=True)
            )
            output = jnp.where(keep, output, 0)
        carry, outputs[t] = after, output
    return jnp.stack(outputs, axis=1), carry


def total(run, rng):
    """Make a scalar of a run, in which all outputs count differently."""
    share, end_share = draw(rng, B, T, H), draw(rng, B, H)

    def loss(weights, x, carry, is_token, reverse):
        outputs, ends = run(weights, x, carry, is_token, reverse)
        sums = sum((jnp.sin(end) * end_share).sum() for end in ends)
        return (jnp.square(outputs) * share).sum() + sums

    return loss


@pytest.mark.parametrize("reverse", [False, True])
def test_a_run_is_a_loop_over_rows_and_times(
    cell, weights, x, carry, is_token, reverse
):
    expected = numpy_run(cell, weights, x, carry, np.asarray(is_token), reverse)
    got = run_cell(cell, weights, x, carry, is_token, reverse=reverse)
    close(got, expected)


def test_a_loop_of_steps_is_a_run(cell, weights, x, carry, is_token):
    got = run_cell(cell, weights, x, carry, is_token)
    close(got, naive_run(cell, weights, x, carry, is_token))


def runs(cell):
    """Give our run and the naive one, with the same arguments."""

    def ours(weights, x, carry, is_token, reverse):
        return run_cell(cell, weights, x, carry, is_token, reverse=reverse)

    def naive(weights, x, carry, is_token, reverse):
        return naive_run(cell, weights, x, carry, is_token, reverse=reverse)

    return ours, naive


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_those_of_the_naive_loop(
    cell, weights, x, carry, is_token, reverse, masked
):
    mask = is_token if masked else None
    grads = [
        jax.jit(
            jax.grad(total(run, np.random.default_rng(1)), argnums=(0, 1, 2)),
            static_argnums=4,
        )(weights, x, carry, mask, reverse)
        for run in runs(cell)
    ]
    close(*grads, tolerance=GRADIENT)


@pytest.mark.slow
def test_gradients_of_gradients_are_those_of_the_naive_loop(
    cell, weights, x, carry, is_token
):
    def penalty(run):
        loss = total(run, np.random.default_rng(1))

        def norm(*arguments):
            grads = jax.grad(loss, argnums=(0, 1, 2))(*arguments, is_token, False)
            return sum(jnp.square(grad).sum() for grad in jax.tree.leaves(grads))

        return jax.jit(jax.grad(norm, argnums=(0, 1, 2)))

    close(*(penalty(run)(weights, x, carry) for run in runs(cell)), tolerance=GRADIENT)


def lengths_to_tokens(lengths):
    return jnp.arange(T)[None] < jnp.asarray(lengths)[:, None]


@pytest.mark.slow
def test_a_padded_batch_is_each_row_alone(cell, x, key):
    stack = RecurrentStack(H, 2, cell, bidirectional=True)
    variables = jitted_init(stack, key, x, train=False)
    lengths = [5, 2, 4]
    tokens = lengths_to_tokens(lengths)
    outputs, ends = stack.apply(variables, x, None, tokens, train=False)
    for row, length in enumerate(lengths):
        alone, alone_ends = jitted_apply(
            stack, variables, x[row : row + 1, :length], train=False
        )
        close(outputs[row, :length], alone[0])
        assert not outputs[row, length:].any()
        close(jax.tree.map(lambda end, row=row: end[row : row + 1], ends), alone_ends)


def test_what_stands_in_padding_does_not_matter(cell, x, key):
    stack = RecurrentStack(H, 1, cell, bidirectional=True)
    variables = jitted_init(stack, key, x, train=False)
    tokens = lengths_to_tokens([5, 2, 0])
    other = jnp.where(tokens[..., None], x, 1e3)

    def loss(x):
        outputs, ends = stack.apply(variables, x, None, tokens, train=False)
        return jnp.square(outputs).sum(), (outputs, ends)

    grad = jax.jit(jax.grad(loss, has_aux=True))
    (d_x, results), (d_other, others) = grad(x), grad(other)
    jax.tree.map(np.testing.assert_array_equal, results, others)
    np.testing.assert_array_equal(d_x, d_other)
    assert not d_x[~tokens].any()
    assert not results[0][2].any()  # a row without tokens


def test_two_halves_are_the_whole(cell, x, key):
    stack = RecurrentStack(H, 2, cell)
    variables = jitted_init(stack, key, x, train=False)
    whole = jitted_apply(stack, variables, x, train=False)
    first, carry = jitted_apply(stack, variables, x[:, :2], train=False)
    second, carry = jitted_apply(stack, variables, x[:, 2:], carry, train=False)
    close((jnp.concatenate([first, second], axis=1), carry), whole)


def test_parameters_and_their_start(cell, x, key):
    params = jitted_init(
        RecurrentStack(H, 2, cell, bidirectional=True), key, x, train=False
    )
    shapes = {p: leaf.shape for p, leaf in flat_paths(params["params"]).items()}
    columns = GATES[cell] * H
    assert shapes["layer_0/input_kernel"] == (D, columns)
    assert shapes["layer_1_reverse/input_kernel"] == (2 * H, columns)
    assert shapes["layer_1/hidden_kernel"] == (H, columns)
    assert len(shapes) == 4 * (4 if cell == "gru" else 3)
    for layer in params["params"].values():
        for kernel in np.split(layer["hidden_kernel"], GATES[cell], axis=1):
            np.testing.assert_allclose(kernel @ kernel.T, np.eye(H), atol=1e-6)
        bias = np.zeros(columns)
        if cell == "lstm":
            bias[H : 2 * H] = 1  # gates i, f, g, o
        np.testing.assert_array_equal(layer["bias"], bias)


def test_each_gate_of_the_input_kernel_is_drawn_as_a_matrix(key):
    layer = Recurrent(64, "lstm", forget_bias=0.5)
    params = jitted_init(layer, key, jnp.zeros((1, 1, 64)))["params"]
    bound = np.sqrt(6 / (64 + 64))  # xavier uniform of a 64 x 64 matrix
    for kernel in np.split(np.abs(params["input_kernel"]), 4, axis=1):
        assert 0.95 * bound < kernel.max() <= bound
    np.testing.assert_array_equal(params["bias"].reshape(4, 64).max(1), [0, 0.5, 0, 0])


def test_dropout_is_between_layers_and_while_training(x, key):
    def outputs(depth, train):
        stack = RecurrentStack(H, depth, "gru", dropout_rate=0.5)
        variables = stack.init(jax.random.key(1), x, train=False)
        rngs = {"dropout": jax.random.clone(key)}
        return stack.apply(variables, x, train=train, rngs=rngs)[0]

    np.testing.assert_array_equal(outputs(1, True), outputs(1, False))
    assert np.abs(outputs(2, True) - outputs(2, False)).max() > 0.01


def test_bfloat16_is_close_and_keeps_the_carry_in_float32(cell, x, key):
    layer = Recurrent(H, cell)
    variables = jitted_init(layer, key, x)
    expected, expected_end = jitted_apply(layer, variables, x)
    outputs, end = jitted_apply(layer.clone(dtype=jnp.bfloat16), variables, x)
    assert outputs.dtype == jnp.bfloat16
    assert {part.dtype for part in end} == {jnp.dtype("float32")}
    close(outputs.astype(jnp.float32), expected, tolerance=BFLOAT16)
    close(end, expected_end, tolerance=BFLOAT16)
    grads = jax.grad(
        lambda v: layer.clone(dtype=jnp.bfloat16).apply(v, x)[0].sum().astype("float32")
    )(variables)
    assert all(g.dtype == jnp.float32 for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"depth": 0}, "depth 0 must be at least 1"),
        ({"dropout_rate": 1.0}, "dropout_rate 1.0 must be at least 0 and below 1"),
    ],
)
def test_fields_that_make_no_network_are_refused(fields, match, x, key):
    with pytest.raises(InputError, match=match):
        jitted_init(RecurrentStack(**{"width": H, **fields}), key, x, train=False)


def test_a_carry_of_another_network_is_refused(x, key):
    stack = RecurrentStack(H, 2, "lstm")
    variables = jitted_init(stack, key, x, train=False)
    pair = (jnp.zeros((B, H)), jnp.zeros((B, H)))
    with pytest.raises(InputError, match="1 carries do not fit 2 layers"):
        jitted_apply(stack, variables, x, (pair,), train=False)
    with pytest.raises(InputError, match=r"of 1 arrays of width 2 .* 2 of width 2"):
        jitted_apply(stack, variables, x, (pair[:1], pair), train=False)
