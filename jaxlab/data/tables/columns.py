"""Cells of text as typed columns: numbers, or codes of categories; NaN: missing."""

import dataclasses
import decimal
import math
import re
from collections.abc import Sequence

import numpy as np

__all__ = [
    "Column",
    "is_missing",
    "listed",
    "looks_like_a_number",
    "number",
    "typed_column",
]

# What pandas takes as missing, and the question mark of the UCI repository.
_MISSING = frozenset(
    {"", "?", "NA", "N/A", "n/a", "#N/A", "#NA", "#N/A N/A", "<NA>"}
    | {"NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
    | {"null", "NULL", "None"}
)
_BOOLEANS = {"false": 0.0, "true": 1.0}
# A number to the eye: commas, blanks between thousands, a currency, a percentage.
_NEARLY = re.compile(r"[-+]?[$€£]?\d[\d,;]*(\s\d{3})*([.,]\d+)?\s?[%$€£]?")
_WHOLE = re.compile(r"[-+]?\d+")
_EXACT_DIGITS = 15  # whole numbers of so many are no problem of float64


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: From the header.
        values: float64, `(n,)`: numbers, or positions in `categories`; NaN: missing.
        categories: Sorted texts, by code; empty for a column of numbers.
        is_rounded: Whether whole numbers were written that float64 does not hold.
    """

    name: str
    values: np.ndarray
    categories: tuple[str, ...] = ()
    is_rounded: bool = False


def typed_column(name: str, cells: Sequence[str]) -> Column:
    """Type a column by its cells: all numbers, or else categories.

    Missing cells (empty, `?`, and what pandas takes as missing, such as `NA`, `n/a`,
    `NaN`, `null` and `None`) count for neither; blanks around a cell are no part of it;
    `true` and `false`, in capitals or not, are the numbers 1 and 0. Numbers too large
    for float64 are infinite.
    """
    # Cells repeat: each different one is parsed once.
    texts = {cell: cell.strip() for cell in set(cells)}
    present = set(texts.values()) - _MISSING
    parsed = {text: number(text) for text in present}
    codes = {text: value for text, value in parsed.items() if value is not None}
    categories: tuple[str, ...] = ()
    if len(codes) < len(parsed):
        categories = tuple(sorted(present))
        codes = {text: float(code) for code, text in enumerate(categories)}
    values = {cell: codes.get(text, math.nan) for cell, text in texts.items()}
    numbers = map(values.__getitem__, cells)
    return Column(
        name,
        np.fromiter(numbers, np.float64, len(cells)),
        categories,
        not categories and any(_is_rounded(*one) for one in codes.items()),
    )


def _is_rounded(text: str, value: float) -> bool:
    is_long = len(text) > _EXACT_DIGITS and _WHOLE.fullmatch(text) is not None
    return is_long and decimal.Decimal(text) != decimal.Decimal(value)


def number(text: str) -> float | None:
    """Read a text as a number; None if it is none."""
    if (value := _BOOLEANS.get(text.lower())) is not None:
        return value
    # Python reads 1_000 as a number; in a table it is a name.
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def is_missing(text: str) -> bool:
    """Tell whether a text, without blanks around it, stands for no value."""
    return text in _MISSING


def looks_like_a_number(text: str) -> bool:
    """Tell whether a text is a number to the eye alone: `1,5`, `$20`, `2 000`."""
    return number(text) is None and _NEARLY.fullmatch(text) is not None


def listed(items: Sequence[object], most: int = 20) -> str:
    """Join what an error lists; past `most` items, say how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more
