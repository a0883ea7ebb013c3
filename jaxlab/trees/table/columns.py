"""Read any table by columns or by blocks of rows, without a copy of the whole.

A column is a NumPy array, a pandas extension array or a pandas Categorical, always a
view. What is not float32 or float64 is converted a block or a column at a time.
"""

import importlib
import math
import threading
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from jaxlab.core.errors import InputError

__all__ = [
    "Columns",
    "FeatureTable",
    "SparseTable",
    "as_categorical",
    "as_floats",
    "read_table",
    "refuse_infinite",
]

# One array a feature, or all in one array [features, rows].
Columns: TypeAlias = list[Any] | np.ndarray

_BLOCK_VALUES = 2**21  # values that are converted at a time: 16 MB as float64


class FeatureTable:
    """Columns that lie in memory: a matrix, or a data frame.

    Args:
        columns: Arrays of equal length, or one array [features, rows].
        names: Names of the columns; empty where they have none.
        num_rows: Length of the columns.
    """

    def __init__(self, columns: Columns, names: tuple[str, ...], num_rows: int):
        self.columns = columns
        self.names = names
        self.num_rows = num_rows

    @property
    def num_features(self) -> int:
        """Number of columns."""
        return len(self.columns)

    def label(self, feature: int) -> str:
        """Name a column in a message."""
        name = f" ({self.names[feature]!r})" if self.names else ""
        return f"column {feature}{name}"

    def column(self, feature: int) -> Any:
        """Give one column as it is stored."""
        return self.columns[feature]

    def is_category(self, feature: int) -> bool:
        """Say whether a column is of pandas' type category."""
        return hasattr(self.columns[feature], "categories")

    def blocks(self) -> Iterator[tuple[int, Columns]]:
        """Give blocks of rows: the first row, and the columns of the block.

        One block where every column is read in place.
        """
        columns = self.columns
        whole = isinstance(columns, np.ndarray)
        ready = all(map(_is_native_float, [columns] if whole else columns))
        step = self.num_rows if ready else _block_rows(self.num_features)
        for start in range(0, self.num_rows, step):
            rows = slice(start, start + step)
            if isinstance(columns, np.ndarray):
                yield start, columns[:, rows]
            else:
                yield start, [column[rows] for column in columns]


class SparseTable(FeatureTable):
    """A SciPy sparse matrix or array: what is not stored is 0, not missing."""

    def __init__(self, matrix: Any):
        super().__init__([None] * matrix.shape[1], (), matrix.shape[0])
        self._matrix = matrix
        self._by_column: Any = None
        self._lock = threading.Lock()

    def column(self, feature: int) -> Any:
        """Give one column as a dense array."""
        with self._lock:
            if self._by_column is None:
                self._by_column = self._matrix.tocsc()
        stored = slice(*self._by_column.indptr[feature : feature + 2])
        dense = np.zeros(self.num_rows, self._by_column.dtype)
        np.add.at(dense, self._by_column.indices[stored], self._by_column.data[stored])
        return dense

    def is_category(self, feature: int) -> bool:
        """Say no: sparse matrices hold numbers."""
        return False

    def blocks(self) -> Iterator[tuple[int, Columns]]:
        """Give blocks of rows as dense columns."""
        by_row = self._matrix.tocsr()
        step = _block_rows(self.num_features)
        for start in range(0, self.num_rows, step):
            yield start, by_row[start : start + step].toarray(order="F").T


