"""Recurrent cells, and their scan over time with a derivative rule of its own.

The derivative that JAX gives a scan adds to the gradient of each kernel at every step:
a matrix as large as the kernel is read and written T times. Here the scan backwards
finds the gradients of the gates alone; those of the kernels are one product of matrices
over all times. Inside a step, arrays lie features first, (h, b): `kernel @ state` is
the orientation that XLA multiplies fastest on a CPU, and gates are contiguous.
"""

import functools
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Bool, Float

__all__ = ["GATES", "Carry", "Cell", "CellWeights", "run_cell", "step_cell"]

Cell: TypeAlias = Literal["rnn", "rnn_relu", "gru", "lstm"]
Carry: TypeAlias = tuple[Array, ...]  # hidden state first; an LSTM's cell second

GATES: dict[str, int] = {"rnn": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


class CellWeights(NamedTuple):
    """Parameters of one cell, gates side by side: LSTM i, f, g, o; GRU r, z, n.

    Attributes:
        input_kernel: `(d, gates * h)`.
        hidden_kernel: `(h, gates * h)`.
        bias: `(gates * h,)`.
        hidden_bias: `(h,)`, a GRU's inside its reset gate; None for others.
    """

    input_kernel: Array
    hidden_kernel: Array
    bias: Array
    hidden_bias: Array | None = None


def step_cell(
    cell: Cell,
    weights: CellWeights,
    projected: Float[Array, "b gates_h"],
    carry: Carry,
) -> Carry:
    r"""Take one step with an input that is already projected.

    $$
    \begin{aligned}
    \text{rnn:}\quad & h = \tanh(Wx + Uh' + b) \\
    \text{rnn\_relu:}\quad & h = \max(Wx + Uh' + b, 0) \\
    \text{lstm:}\quad & c = \sigma(f) c' + \sigma(i) \tanh(g) \\
    & h = \sigma(o) \tanh(c) \\
    \text{gru:}\quad & h = (1 - z) \tanh(n_x + r\,(Uh' + b_h)) + z h'
    \end{aligned}
    $$

    Args:
        cell: Which.
        weights: Its parameters; `input_kernel` and `bias` are not read.
        projected: `x @ input_kernel + bias`.
        carry: `(hidden,)`, or `(hidden, cell)` of an LSTM, each (b, h).

    Returns:
        The next carry; the output is its first array.

    References:
        Elman 1990, "Finding Structure in Time"; Hochreiter & Schmidhuber 1997, "Long
        Short-Term Memory", with the forget gate of Gers et al. 2000, "Learning to
        Forget"; Cho et al. 2014, https://arxiv.org/abs/1406.1078, with the reset gate
        behind the product as in cuDNN and torch.
    """
    product = carry[0].astype(projected.dtype) @ weights.hidden_kernel
    after, _ = _advance(
        cell,
        _wide(projected).T,
        _add_hidden_bias(_wide(product).T, weights.hidden_bias),
        tuple(part.T for part in carry),
    )
    return tuple(part.T for part in after)


def run_cell(
    cell: Cell,
    weights: CellWeights,
    x: Float[Array, "b t d"],
    carry: Carry,
    is_token: Bool[Array, "b t"] | None = None,
    *,
    reverse: bool = False,
) -> tuple[Float[Array, "b t h"], Carry]:
    """Run a cell over time.

    Args:
        cell: Which.
        weights: Its parameters, in the dtype of the products of matrices.
        x: Inputs.
        carry: Start, float32: `(hidden,)`, or `(hidden, cell)` of an LSTM.
        is_token: False at padding, where the carry stays and the output is zero.
        reverse: From the last time to the first.

    Returns:
        Outputs in the dtype of `x`, and the carry after the last step, in float32.
    """
    keep = None if is_token is None else is_token.T[:, None, :]
    start = tuple(part.T for part in carry)
    hidden, end = _run(cell, reverse, weights, jnp.swapaxes(x, 0, 1), start, keep)
    outputs = jnp.swapaxes(hidden, 0, 1).astype(x.dtype)
    if is_token is not None:
        outputs = jnp.where(is_token[..., None], outputs, 0)
    return outputs, tuple(part.T for part in end)


def _wide(array: Array) -> Array:
    return array.astype(jnp.float32)


def _add_hidden_bias(product: Array, hidden_bias: Array | None) -> Array:
    """Add the bias of a GRU's candidate, the last third of the rows."""
    if hidden_bias is None:
        return product
    bias = jnp.pad(_wide(hidden_bias), (2 * len(hidden_bias), 0))
    return product + bias[:, None]


def _advance(
    cell: Cell, from_input: Array, from_hidden: Array, carry: Carry
) -> tuple[Carry, tuple[Array, ...]]:
    """Give the next carry (h, b), and what its derivative needs."""
    sigmoid, tanh = jax.nn.sigmoid, jnp.tanh
    if cell == "rnn":
        hidden = tanh(from_input + from_hidden)
        return (hidden,), (hidden,)
    if cell == "rnn_relu":
        hidden = jax.nn.relu(from_input + from_hidden)
        return (hidden,), (hidden,)
    if cell == "gru":
        r, z, n = jnp.split(from_input, 3)
        r_hidden, z_hidden, n_hidden = jnp.split(from_hidden, 3)
        r, z = sigmoid(r + r_hidden), sigmoid(z + z_hidden)
        n = tanh(n + r * n_hidden)
        return ((1 - z) * n + z * carry[0],), (r, z, n, n_hidden, carry[0])
    i, f, g, o = jnp.split(from_input + from_hidden, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    memory = f * carry[1] + i * g
    return (o * tanh(memory), memory), (i, f, g, o, carry[1])


def _retreat(
    cell: Cell, gates: tuple[Array, ...], d_after: Carry
) -> tuple[list[Array], list[Array], Carry]:
    """Undo `_advance` for gradients.

    Returns:
        Gradients of `from_hidden` by gate, of `from_input` by gate, and of the carry
        before, without its way through `from_hidden`.
    """
    d_hidden = d_after[0]
    if cell == "rnn":
        sums = [d_hidden * (1 - gates[0] * gates[0])]
        return sums, sums, (jnp.zeros_like(d_hidden),)
    if cell == "rnn_relu":
        sums = [jnp.where(gates[0] > 0, d_hidden, 0)]
        return sums, sums, (jnp.zeros_like(d_hidden),)
    if cell == "gru":
        r, z, n, n_hidden, before = gates
        d_n = d_hidden * (1 - z) * (1 - n * n)
        d_r = d_n * n_hidden * r * (1 - r)
        d_z = d_hidden * (before - n) * z * (1 - z)
        return [d_r, d_z, d_n * r], [d_r, d_z, d_n], (d_hidden * z,)
    i, f, g, o, before = gates
    tanh = jnp.tanh(f * before + i * g)
    d_memory = d_after[1] + d_hidden * o * (1 - tanh * tanh)
    sums = [
        d_memory * g * i * (1 - i),
        d_memory * before * f * (1 - f),
        d_memory * i * (1 - g * g),
        d_hidden * tanh * o * (1 - o),
    ]
    return sums, sums, (jnp.zeros_like(d_hidden), d_memory * f)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(
    cell: Cell,
    reverse: bool,
    weights: CellWeights,
    x: Float[Array, "t b d"],
    carry: Carry,
    keep: Bool[Array, "t 1 b"] | None,
) -> tuple[Float[Array, "t b h"], Carry]:
    """Give all hidden states, frozen where `keep` is False, and the last carry."""
    return _run_forward(cell, reverse, weights, x, carry, keep)[0]


def _run_forward(
    cell: Cell,
    reverse: bool,
    weights: CellWeights,
    x: Array,
    carry: Carry,
    keep: Array | None,
) -> tuple[tuple[Array, Carry], Any]:
    """Run, and keep the gates and carries of all times for the way back."""
    input_kernel, hidden_kernel = weights.input_kernel.T, weights.hidden_kernel.T
    bias = _wide(weights.bias)[:, None]

    def step(carry: Carry, now: tuple[Array, Array | None]) -> tuple[Carry, Any]:
        x, keep = now
        # Projected here and not for all times before: the sums stay in the cache.
        from_input = _wide(input_kernel @ x.T) + bias
        product = _wide(hidden_kernel @ carry[0].astype(x.dtype))
        from_hidden = _add_hidden_bias(product, weights.hidden_bias)
        after, gates = _advance(cell, from_input, from_hidden, carry)
        if keep is not None:
            after = _choose(keep, after, carry)
        return after, (after[0].T, carry[0].T, gates)

    end, (hidden, *saved) = jax.lax.scan(step, carry, (x, keep), reverse=reverse)
    return (hidden, end), (weights, x, keep, *saved)


def _choose(keep: Array, first: Carry, second: Carry) -> Carry:
    return tuple(jnp.where(keep, a, b) for a, b in zip(first, second, strict=True))


def _run_backward(cell: Cell, reverse: bool, saved: Any, cotangents: Any) -> Any:
    """Walk back with the gradients of the gates, then multiply for the kernels."""
    weights, x, keep, hidden, gates = saved
    d_outputs, d_end = cotangents
    dtype, is_gru = x.dtype, cell == "gru"

    def step(d_carry: Carry, now: Any) -> tuple[Carry, Any]:
        d_output, gates, keep = now
        d_carry = (d_carry[0] + d_output.T, *d_carry[1:])
        d_after, zeros = d_carry, jax.tree.map(jnp.zeros_like, d_carry)
        if keep is not None:
            d_after = _choose(keep, d_carry, zeros)
        for_hidden, for_input, d_before = _retreat(cell, gates, d_after)
        d_product = _stack_rows(for_hidden).astype(dtype)
        d_input = _stack_rows(for_input).astype(dtype) if is_gru else None
        d_hidden = d_before[0] + _wide(weights.hidden_kernel @ d_product)
        d_before = (d_hidden, *d_before[1:])
        if keep is not None:
            d_before = _choose(keep, d_before, d_carry)
        return d_before, (d_product.T, None if d_input is None else d_input.T)

    d_start, (d_product, d_input) = jax.lax.scan(
        step, d_end, (d_outputs, gates, keep), reverse=not reverse
    )
    d_input = d_product if d_input is None else d_input
    d_hidden_bias = None
    if weights.hidden_bias is not None:
        d_candidate = _wide(d_product)[..., -len(weights.hidden_bias) :]
        d_hidden_bias = d_candidate.sum((0, 1)).astype(dtype)
    d_weights = CellWeights(
        jnp.einsum("tbd,tbg->dg", x, d_input),
        jnp.einsum("tbh,tbg->hg", hidden.astype(dtype), d_product),
        _wide(d_input).sum((0, 1)).astype(dtype),
        d_hidden_bias,
    )
    d_x = jnp.einsum("dg,tbg->tbd", weights.input_kernel, d_input)
    return d_weights, d_x, d_start, None


def _stack_rows(parts: list[Array]) -> Array:
    """Concatenate (h, b) by writing in place.

    Fused with what makes the parts, a concatenation is slower on a CPU.
    """
    rows, columns = parts[0].shape
    out = jax.lax.empty((len(parts) * rows, columns), parts[0].dtype)
    for index, part in enumerate(parts):
        out = jax.lax.dynamic_update_slice(out, part, (index * rows, 0))
    return out


_run.defvjp(_run_forward, _run_backward)
