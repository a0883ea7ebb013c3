"""Gradient and diagonal of the Hessian of one row's loss, in one pass.

For K raw scores, K products with the Hessian would give its diagonal at a price of K²
a row. The Hessian of the losses in use is a diagonal plus a few outer products
(softmax: diag(p) - p pᵀ), and JAX knows it as a straight-line program, the linearised
gradient. Carrying `diagonal + sum of outer products` through that program costs K a
row. A program that leaves this form gets the K products.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxlab.core.typing import Array, Float

__all__ = ["gradient_and_curvature"]

_ELEMENTWISE = {"neg", "copy", "copy_p", "convert_element_type", "mul", "div"}
_CALLS = {"jit", "pjit", "closed_call"}


@dataclasses.dataclass(frozen=True)
class _Linear:
    """The linear map t -> diagonal * t + sum of left * (right · t)."""

    diagonal: Any  # like t, or None for none
    outer: tuple[tuple[Any, Any], ...]  # left: like the value; right: like t


class _Unstructured(Exception):  # noqa: N818  (it ends no program)
    """The program leaves the form of `_Linear`."""


def _add(first: _Linear, second: _Linear, sign: float) -> _Linear:
    diagonal = first.diagonal
    if second.diagonal is not None:
        signed = sign * second.diagonal
        diagonal = signed if diagonal is None else diagonal + signed
    outer = tuple((sign * left, right) for left, right in second.outer)
    return _Linear(diagonal, first.outer + outer)


def _each(value: _Linear, apply: Callable[[Any], Any]) -> _Linear:
    """Apply an elementwise linear function to every part."""
    diagonal = None if value.diagonal is None else apply(value.diagonal)
    return _Linear(diagonal, tuple((apply(left), right) for left, right in value.outer))


def _where(mask: Any, value: Any) -> Any:
    return jnp.where(mask, value, 0)


def _select(which: Any, cases: list[Any]) -> _Linear:
    result = _Linear(None, ())
    for number, case in enumerate(cases):
        if isinstance(case, _Linear):  # else a zero, since the whole is linear
            mask = which.astype(jnp.int32) == number
            keep = functools.partial(_where, mask)
            result = _add(result, _each(case, keep), 1.0)
    return result


def _apply(eqn: Any, inputs: list[Any]) -> Any:
    """Push one equation of the linear program through the form."""
    name = eqn.primitive.name
    linear = [value for value in inputs if isinstance(value, _Linear)]

    def with_part(part: Any) -> Any:
        values = [part if isinstance(v, _Linear) else v for v in inputs]
        return eqn.primitive.bind(*values, **eqn.params)

    if not linear:
        return with_part(None)
    if name in ("add", "add_any", "sub"):
        if len(linear) < 2:  # the other is a zero, since the whole is linear
            flipped = name == "sub" and isinstance(inputs[1], _Linear)
            return _add(_Linear(None, ()), linear[0], -1.0 if flipped else 1.0)
        return _add(linear[0], linear[1], -1.0 if name == "sub" else 1.0)
    if name == "select_n":
        return _select(inputs[0], inputs[1:])
    if len(linear) > 1 or eqn.primitive.multiple_results:
        raise _Unstructured
    (value,) = linear
    if value.diagonal is None or name in _ELEMENTWISE:
        return _each(value, with_part)  # any operation that is linear in its input
    if name == "reduce_sum" and eqn.outvars[0].aval.shape == ():
        ones = jnp.ones((), value.diagonal.dtype)
        rest = tuple((with_part(left), right) for left, right in value.outer)
        return _Linear(None, ((ones, value.diagonal), *rest))
    if eqn.invars[0].aval.shape == eqn.outvars[0].aval.shape and name in (
        "broadcast_in_dim",
        "reshape",
    ):
        return value
    raise _Unstructured


def _run(jaxpr: Any, consts: list[Any], inputs: list[Any]) -> list[Any]:
    known = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))

    def read(variable: Any) -> Any:
        is_literal = isinstance(variable, core.Literal)
        return variable.val if is_literal else known[variable]

    for eqn in jaxpr.eqns:
        values = [read(variable) for variable in eqn.invars]
        if eqn.primitive.name in _CALLS:
            inner = eqn.params.get("jaxpr") or eqn.params["call_jaxpr"]
            results = _run(inner.jaxpr, inner.consts, values)
        else:
            result = _apply(eqn, values)
            results = result if eqn.primitive.multiple_results else [result]
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _diagonal(product: Callable[[Array], Array], at: Array) -> Array:
    """Read the diagonal of the matrix behind `product`, a linear function."""
    program = jax.make_jaxpr(product)(at)
    try:
        start = _Linear(jnp.ones_like(at), ())
        (result,) = _run(program.jaxpr, program.consts, [start])
    except _Unstructured:
        return jnp.diagonal(jax.vmap(product)(jnp.eye(at.shape[0], dtype=at.dtype)))
    if not isinstance(result, _Linear):
        return jnp.zeros_like(at)
    total = jnp.zeros_like(at) if result.diagonal is None else result.diagonal
    for left, right in result.outer:
        total = total + left * right
    return total


def gradient_and_curvature(
    loss: Callable[[Array], Array], raw: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Differentiate a loss once and twice.

    Args:
        loss: From raw scores to a scalar.
        raw: Where: a scalar, or the scores of one row.

    Returns:
        The gradient, and the second derivative by each score alone; like `raw`.
    """
    gradient, product = jax.linearize(jax.grad(loss), raw)
    if raw.ndim == 0:
        return gradient, product(jnp.ones_like(raw))
    return gradient, _diagonal(product, raw)
