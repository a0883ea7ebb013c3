"""Delimited text as typed columns: every column becomes numbers, NaN where missing."""

import csv
import dataclasses
import gzip
import math
import pathlib
import zlib
from collections.abc import Sequence

import numpy as np

from jaxlab.core.errors import InputError

__all__ = ["Column", "Delimited", "listed", "read_delimited", "typed_column"]

_MISSING = frozenset({"", "?", "NA", "NaN", "nan", "null", "None"})
_BOOLEANS = {"false": 0.0, "true": 1.0}
_UNREADABLE = (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: From the header.
        values: float64, `(n,)`: numbers, or positions in `categories`; NaN: missing.
        categories: Sorted texts, by code; empty for a column of numbers.
    """

    name: str
    values: np.ndarray
    categories: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Delimited:
    """A delimited file, as texts.

    Attributes:
        path: Where it lies.
        names: Of the columns.
        rows: Cells by row, each row as long as `names`.
        lines: The line of the file, counted from 1, that each row ends in.
    """

    path: pathlib.Path
    names: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def cells(self, name: str) -> list[str]:
        """Give the cells of a column."""
        position = self.names.index(name)
        return [row[position] for row in self.rows]


def typed_column(name: str, cells: Sequence[str]) -> Column:
    """Type a column by its cells: all numbers, or else categories.

    Missing cells (empty, `?`, `NA`, `NaN`, `nan`, `null`, `None`) count for neither;
    blanks around a cell are no part of it; `true` and `false`, in capitals or not, are
    the numbers 1 and 0.
    """
    # Cells repeat: each different one is parsed once.
    texts = {cell: cell.strip() for cell in set(cells)}
    present = set(texts.values()) - _MISSING
    parsed = {text: _number(text) for text in present}
    codes = {text: value for text, value in parsed.items() if value is not None}
    categories: tuple[str, ...] = ()
    if len(codes) < len(parsed):
        categories = tuple(sorted(present))
        codes = {text: float(code) for code, text in enumerate(categories)}
    values = {cell: codes.get(text, math.nan) for cell, text in texts.items()}
    numbers = map(values.__getitem__, cells)
    return Column(name, np.fromiter(numbers, np.float64, len(cells)), categories)


def _number(text: str) -> float | None:
    if (value := _BOOLEANS.get(text.lower())) is not None:
        return value
    # Python reads 1_000 as a number; in a table it is a name.
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def read_delimited(path: pathlib.Path) -> Delimited:
    """Read a `.csv` or `.tsv` file, or a gzipped one, in UTF-8.

    The first line names the columns; where it holds nothing but numbers it is a row,
    and the columns are `column_0`, `column_1`, ... Empty lines are skipped.

    Raises:
        InputError: If the file cannot be read, is empty, has rows of other lengths, or
            names a column twice.
    """
    delimiter = "\t" if path.name.removesuffix(".gz").endswith(".tsv") else ","
    open_text = gzip.open if path.suffix == ".gz" else open
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with open_text(path, "rt", encoding="utf-8-sig", newline="") as stream:
            # Strict: an unclosed quote is an error, not a cell as long as the file.
            reader = csv.reader(
                stream, delimiter=delimiter, skipinitialspace=True, strict=True
            )
            for row in reader:
                if row and rows and len(row) != len(rows[0]):
                    raise InputError(
                        f"table {path}, line {reader.line_num}: {len(row)} cells, but "
                        f"the first line has {len(rows[0])}; mend or remove that line"
                    )
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
    except _UNREADABLE as error:
        raise InputError(f"table {path} cannot be read: {error}") from None
    return _with_header(path, rows, lines)


def _with_header(
    path: pathlib.Path, rows: list[list[str]], lines: list[int]
) -> Delimited:
    first = rows[0] if rows else []
    names = tuple(text.strip() or f"column_{i}" for i, text in enumerate(first))
    if all(_number(name) is not None for name in names):
        names = tuple(f"column_{i}" for i in range(len(names)))
    else:
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise InputError(f"table {path} has no rows; it needs a header line and rows")
    if len(names) == 1:
        raise InputError(
            f"table {path} has one column, {names[0]!r}; cells are separated by commas "
            "in .csv files and by tabs in .tsv files"
        )
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InputError(
            f"table {path} names a column {twice!r} twice; its first line must name "
            "each column, each differently"
        )
    return Delimited(path, names, rows, lines)


def listed(items: Sequence[object], most: int = 20) -> str:
    """Join what an error lists; past `most` items, say how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more
