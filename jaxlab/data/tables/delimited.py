"""Files of delimited text as rows of cells; what can be read two ways is refused."""

import codecs
import csv
import dataclasses
import gzip
import io
import pathlib
import zlib

from jaxlab.core.errors import InputError
from jaxlab.data.tables.columns import is_missing, number

__all__ = ["Delimited", "read_delimited"]

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


@dataclasses.dataclass(frozen=True)
class Delimited:
    """A delimited file, as texts.

    Attributes:
        path: Where it lies.
        names: Names of the columns.
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


def read_delimited(path: pathlib.Path) -> Delimited:
    """Read a `.csv` or `.tsv` file, or a gzipped one, in UTF-8.

    The first line names the columns; where it holds nothing but numbers and missing
    cells it is a row, and the columns are `column_0`, `column_1`, ... Empty lines are
    skipped.

    Raises:
        InputError: If the file cannot be read, is not UTF-8, is empty, has rows of
            other lengths, other separators or one column, names a column twice, or has
            a first line that may be names or a row.
    """
    is_tabbed = path.name.lower().removesuffix(".gz").endswith(".tsv")
    separator = "\t" if is_tabbed else ","
    rows: list[list[str]] = []
    lines: list[int] = []
    # Strict: an unclosed quote is an error, not a cell as long as the file.
    reader = csv.reader(
        io.StringIO(_text(path), newline=""),
        delimiter=separator,
        skipinitialspace=True,
        strict=True,
    )
    try:
        for row in reader:
            if not row:
                continue
            if not rows:
                _check_separator(path, row, separator)
            elif len(row) != len(rows[0]):
                raise InputError(
                    f"table {path}, line {reader.line_num}: {len(row)} cells, but "
                    f"the first line has {len(rows[0])}; mend or remove that line"
                )
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(
            f"table {path}, line {reader.line_num}: cannot be read: {error}; close "
            "each quote, and write a quote within quotes twice"
        ) from None
    semicolons = {sum(cell.count(";") for cell in row) for row in rows}
    if separator == "," and len(semicolons) == 1 and semicolons != {0}:
        raise InputError(
            f"table {path} has as many semicolons in each line, which seem to separate "
            "its cells; write it with commas between cells and a point in numbers, as "
            "1.5"
        )
    return _with_header(path, rows, lines)


def _text(path: pathlib.Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"table {path} cannot be read: {error}") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"table {path} cannot be read: it is UTF-16; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"table {path}, line {_line(data, error.start)}: cannot be read: byte "
            f"{data[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        ) from None
    if (place := data.find(b"\0")) >= 0:
        raise InputError(
            f"table {path}, line {_line(data, place)}: holds a zero byte, so it is "
            "damaged or not UTF-8; write it again, as UTF-8"
        )
    return text


def _line(data: bytes, place: int) -> int:
    return len((data[:place] + b".").splitlines())


def _check_separator(path: pathlib.Path, row: list[str], separator: str) -> None:
    if len(row) > 1:
        return
    found = next((names for sign, names in _SEPARATORS.items() if sign in row[0]), "")
    seen = f"its first line has {found}; " if found else ""
    raise InputError(
        f"table {path} has one column, {row[0].strip()[:40]!r}; {seen}write it with "
        f"{_SEPARATORS[separator]} between cells (tabs in .tsv files, commas in .csv "
        "files) and a point in numbers, as 1.5"
    )


def _with_header(
    path: pathlib.Path, rows: list[list[str]], lines: list[int]
) -> Delimited:
    first = [text.strip() for text in rows[0]] if rows else []
    names = tuple(text or f"column_{i}" for i, text in enumerate(first))
    if first and not _are_names(path, first, rows, lines):
        names = tuple(f"column_{i}" for i in range(len(first)))
    else:
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise InputError(f"table {path} has no rows; it needs a header line and rows")
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InputError(
            f"table {path} names a column {twice!r} twice; its first line must name "
            "each column, each differently"
        )
    return Delimited(path, names, rows, lines)


def _are_names(
    path: pathlib.Path, first: list[str], rows: list[list[str]], lines: list[int]
) -> bool:
    """Tell whether the first line names the columns, or refuse it."""
    numbers = [text for text in first if _is_number(text)]
    if all(number(text) is not None or is_missing(text) for text in first) and (
        numbers or not any(first)
    ):
        # As pandas writes a table whose columns have no names.
        if numbers == [str(i) for i in range(len(numbers))] and numbers:
            raise _two_ways(path, lines[0], f"{', '.join(numbers[:3])}, ...")
        return False
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if row == rows[0]:
            raise InputError(
                f"table {path}, line {line} is the first line again; remove it, or, if "
                "it is a row, put a line above that names the columns"
            )
    # Years may name columns; 5.1 or a word that is a value further down does not.
    odd = [text for text in numbers if not text.isdigit()]
    again = [
        text
        for i, text in enumerate(first)
        if text
        and not _is_number(text)
        and any(row[i].strip() == text for row in rows[1:])
    ]
    if odd or (again and (numbers or len(again) == sum(map(bool, first)))):
        raise _two_ways(path, lines[0], (odd or again)[0])
    return True


def _is_number(text: str) -> bool:
    return number(text) is not None and any(sign.isdigit() for sign in text)


def _two_ways(path: pathlib.Path, line: int, shown: str) -> InputError:
    return InputError(
        f"table {path}, line {line}: the first line ({shown}) may be names or a row; "
        "put a line above that names the columns, or name them there by words"
    )
