"""What numbers and words a setting may have, declared where the setting is.

A dataclass says it in the types of its fields, and `check_fields` checks them:

    steps: Count = 1000
    dropout_rate: Rate = 0.1
"""

import dataclasses
import math
import types
from typing import (
    Annotated,
    Any,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from jaxlab.core.errors import InputError

__all__ = [
    "Count",
    "InnerShare",
    "Natural",
    "NotNegative",
    "Positive",
    "PositiveShare",
    "Range",
    "Rate",
    "Seed",
    "Share",
    "check_fields",
    "check_number",
]


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers that a setting may have; all are finite.

    Attributes:
        least: The smallest.
        most: The largest.
        is_open: Whether the smallest itself is refused.
        is_open_above: Whether the largest itself is refused.
    """

    least: int | float = 0
    most: int | float = math.inf
    is_open: bool = False
    is_open_above: bool = False

    def __contains__(self, value: Any) -> bool:
        """Tell whether a setting may have this number."""
        is_above = self.least < value if self.is_open else self.least <= value
        is_below = value < self.most if self.is_open_above else value <= self.most
        return bool(is_above and is_below)

    def __str__(self) -> str:
        low = f"above {self.least:g}" if self.is_open else f"at least {self.least:g}"
        if self.most == math.inf:
            return low
        edge = "below" if self.is_open_above else "at most"
        return f"{low} and {edge} {self.most:.12g}"


_MOST = 2**31 - 1  # of int32, in which steps and rows are counted

Count: TypeAlias = Annotated[int, Range(1, _MOST)]
Natural: TypeAlias = Annotated[int, Range(0, _MOST)]
Seed: TypeAlias = Annotated[int, Range(0, 2**32 - 1)]
NotNegative: TypeAlias = Annotated[float, Range(0)]
Positive: TypeAlias = Annotated[float, Range(0, is_open=True)]
Share: TypeAlias = Annotated[float, Range(0, 1)]
Rate: TypeAlias = Annotated[float, Range(0, 1, is_open_above=True)]
PositiveShare: TypeAlias = Annotated[float, Range(0, 1, is_open=True)]
InnerShare: TypeAlias = Annotated[float, Range(0, 1, is_open=True, is_open_above=True)]


def check_number(
    name: str, value: Any, allowed: Range, *, is_whole: bool = False
) -> None:
    """Refuse a setting that is out of range, infinite, or no number.

    Args:
        name: What the user calls it.
        value: What the user gave.
        allowed: What may be given.
        is_whole: Whether fractions are refused too.

    Raises:
        InputError: With its name, its value and what is allowed.
    """
    kinds = (int, np.integer) if is_whole else (int, float, np.integer, np.floating)
    is_number = isinstance(value, kinds) and -math.inf < value < math.inf
    if not is_number or value not in allowed:
        kind = "" if is_number else f"a {'whole' if is_whole else 'finite'} number "
        raise InputError(f"{name} {value!r} must be {kind}{allowed}")


def check_fields(config: Any) -> None:
    """Check the fields of a dataclass against the ranges and words in their types.

    Fields that are declared as dataclasses are checked as well. A Linen module calls it
    in its `setup`.

    Raises:
        InputError: With the name of the first field that cannot be used, its value and
            what is allowed.

    Examples:
        >>> @dataclasses.dataclass
        ... class Config:
        ...     steps: Count = 10
        >>> check_fields(Config())
        >>> check_fields(Config(steps=0))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        jaxlab.core.errors.InputError: steps 0 must be at least 1 and ...
    """
    hints = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value, choices = getattr(config, field.name), _choices(hints[field.name])
        if dataclasses.is_dataclass(_plain(hints[field.name])):
            check_fields(value)
        else:
            _check(field.name, value, choices)


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return the types that a union chooses from, or the one type."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(part for one in get_args(hint) for part in _choices(one))
    return (hint,)


def _check(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value is None and type(None) in choices:
        return
    words = [word for one in choices if _is_literal(one) for word in get_args(one)]
    if words and value not in words:
        raise InputError(f"{name} {value!r} is not one of {', '.join(words)}")
    for one in choices:
        for allowed in getattr(one, "__metadata__", ()):
            if isinstance(allowed, Range):
                check_number(name, value, allowed, is_whole=_plain(one) is int)


def _is_literal(hint: Any) -> bool:
    return get_origin(hint) is Literal


def _plain(hint: Any) -> Any:
    """Return a type without what `Annotated` adds."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint
