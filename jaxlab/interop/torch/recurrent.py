"""Weights of torch's `nn.LSTM`, `nn.GRU` and `nn.RNN`, to and from `RecurrentStack`.

torch keeps two biases for each gate, which only ever occur as a sum; we keep the sum.
The candidate of a GRU is the exception: its second bias is scaled by the reset gate.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Params
from jaxlab.interop.key_table import LINEAR, Rule, to_params, to_weights
from jaxlab.interop.weight_files import Source, read_weights
from jaxlab.nn.recurrent import Cell, RecurrentStack

__all__ = ["Nonlinearity", "load_torch_rnn", "to_torch_rnn"]

Nonlinearity: TypeAlias = Literal["tanh", "relu"]

_CELLS: dict[int, Cell] = {1: "rnn", 3: "gru", 4: "lstm"}  # by the number of gates
_ELMAN: dict[str, Cell] = {"tanh": "rnn", "relu": "rnn_relu"}
# The layout of torch as a tree of ours, before its two biases become one.
_RULES = [
    rule
    for suffix in ("", "_reverse")
    for rule in (
        Rule(f"weight_ih_l{{i}}{suffix}", f"layer_{{i}}{suffix}/input_kernel", LINEAR),
        Rule(f"weight_hh_l{{i}}{suffix}", f"layer_{{i}}{suffix}/hidden_kernel", LINEAR),
        Rule(f"bias_ih_l{{i}}{suffix}", f"layer_{{i}}{suffix}/input_bias"),
        Rule(f"bias_hh_l{{i}}{suffix}", f"layer_{{i}}{suffix}/hidden_bias"),
    )
]


def load_torch_rnn(
    source: Source, *, nonlinearity: Nonlinearity | None = None, **fields: Any
) -> tuple[RecurrentStack, Params]:
    """Load a `torch.nn.LSTM`, `GRU` or `RNN`, of any depth and directions.

    Args:
        source: Arrays or torch tensors by key, such as `module.state_dict()`, or a
            `.safetensors` file. They tell cell, sizes, depth and directions; without
            biases (`bias=False`), ours are zeros.
        nonlinearity: Of an `RNN`, its attribute of this name, which no weight tells:
            `tanh` or `relu`. Not of others.
        fields: Other fields of `RecurrentStack`: `dropout_rate`, `dtype`.

    Returns:
        The network, batch first, and its float32 parameters.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named), the
            nonlinearity of an `RNN` is not said, or the network has projections
            (`proj_size`), which ours has not.
    """
    weights = _with_biases(read_weights(source))
    if any(key.startswith("weight_hr_") for key in weights):
        raise InputError(
            "weight_hr_l0 is the projection of a torch LSTM with proj_size, which "
            "RecurrentStack does not have; use proj_size=0"
        )
    sizes = _sizes(weights)
    sizes["cell"] = _checked(sizes["cell"], nonlinearity)
    stack = RecurrentStack(**sizes, **fields)
    in_width = np.shape(weights["weight_ih_l0"])[1]
    shapes = jax.eval_shape(
        lambda key, x: stack.init(key, x, train=False),
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 1, in_width), jnp.float32),
    )["params"]
    torch_shapes = {
        name: {
            "input_kernel": layer["input_kernel"],
            "hidden_kernel": layer["hidden_kernel"],
            "input_bias": layer["bias"],
            "hidden_bias": layer["bias"],
        }
        for name, layer in shapes.items()
    }
    layers = to_params(weights, _RULES, torch_shapes)
    params = {name: _join(stack.cell, layer) for name, layer in layers.items()}
    return stack, jax.tree.map(jnp.asarray, params)


def to_torch_rnn(params: Params) -> dict[str, np.ndarray]:
    """Give the weights of torch's module for the parameters of a `RecurrentStack`.

    `bias_ih` holds the bias and `bias_hh` zeros, but for the candidate of a GRU.

    Raises:
        InputError: If a parameter is none of a `RecurrentStack`.
    """
    layers = {
        name: _split(layer) if "bias" in layer else layer
        for name, layer in params.items()
    }
    return to_weights(layers, _RULES)


def _with_biases(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add zeros where a network was made without any bias."""
    if any(key.startswith("bias_") for key in weights):
        return weights
    zeros = {
        key.replace("weight", "bias", 1): np.zeros(np.shape(weight)[:1], np.float32)
        for key, weight in weights.items()
        if key.startswith(("weight_ih_", "weight_hh_"))
    }
    return {**weights, **zeros}


def _checked(cell: Cell, nonlinearity: str | None) -> Cell:
    """Return the cell, of an RNN that of its nonlinearity, which must be said."""
    if cell == "rnn" and nonlinearity in _ELMAN:
        return _ELMAN[nonlinearity]
    if cell == "rnn":
        raise InputError(
            f"nonlinearity {nonlinearity!r} of a torch RNN is told by none of its "
            "weights; pass 'tanh' or 'relu', its attribute of that name"
        )
    if nonlinearity is not None:
        raise InputError(
            f"nonlinearity {nonlinearity!r} is given for weights of {cell!r}, which "
            "has no choice; leave it out"
        )
    return cell


def _sizes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Tell the fields of a stack from the names and shapes of its weights."""
    for key in ("weight_ih_l0", "weight_hh_l0"):
        if key not in weights:
            raise InputError(
                f"there is no {key} among the weights; pass the state_dict() of a "
                f"torch LSTM, GRU or RNN itself, not of a module that holds it"
            )
    rows, width = np.shape(weights["weight_hh_l0"])
    if rows % width or rows // width not in _CELLS:
        raise InputError(
            f"weight_hh_l0 of shape {(rows, width)} is of no LSTM, GRU or RNN: these "
            f"have 4, 3 and 1 times as many rows as columns"
        )
    depth = sum(bool(re.fullmatch(r"weight_ih_l\d+", key)) for key in weights)
    return {
        "width": width,
        "depth": depth,
        "cell": _CELLS[rows // width],
        "bidirectional": "weight_ih_l0_reverse" in weights,
    }


def _join(cell: Cell, layer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add the two biases, but for the candidate of a GRU."""
    first, second = layer["input_bias"], layer["hidden_bias"]
    ours = {name: layer[name] for name in ("input_kernel", "hidden_kernel")}
    if cell != "gru":
        return {**ours, "bias": first + second}
    cut = 2 * (len(first) // 3)
    bias = np.concatenate([first[:cut] + second[:cut], first[cut:]])
    return {**ours, "bias": bias, "hidden_bias": second[cut:]}


def _split(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `_join`, with zeros for what was added."""
    zeros = np.zeros_like(layer["bias"])
    second = zeros
    if "hidden_bias" in layer:
        own = np.asarray(layer["hidden_bias"])
        second = np.concatenate([zeros[: -len(own)], own])
    others = {k: v for k, v in layer.items() if k not in ("bias", "hidden_bias")}
    return {**others, "input_bias": layer["bias"], "hidden_bias": second}
