"""Layers of recurrent cells: one direction or two, one layer or many.

The cells and their scan are in `recurrent_kernels`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Count, Rate, check_fields
from jaxlab.core.typing import Array, Bool, Float
from jaxlab.nn.dropout import Dropout
from jaxlab.nn.recurrent_kernels import (
    GATES,
    Carry,
    Cell,
    CellWeights,
    run_cell,
)

__all__ = ["Carry", "Cell", "Recurrent", "RecurrentStack", "StackCarry"]

# Of a stack: a carry for each layer and direction, in torch's order (layer 0 forwards,
# layer 0 backwards, layer 1 forwards, ...). Rows come first in every array.
StackCarry = tuple[Carry, ...]


def _per_gate(init: Any, gates: int) -> Any:
    """Draw the kernels of all gates, side by side, each as a matrix of its own."""

    def draw(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
        one = (shape[0], shape[1] // gates)
        parts = [init(k, one, dtype) for k in jax.random.split(key, gates)]
        return jnp.concatenate(parts, axis=1)

    return draw


class Recurrent(nn.Module):
    """One layer in one direction.

    Kernels of the input start as Xavier's (Glorot & Bengio 2010), those of the state
    orthogonal, which keeps the length of gradients over long lags (Saxe et al. 2014,
    https://arxiv.org/abs/1312.6120), each gate by itself; biases are zero but for the
    forget gate.

    Attributes:
        width: Of the state and the outputs.
        cell: `rnn` (Elman, tanh), `rnn_relu` (Le et al. 2015), `gru` or `lstm`.
        reverse: Whether time runs from the last token to the first; with padding
            behind a row, it starts at that row's own end.
        forget_bias: Start of the bias of an LSTM's forget gate; 1 keeps memory at the
            beginning (Gers et al. 2000; Jozefowicz et al. 2015, "An Empirical
            Exploration of Recurrent Network Architectures").
        dtype: Of the products of matrices and the outputs; carry, gates and
            parameters are float32.
    """

    width: Count
    cell: Cell = "lstm"
    reverse: bool = False
    forget_bias: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t d"],
        carry: Carry | None = None,
        is_token: Bool[Array, "b t"] | None = None,
    ) -> tuple[Float[Array, "b t h"], Carry]:
        """Run over time.

        Args:
            x: Inputs.
            carry: Start, `(hidden,)` or `(hidden, cell)`; None: zeros.
            is_token: False at padding, where the carry stays as it is and outputs are
                zero.

        Returns:
            Outputs, and the carry after the last token.
        """
        weights = self._weights(x.shape[-1])
        carry = self.initial_carry(len(x)) if carry is None else self._checked(carry)
        return run_cell(
            self.cell,
            weights,
            x.astype(self.dtype),
            carry,
            is_token,
            reverse=self.reverse,
        )

    def initial_carry(self, batch_size: int) -> Carry:
        """Give the carry of zeros."""
        zeros = jnp.zeros((batch_size, self.width))
        return (zeros,) * (2 if self.cell == "lstm" else 1)

    def _checked(self, carry: Carry) -> Carry:
        parts = 2 if self.cell == "lstm" else 1
        if len(carry) != parts or carry[0].shape[-1] != self.width:
            raise InputError(
                f"a carry of {len(carry)} arrays of width {carry[0].shape[-1]} is not "
                f"that of cell {self.cell!r}: {parts} of width {self.width}"
            )
        return tuple(part.astype(jnp.float32) for part in carry)

    def _weights(self, in_width: int) -> CellWeights:
        check_fields(self)
        gates, h = GATES[self.cell], self.width
        xavier = _per_gate(nn.initializers.xavier_uniform(), gates)
        orthogonal = _per_gate(nn.initializers.orthogonal(), gates)

        def bias_init(key: Array, shape: tuple[int, ...]) -> Array:
            bias = jnp.zeros(shape)
            if self.cell == "lstm":
                bias = bias.at[h : 2 * h].set(self.forget_bias)
            return bias

        weights = CellWeights(
            self.param("input_kernel", xavier, (in_width, gates * h)),
            self.param("hidden_kernel", orthogonal, (h, gates * h)),
            self.param("bias", bias_init, (gates * h,)),
            self.param("hidden_bias", nn.initializers.zeros, (h,))
            if self.cell == "gru"
            else None,
        )
        return jax.tree.map(lambda array: array.astype(self.dtype), weights)


class RecurrentStack(nn.Module):
    """Layers of recurrent cells, each reading the outputs of the one below.

    The same network as torch's `LSTM`, `GRU` and `RNN`
    (`jaxlab.interop.torch.recurrent`), with packed sequences where `is_token` is given.

    Attributes:
        width: Of the state of each layer and direction.
        depth: Layers.
        cell: `rnn`, `rnn_relu`, `gru` or `lstm`.
        bidirectional: Whether each layer also runs backwards; outputs are then of
            twice the width, forwards first (Schuster & Paliwal 1997).
        dropout_rate: Share of outputs dropped between layers, in [0, 1).
        forget_bias: See `Recurrent`.
        dtype: See `Recurrent`.
    """

    width: Count
    depth: Count = 1
    cell: Cell = "lstm"
    bidirectional: bool = False
    dropout_rate: Rate = 0.0
    forget_bias: float = 1.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        check_fields(self)
        self.layers = [
            Recurrent(
                self.width,
                self.cell,
                reverse,
                self.forget_bias,
                self.dtype,
                name=f"layer_{index}" + "_reverse" * reverse,
            )
            for index in range(self.depth)
            for reverse in ((False, True) if self.bidirectional else (False,))
        ]
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self,
        x: Float[Array, "b t d"],
        carry: StackCarry | None = None,
        is_token: Bool[Array, "b t"] | None = None,
        *,
        train: bool,
    ) -> tuple[Float[Array, "b t h"], StackCarry]:
        """Run all layers over time.

        Args:
            x: Inputs.
            carry: Start of each layer and direction; None: zeros.
            is_token: False at padding, which changes nothing and whose outputs are 0.
            train: Whether to drop outputs.

        Returns:
            Outputs of the last layer, and the carries after the last tokens.
        """
        if carry is None:
            carry = self.initial_carry(len(x))
        if len(carry) != len(self.layers):
            raise InputError(
                f"{len(carry)} carries do not fit {len(self.layers)} layers and "
                f"directions; give one for each"
            )
        directions = 2 if self.bidirectional else 1
        ends: list[Carry] = []
        for first in range(0, len(self.layers), directions):
            if first:
                x = self.dropout(x, deterministic=not train)
            outputs = []
            for index in range(first, first + directions):
                output, end = self.layers[index](x, carry[index], is_token)
                outputs.append(output)
                ends.append(end)
            x = jnp.concatenate(outputs, axis=-1) if directions > 1 else outputs[0]
        return x, tuple(ends)

    def initial_carry(self, batch_size: int) -> StackCarry:
        """Give the carry of zeros."""
        return tuple(layer.initial_carry(batch_size) for layer in self.layers)
