"""Recurrent cells, and their scan over time with a derivative rule of its own.

The derivative that JAX gives a scan adds to the gradient of each kernel at every step:
a matrix as large as the kernel is read and written T times. Here the scan backwards
finds the gradients of the pre-activations alone; those of the kernels are one product
of matrices over all times. Inside, arrays lie features first and batch last,
(t, d, b): `kernel @ state` is the orientation that XLA multiplies fastest on a CPU, and
gates are contiguous.
"""

import functools
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Bool, Float

__all__ = ["GATES", "Carry", "Cell", "CellWeights", "run_cell", "step_cell"]

Cell: TypeAlias = Literal["rnn", "gru", "lstm"]
Carry: TypeAlias = tuple[Array, ...]  # hidden state first; an LSTM's cell second

GATES: dict[str, int] = {"rnn": 1, "gru": 3, "lstm": 4}


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
    columns = _wide(product).T
    if weights.hidden_bias is not None:
        columns = _add_hidden_bias(columns, weights.hidden_bias)
    wide = tuple(part.T for part in carry)
    sums = _sums(cell, _wide(projected).T, columns)
    return tuple(part.T for part in _activate(cell, sums, wide))


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
    hidden, end = _run(cell, reverse, weights, x.transpose(1, 2, 0), start, keep)
    outputs = hidden.transpose(2, 0, 1).astype(x.dtype)
    if is_token is not None:
        outputs = jnp.where(is_token[..., None], outputs, 0)
    return outputs, tuple(part.T for part in end)


def _wide(array: Array) -> Array:
    return array.astype(jnp.float32)


def _add_hidden_bias(product: Array, hidden_bias: Array) -> Array:
    """Add the bias of the candidate, the last third of the rows."""
    size = len(hidden_bias)
    bias = jnp.pad(_wide(hidden_bias), (2 * size, 0))
    return product + bias[:, None]


def _sums(cell: Cell, from_input: Array, from_hidden: Array) -> Array:
    """Add what comes from the input and from the state, where the cell adds them."""
    if cell != "gru":
        return from_input + from_hidden
    cut = 2 * (len(from_input) // 3)
    both = from_input[:cut] + from_hidden[:cut]
    return jnp.concatenate([both, from_input[cut:], from_hidden[cut:]])


def _activate(cell: Cell, sums: Array, carry: Carry) -> Carry:
    """Turn sums (gates * h, b) and a carry (h, b) to the next carry."""
    if cell == "rnn":
        return (jnp.tanh(sums),)
    if cell == "gru":
        r, z, n_input, n_hidden = jnp.split(sums, 4)
        z = jax.nn.sigmoid(z)
        n = jnp.tanh(n_input + jax.nn.sigmoid(r) * n_hidden)
        return ((1 - z) * n + z * carry[0],)
    i, f, g, o = jnp.split(sums, 4)
    memory = jax.nn.sigmoid(f) * carry[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(memory), memory


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(
    cell: Cell,
    reverse: bool,
    weights: CellWeights,
    x: Float[Array, "t d b"],
    carry: Carry,
    keep: Bool[Array, "t 1 b"] | None,
) -> tuple[Float[Array, "t h b"], Carry]:
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
    """Run, and keep the sums and carries of all times for the way back."""
    input_kernel, hidden_kernel = weights.input_kernel.T, weights.hidden_kernel.T
    bias = _wide(weights.bias)[:, None]

    def step(carry: Carry, now: tuple[Array, Array | None]) -> tuple[Carry, Any]:
        x, keep = now
        from_input = _wide(input_kernel @ x) + bias
        from_hidden = _wide(hidden_kernel @ carry[0].astype(x.dtype))
        if weights.hidden_bias is not None:
            from_hidden = _add_hidden_bias(from_hidden, weights.hidden_bias)
        sums = _sums(cell, from_input, from_hidden)
        after = _freeze(keep, _activate(cell, sums, carry), carry)
        return after, (after[0], carry, sums)

    end, (hidden, befores, sums) = jax.lax.scan(step, carry, (x, keep), reverse=reverse)
    return (hidden, end), (weights, x, keep, befores, sums)


def _freeze(keep: Array | None, after: Carry, before: Carry) -> Carry:
    if keep is None:
        return after
    return tuple(jnp.where(keep, a, b) for a, b in zip(after, before, strict=True))


def _run_backward(cell: Cell, reverse: bool, saved: Any, cotangents: Any) -> Any:
    """Walk back with the gradients of the sums; multiply for the kernels at the end."""
    weights, x, keep, befores, sums = saved
    d_hidden, d_end = cotangents
    dtype = x.dtype

    def step(d_carry: Carry, now: Any) -> tuple[Carry, Any]:
        d_output, before, sums, keep = now
        d_carry = (d_carry[0] + d_output, *d_carry[1:])
        _, pull = jax.vjp(
            lambda s, c: _freeze(keep, _activate(cell, s, c), c), sums, before
        )
        d_sums, d_before = pull(d_carry)
        d_sums = d_sums.astype(dtype)
        d_input, d_product = _shares(cell, d_sums)
        d_x = weights.input_kernel @ d_input
        from_product = _wide(weights.hidden_kernel @ d_product)
        return (d_before[0] + from_product, *d_before[1:]), (d_sums, d_x)

    d_start, (d_sums, d_x) = jax.lax.scan(
        step, d_end, (d_hidden, befores, sums, keep), reverse=not reverse
    )
    d_input, d_product = _shares(cell, d_sums, axis=1)
    d_weights = CellWeights(
        jnp.einsum("tdb,tgb->dg", x, d_input),
        jnp.einsum("thb,tgb->hg", befores[0].astype(dtype), d_product),
        _wide(d_input).sum((0, 2)).astype(weights.bias.dtype),
        None
        if weights.hidden_bias is None
        else _wide(d_product)[:, -len(weights.hidden_bias) :]
        .sum((0, 2))
        .astype(weights.hidden_bias.dtype),
    )
    return d_weights, d_x, d_start, None


def _shares(cell: Cell, d_sums: Array, axis: int = 0) -> tuple[Array, Array]:
    """Give the gradients of what came from the input and from the state."""
    if cell != "gru":
        return d_sums, d_sums
    r, z, n_input, n_hidden = jnp.split(d_sums, 4, axis)
    share = functools.partial(jnp.concatenate, axis=axis)
    return share([r, z, n_input]), share([r, z, n_hidden])


_run.defvjp(_run_forward, _run_backward)
