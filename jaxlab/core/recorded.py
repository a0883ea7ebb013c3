"""A network beside what it was made of, so that a run can be opened again."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxlab.core.errors import InputError

__all__ = ["Recorded", "read_fields", "record"]

_LINEN = ("parent", "name")  # fields of every Linen module, which no one gives
N = TypeVar("N", covariant=True)
P = ParamSpec("P")


@dataclasses.dataclass(frozen=True)
class Recorded(Generic[N]):
    """What a maker made, and how.

    Attributes:
        network: What the maker returned: a module, a pair of them, an estimator.
        maker: The name of the function or class that made it.
        fields: Its arguments by name, as JSON data.
    """

    network: N
    maker: str
    fields: dict[str, Any]


def record(maker: Callable[P, N], *args: P.args, **fields: P.kwargs) -> Recorded[N]:
    """Call a maker, and keep its name and arguments.

    Args:
        maker: A function or class that makes a network from plain fields: numbers,
            texts, truth values, None, tuples and dictionaries of them, and dtypes.
        args: Its positional arguments.
        fields: Its named arguments.

    Raises:
        InputError: If an argument is not plain.

    Examples:
        >>> record(round, number=3.7).fields
        {'number': 3.7, 'ndigits': None}
    """
    signature = inspect.signature(maker)
    bound = signature.bind(*args, **fields)
    bound.apply_defaults()  # a later version may have others
    named: dict[str, Any] = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= named.pop(name)
    if isinstance(maker, type) and issubclass(maker, nn.Module):
        named = {name: value for name, value in named.items() if name not in _LINEN}
    plain = {name: _plain(name, value) for name, value in named.items()}
    return Recorded(maker(*args, **fields), maker.__name__, plain)


def read_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Turn the fields of a record, read from JSON, into a maker's arguments."""
    return {name: _argument(value) for name, value in fields.items()}


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(name, item) for key, item in value.items()}
    if isinstance(value, np.integer | np.floating):
        return value.item()
    if isinstance(value, np.dtype | type):
        with contextlib.suppress(TypeError, ValueError):
            if not jnp.dtype(value).hasobject:
                return {"dtype": jnp.dtype(value).name}
    raise InputError(
        f"{name} is a {type(value).__name__}, which a run's network.json cannot hold; "
        "a maker takes numbers, texts, tuples of them and dtypes"
    )


def _argument(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_argument(item) for item in value)
    if isinstance(value, dict):
        if value.keys() == {"dtype"}:
            return jnp.dtype(value["dtype"])
        return {key: _argument(item) for key, item in value.items()}
    return value