def read_table(X: Any) -> FeatureTable:
    """Wrap features as a table, and refuse what is none.

    Args:
        X: A matrix of rows x features that NumPy can read, a pandas data frame, or a
            SciPy sparse matrix.

    Raises:
        InputError: If it is not 2D, empty, complex, or masked.
    """
    if isinstance(X, np.ma.MaskedArray):
        raise InputError(
            "X is a masked array, whose mask would be lost; pass X.filled(numpy.nan)"
        )
    is_frame, is_sparse = hasattr(X, "iloc"), hasattr(X, "tocsc")
    matrix: Any = X if is_frame or is_sparse else np.asarray(X)
    if matrix.ndim != 2:
        raise InputError(
            f"Reshape your data: X must be 2D (rows, features), but is {matrix.ndim}D "
            f"of shape {matrix.shape}; X.reshape(-1, 1) makes it one feature, "
            "X.reshape(1, -1) one row"
        )
    num_rows, num_features = matrix.shape
    for size, axis in ((num_rows, "sample"), (num_features, "feature")):
        if size == 0:
            raise InputError(
                f"X has 0 {axis}(s) (shape={matrix.shape}) while a minimum of 1 is "
                "required; give it rows and columns"
            )
    if is_sparse:
        return SparseTable(matrix)
    if not is_frame:
        return FeatureTable(matrix.T, (), num_rows)
    # pandas numbers nameless columns; like scikit-learn, only texts count as names.
    names = tuple(matrix.columns)
    named = all(isinstance(name, str) for name in names)
    columns = [_frame_column(matrix.iloc[:, j]) for j in range(num_features)]
    return FeatureTable(columns, names if named else (), num_rows)


def _frame_column(series: Any) -> Any:
    is_plain = isinstance(series.dtype, np.dtype) and series.dtype != object
    return series.to_numpy() if is_plain else series.array


def _block_rows(num_features: int) -> int:
    return max(64, _BLOCK_VALUES // num_features)


def _is_native_float(column: Any) -> bool:
    return (
        isinstance(column, np.ndarray)
        and column.dtype in (np.float32, np.float64)
        and column.flags.aligned
    )


def as_floats(column: Any, label: str) -> np.ndarray:
    """Give numbers as float32 or float64, missing ones as NaN.

    A view where the column is one of the two already. Integers beyond 2^53 round to
    float64.

    Args:
        column: A column of a table, or a part of it, or a matrix.
        label: Its name in messages.

    Raises:
        InputError: If these are not real numbers.
    """
    if _is_native_float(column):
        return column
    kind = getattr(column.dtype, "kind", "O")
    if kind == "c":
        raise InputError(
            f"Complex data not supported: {label} is {column.dtype}; pass its real and "
            "imaginary parts as two features"
        )
    if not isinstance(column, np.ndarray):
        return _extension_floats(column, kind, label)
    if kind in "USMm":
        raise _not_numbers(column, label)
    small = kind != "O" and column.dtype.itemsize <= 2
    try:
        return column.astype(np.float32 if small else _float_type(column.dtype))
    except ValueError:
        raise _not_numbers(column, label) from None


def _float_type(dtype: np.dtype) -> type:
    return np.float32 if dtype.kind == "f" and dtype.itemsize == 4 else np.float64


def _extension_floats(column: Any, kind: str, label: str) -> np.ndarray:
    if hasattr(column, "categories") or kind not in "biuf":
        raise _not_numbers(column, label)
    return column.to_numpy(dtype=np.float64, na_value=math.nan)


def _not_numbers(column: Any, label: str) -> InputError:
    return InputError(
        f"{label} is of type {column.dtype}, not numbers; make it a category with "
        'pandas (.astype("category")), or numbers (pandas.to_numeric, integer codes)'
    )


def refuse_infinite(values: np.ndarray, label: str, first_row: int = 0) -> None:
    """Refuse infinite numbers.

    Args:
        values: float32 or float64.
        label: The column's name in messages.
        first_row: Row of the first value.

    Raises:
        InputError: With the first of them.
    """
    rows = np.flatnonzero(np.isinf(values))
    if len(rows):
        raise InputError(
            f"{label} of X is {values[rows[0]]} in row {first_row + rows[0]}; infinity "
            "cannot be cut into bins, so make it numpy.nan (missing) or a large number"
        )


def as_categorical(column: Any) -> Any:
    """Give a pandas column as a pandas Categorical, with `categories` and `codes`."""
    if hasattr(column, "categories"):
        return column
    return importlib.import_module("pandas").Categorical(column)
