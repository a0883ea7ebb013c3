"""Values to bins, once the cuts are known: by the kernel, or by NumPy without it."""

import concurrent.futures
import ctypes
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.native import pointer
from jaxlab.trees.native import library
from jaxlab.trees.table.columns import Columns, as_categorical, as_floats
from jaxlab.trees.table.cuts import round_down

__all__ = [
    "aligned_bytes",
    "code_categories",
    "code_numbers",
    "is_numeric",
    "num_threads",
    "pad_cuts",
]

PaddedCuts: TypeAlias = tuple[np.ndarray, np.ndarray]

_CUTS = 256  # of a feature, as the kernel wants them: padded with infinity
_ALIGNMENT = 64  # bytes; what JAX needs to take an array without a copy
_SURELY_FREE = 2**24  # bytes; asking the system takes longer than binning a row
_ONE_THREAD = 50_000  # values; fewer are not worth starting threads
_CHUNK = 8192  # rows; on the way without the kernel they stay in cache


def num_threads() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def aligned_bytes(num_rows: int, num_columns: int) -> np.ndarray:
    """Make an unwritten uint8 array, row by row, at an address that JAX can share.

    Raises:
        InputError: If it does not fit into the memory that is free.
    """
    size = num_rows * num_columns
    if size > _SURELY_FREE and size > _free_memory():
        raise InputError(
            f"{num_rows} rows x {num_columns} features need {size / 1e9:.1f} GB as "
            f"bins, but {_free_memory() / 1e9:.1f} GB are free; use fewer features or "
            "rows"
        )
    buffer = np.empty(size + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + size].reshape(num_rows, num_columns)


def _free_memory() -> float:
    """Give bytes, infinity where the system does not tell."""
    try:
        with open("/proc/meminfo") as lines:
            sizes = dict(line.split(":") for line in lines)
        return 1024.0 * int(sizes["MemAvailable"].split()[0])  # KiB
    except (OSError, KeyError):
        return float("inf")


def pad_cuts(cuts: np.ndarray) -> PaddedCuts:
    """Prepare cuts for `code_numbers`: for float32 values, and for float64 ones.

    Args:
        cuts: float64 [features, at most 255], padded with infinity.
    """
    padded = np.full((len(cuts), _CUTS), np.inf)
    padded[:, : cuts.shape[1]] = cuts
    return round_down(padded), padded


def code_numbers(
    columns: Columns,
    cuts: PaddedCuts,
    missing: int,
    codes: np.ndarray,
    features: Sequence[int],
) -> bool:
    """Bin columns of numbers.

    Args:
        columns: Of all features; float32 or float64, any strides, those that are read.
        cuts: Cuts of the features to read, from `pad_cuts`.
        missing: The bin of NaN.
        codes: uint8 [rows, features] to write to.
        features: Which to read and write.

    Returns:
        Whether a value was infinite.
    """
    threads = num_threads() if len(features) * len(codes) > _ONE_THREAD else 1
    native = library()
    if native is None:
        return _by_numpy(columns, cuts, missing, codes, features, threads)
    places = np.array(features, np.int64)
    data, strides, doubles = _addresses(columns, places)
    return bool(
        native.jaxlab_bin_columns(
            ctypes.c_int64(len(codes)),
            ctypes.c_int64(len(places)),
            *(pointer(array) for array in (data, strides, doubles, *cuts, places)),
            ctypes.c_int32(missing),
            pointer(codes),
            ctypes.c_int64(codes.strides[0]),
            ctypes.c_int32(threads),
        )
    )


def _addresses(
    columns: Columns, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the columns' addresses, strides in bytes, and which are float64."""
    if isinstance(columns, np.ndarray):
        data = columns.ctypes.data + places * columns.strides[0]
        strides = np.full(len(places), columns.strides[1], np.int64)
        doubles = np.full(len(places), columns.dtype == np.float64, np.uint8)
        return data, strides, doubles
    chosen = [columns[j] for j in places]
    return (
        np.array([column.ctypes.data for column in chosen], np.int64),
        np.array([column.strides[0] for column in chosen], np.int64),
        np.array([column.dtype == np.float64 for column in chosen], np.uint8),
    )


def _by_numpy(
    columns: Columns,
    cuts: PaddedCuts,
    missing: int,
    codes: np.ndarray,
    features: Sequence[int],
    threads: int,
) -> bool:
    def code(start: int) -> bool:
        infinite = False
        rows = slice(start, start + _CHUNK)
        for i, feature in enumerate(features):
            values = np.ascontiguousarray(columns[feature][rows])
            sorted_cuts = cuts[int(values.dtype == np.float64)][i]
            # A binary search of all values in step; searchsorted takes twice the time.
            found = np.zeros(len(values), np.intp)
            for step in (128, 64, 32, 16, 8, 4, 2, 1):
                is_below = sorted_cuts[step - 1 :].take(found) < values
                found += np.multiply(is_below, step, dtype=np.intp)
            found[np.isnan(values)] = missing
            codes[rows, feature] = found
            infinite |= bool(np.isinf(values).any())
        return infinite

    starts = range(0, len(codes), _CHUNK)
    if threads == 1:
        return any([code(start) for start in starts])
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return any(list(pool.map(code, starts)))


def code_categories(
    column: Any, categories: tuple[Any, ...], missing: int, label: str
) -> np.ndarray:
    """Bin a column of categories: the place in the list, or missing if not there.

    Args:
        column: A column of a table, numbers or a pandas column.
        categories: The values, in the order of their bins.
        missing: The bin of what is not listed.
        label: The column's name in messages.
    """
    place = {value: bin for bin, value in enumerate(categories)}
    if not is_numeric(column):
        given = as_categorical(column)
        places = [*(place.get(value, missing) for value in given.categories), missing]
        return np.array(places, np.uint8)[given.codes]  # code -1, the last: missing
    values = as_floats(column, label)
    known = np.full(_CUTS, np.inf)
    numbers = sorted(value for value in place if isinstance(value, int | float))
    known[: len(numbers)] = numbers
    bins = np.array([place.get(v, missing) for v in known.tolist()], np.uint8)
    nearest = np.empty((len(values), 1), np.uint8)
    code_numbers([values], pad_cuts(known[None, :-1]), _CUTS - 1, nearest, [0])
    found = nearest[:, 0]
    return np.where(known[found] == values, bins[found], missing)


def is_numeric(column: Any) -> bool:
    """Say whether a column holds numbers rather than pandas categories or texts."""
    if hasattr(column, "categories"):
        return False
    return isinstance(column, np.ndarray) or column.dtype.kind in "biuf"
