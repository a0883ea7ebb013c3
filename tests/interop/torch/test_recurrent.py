"""Tests of `jaxlab.interop.torch.recurrent`: torch's recurrent layers beside ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.interop.torch.recurrent import load_torch_rnn, to_torch_rnn
from tests.closeness import relative_error
from tests.jitted import jitted_apply, jitted_init

GATES = {"rnn": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
CLASSES = {"rnn": "RNN", "rnn_relu": "RNN", "gru": "GRU", "lstm": "LSTM"}
# What torch calls them, and what no weight tells.
TOLD = {"rnn": {"nonlinearity": "tanh"}, "rnn_relu": {"nonlinearity": "relu"}}
LENGTHS = np.array([6, 3, 4])

# Relative to the largest value; both sum in float32, in another order (3e-7 is seen).
PARITY = 1e-6
# Gradients are sums over all times and rows (1e-6 is seen).
GRADIENT_PARITY = 5e-6


def torch_weights(rng, cell, *, in_width=5, width=4, depth=2, bidirectional=True):
    """Draw weights with the keys and shapes of torch."""
    rows, directions = GATES[cell] * width, 1 + bidirectional
    weights = {}
    for index in range(depth):
        for suffix in ("", "_reverse")[:directions]:
            columns = directions * width if index else in_width
            for name, shape in {
                "weight_ih": (rows, columns),
                "weight_hh": (rows, width),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }.items():
                array = rng.normal(size=shape).astype(np.float32)
                weights[f"{name}_l{index}{suffix}"] = array
    return weights


@pytest.mark.parametrize("cell", GATES)
def test_weights_tell_the_network(rng, cell):
    stack, params = load_torch_rnn(
        torch_weights(rng, cell, depth=3), dropout_rate=0.1, **TOLD.get(cell, {})
    )
    assert (stack.cell, stack.width, stack.depth) == (cell, 4, 3)
    assert stack.bidirectional
    assert stack.dropout_rate == 0.1
    assert params["layer_0"]["input_kernel"].shape == (5, GATES[cell] * 4)
    assert params["layer_2_reverse"]["input_kernel"].shape == (8, GATES[cell] * 4)
    assert len(params) == 6


@pytest.mark.parametrize("cell", GATES)
def test_parameters_out_and_in_again_are_the_same(rng, cell):
    told = TOLD.get(cell, {})
    _, params = load_torch_rnn(torch_weights(rng, cell), **told)
    weights = to_torch_rnn(params)
    assert weights.keys() == torch_weights(rng, cell).keys()
    assert not weights["bias_hh_l0"][: 2 * 4 if cell == "gru" else None].any()
    again = load_torch_rnn(weights, **told)[1]
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_missing_and_foreign_weights_are_named(rng):
    weights = torch_weights(rng, "lstm")
    del weights["bias_hh_l1"], weights["bias_ih_l1"]
    with pytest.raises(InputError, match="missing: bias_hh_l1, bias_ih_l1"):
        load_torch_rnn(weights)
    with pytest.raises(InputError, match=r"not known: decoder\.weight"):
        load_torch_rnn(torch_weights(rng, "gru") | {"decoder.weight": np.zeros(3)})
    with pytest.raises(InputError, match="no weight_ih_l0 among"):
        load_torch_rnn({f"rnn.{k}": w for k, w in weights.items()})


def test_what_is_not_offered_is_refused(rng):
    weights = torch_weights(rng, "lstm") | {"weight_hr_l0": np.zeros((2, 4))}
    with pytest.raises(InputError, match="proj_size"):
        load_torch_rnn(weights)
    odd = torch_weights(rng, "lstm") | {"weight_hh_l0": np.zeros((8, 4))}
    with pytest.raises(InputError, match="of no LSTM, GRU or RNN"):
        load_torch_rnn(odd)
    _, params = load_torch_rnn(torch_weights(rng, "lstm"))
    with pytest.raises(InputError, match="with no counterpart: head/kernel"):
        to_torch_rnn({**params, "head": {"kernel": np.zeros((4, 2))}})


def test_the_nonlinearity_of_an_rnn_must_be_said(rng):
    with pytest.raises(InputError, match=r"nonlinearity None .* 'tanh' or 'relu'"):
        load_torch_rnn(torch_weights(rng, "rnn"))
    with pytest.raises(InputError, match="weights of 'gru', which has no choice"):
        load_torch_rnn(torch_weights(rng, "gru"), nonlinearity="relu")


@pytest.mark.parametrize("cell", ["rnn_relu", "gru", "lstm"])
def test_a_network_without_biases_has_zeros(rng, cell):
    weights = torch_weights(rng, cell)
    zeros = {k: 0 * w if k.startswith("bias") else w for k, w in weights.items()}
    without = {k: w for k, w in weights.items() if not k.startswith("bias")}
    stacks = [load_torch_rnn(w, **TOLD.get(cell, {})) for w in (zeros, without)]
    assert stacks[0][0] == stacks[1][0]
    jax.tree.map(np.testing.assert_array_equal, stacks[0][1], stacks[1][1])


def torch_module(cell, depth, bidirectional):
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, CLASSES[cell])(
        5,
        4,
        depth,
        batch_first=True,
        bidirectional=bidirectional,
        **TOLD.get(cell, {}),
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.6, 0.6)
    return torch, module


def starts(rng, cell, count):
    """Draw a first carry for each of `count` layers and directions."""
    parts = 2 if cell == "lstm" else 1
    return [rng.normal(size=(count, 3, 4)).astype(np.float32) for _ in range(parts)]


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("depth", "bidirectional"), [(1, False), (2, True)])
@pytest.mark.parametrize("cell", GATES)
def test_outputs_carries_and_gradients_are_those_of_torch(
    rng, cell, depth, bidirectional, packed
):
    torch, module = torch_module(cell, depth, bidirectional)
    stack, params = load_torch_rnn(module.state_dict(), **TOLD.get(cell, {}))
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    carry = starts(rng, cell, depth * (1 + bidirectional))
    theirs, start = torch.tensor(x, requires_grad=True), list(map(torch.tensor, carry))
    inputs = theirs
    if packed:
        inputs = torch.nn.utils.rnn.pack_padded_sequence(
            theirs, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
        )
    expected, ends = module(inputs, tuple(start) if cell == "lstm" else start[0])
    if packed:
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)
    ends = ends if cell == "lstm" else (ends,)
    weight = rng.normal(size=expected.shape).astype(np.float32)
    loss = (expected * torch.tensor(weight)).sum() + sum((e**2).sum() for e in ends)
    loss.backward()

    is_token = jnp.arange(6)[None] < LENGTHS[:, None] if packed else None
    ours = tuple(zip(*map(jnp.asarray, carry), strict=True))

    @jax.jit
    def run(params, x):
        outputs, ends = stack.apply({"params": params}, x, ours, is_token, train=False)
        squares = sum((part**2).sum() for part in jax.tree.leaves(ends))
        return (outputs * weight).sum() + squares, (outputs, ends)

    grad = jax.grad(run, argnums=(0, 1), has_aux=True)
    (d_params, d_x), (outputs, our_ends) = grad(params, jnp.asarray(x))
    assert relative_error(outputs, expected.detach()) < PARITY
    for part, end in enumerate(ends):
        stacked = np.stack([carry[part] for carry in our_ends])
        assert relative_error(stacked, end.detach()) < PARITY
    assert relative_error(d_x, theirs.grad) < GRADIENT_PARITY
    names = dict(module.named_parameters())
    for layer, d_layer in d_params.items():
        suffix = layer.removeprefix("layer_")
        for name, other in {
            "input_kernel": "weight_ih",
            "hidden_kernel": "weight_hh",
            "bias": "bias_ih",
        }.items():
            d_theirs = names[f"{other}_l{suffix}"].grad.numpy().T
            assert relative_error(d_layer[name], d_theirs) < GRADIENT_PARITY
        if cell == "gru":
            d_theirs = names[f"bias_hh_l{suffix}"].grad[-4:]
            assert relative_error(d_layer["hidden_bias"], d_theirs) < GRADIENT_PARITY


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("cell", GATES)
def test_torch_runs_our_parameters(rng, key, cell):
    torch, module = torch_module(cell, 2, True)
    stack, _ = load_torch_rnn(module.state_dict(), **TOLD.get(cell, {}))
    x = jnp.asarray(rng.normal(size=(3, 6, 5)), jnp.float32)
    variables = jitted_init(stack, key, x, train=False)
    weights = {k: torch.tensor(w) for k, w in to_torch_rnn(variables["params"]).items()}
    module.load_state_dict(weights)
    with torch.no_grad():
        expected, _ = module(torch.tensor(np.asarray(x)))
    outputs, _ = jitted_apply(stack, variables, x, train=False)
    assert relative_error(outputs, expected) < PARITY


@pytest.mark.peer
def test_a_safetensors_file_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    save = pytest.importorskip("safetensors.torch").save_file
    theirs = torch.nn.GRU(3, 4)
    save(theirs.state_dict(), tmp_path / "gru.safetensors")
    _, expected = load_torch_rnn(theirs.state_dict())
    _, found = load_torch_rnn(tmp_path / "gru.safetensors")
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_torch_rnn(str(tmp_path / "broken.safetensors"))
