"""Features to bins: uint8 codes that histograms are counted over.

    bin(x) = number of cuts strictly below x        so  x <= cuts[b]  <=>  bin(x) <= b

The last bin is for missing values. Where a feature has no more distinct values than
bins, each has a bin of its own, and trees on histograms are the exact greedy trees.
"""

import concurrent.futures
import dataclasses
import functools
from typing import Any, TypeAlias

import jax
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.trees.native import library
from jaxlab.trees.table.codes import (
    aligned_bytes,
    code_categories,
    code_numbers,
    is_numeric,
    num_threads,
    pad_cuts,
)
from jaxlab.trees.table.columns import (
    Columns,
    FeatureTable,
    as_categorical,
    as_floats,
    read_table,
    refuse_infinite,
)
from jaxlab.trees.table.cuts import Sample, distinct_values, draw_sample, find_cuts

__all__ = ["Binner", "fit_binner", "split_threshold", "transform"]

_BIN_COUNTS = (17, 33, 65, 129, 256)  # few sizes, so that compiled programs are shared
_FEW_VALUES = 50_000
_MOST_VALUES = 255  # bins of values: codes are bytes, and one is for missing values

# Values of a category, in the order of their bins.
Categories: TypeAlias = tuple[Any, ...]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("cuts", "num_values", "is_categorical"),
    meta_fields=("num_bins", "categories", "feature_names"),
)
@dataclasses.dataclass(frozen=True)
class Binner:
    """How each feature is cut into bins.

    Its arrays are NumPy's and stay so: the cuts are float64, which JAX would round.

    Attributes:
        cuts: float64 [features, num_bins - 2]: increasing, then infinity.
        num_values: int32 [features]: bins that hold values, 0 if all are missing.
        is_categorical: bool [features].
        num_bins: Bins of a histogram, B; bin B - 1 is for missing values.
        categories: For each feature None, or its categories in the order of their bins.
        feature_names: Names of a data frame's columns; empty without.
    """

    cuts: np.ndarray
    num_values: np.ndarray
    is_categorical: np.ndarray
    num_bins: int
    categories: tuple[Categories | None, ...]
    feature_names: tuple[str, ...] = ()

    @property
    def num_features(self) -> int:
        """Number of features."""
        return len(self.categories)


def fit_binner(
    X: Any,
    *,
    max_bins: int = _MOST_VALUES,
    weight: Any = None,
    categorical: Any = None,
    seed: int = 0,
) -> Binner:
    """Choose the bins of each feature.

    A feature with at most `max_bins` distinct values is cut midway between neighbours,
    any other at quantiles, of a sample if there are more than 200,000 rows.

    Args:
        X: Rows x features: numbers that NumPy can read, a pandas data frame or a SciPy
            sparse matrix, whose zeros are zeros. NaN, None and pandas.NA are missing;
            integers beyond 2^53 round to float64.
        max_bins: Bins for values, 2 to 255. Categories do not count towards it.
        weight: Not negative, one a row. Rows of weight 0 do not count; weights that
            are whole numbers count as rows repeated (samples: drawn in proportion).
        categorical: Features that are categories: indices, names or a mask, beside
            the columns of pandas' type category. At most 255 categories each.
        seed: Of the sample.

    Raises:
        InputError: If the table or an argument cannot be used.
    """
    if not 2 <= max_bins <= _MOST_VALUES:
        raise InputError(
            f"max_bins {max_bins} must be from 2 to {_MOST_VALUES}; bins are bytes, "
            "and one is kept for missing values"
        )
    table = read_table(X)
    is_categorical = _read_categorical(categorical, table)
    sample = draw_sample(table.num_rows, _read_weight(weight, table.num_rows), seed)

    def fit(feature: int) -> tuple[int, np.ndarray, Categories | None]:
        column, label = table.column(feature), table.label(feature)
        if is_categorical[feature]:
            found = _find_categories(column, sample, label)
            return len(found), np.empty(0), found
        cuts = _find_cuts(as_floats(column, label), max_bins, sample, label)
        return (0, np.empty(0), None) if cuts is None else (len(cuts) + 1, cuts, None)

    library()  # built before the threads ask for it
    num_values = table.num_rows * table.num_features
    with concurrent.futures.ThreadPoolExecutor(num_threads()) as pool:
        each = pool.map if num_values > _FEW_VALUES else map  # starting threads costs
        counts, found, categories = zip(
            *each(fit, range(table.num_features)), strict=True
        )
    num_bins = next(size for size in _BIN_COUNTS if size > max(counts))
    cuts = np.full((table.num_features, num_bins - 2), np.inf)
    for row, feature_cuts in zip(cuts, found, strict=True):
        row[: len(feature_cuts)] = feature_cuts
    return Binner(
        cuts,
        np.array(counts, np.int32),
        is_categorical,
        num_bins,
        categories,
        table.names,
    )


def _find_cuts(
    values: np.ndarray, max_bins: int, sample: Sample, label: str
) -> np.ndarray | None:
    """Find the cuts of a feature; None if all of it is missing."""
    chosen, weight = distinct_values(values[sample.counted], max_bins), None
    if chosen is None:
        chosen, weight = sample.take(values)
    if np.isinf(chosen).any():
        refuse_infinite(values, label)
    return find_cuts(chosen, max_bins, weight) if len(chosen) else None


def _find_categories(column: Any, sample: Sample, label: str) -> Categories:
    if is_numeric(column):
        values = as_floats(column, label)
        refuse_infinite(values, label)
        found = distinct_values(values[sample.counted], _MOST_VALUES)
        categories = None if found is None else tuple(found.tolist())
        count = f"over {_MOST_VALUES}"
    else:
        categories = tuple(as_categorical(column).categories.tolist())
        count = str(len(categories))
    if categories is None or len(categories) > _MOST_VALUES:
        raise InputError(
            f"{label} has {count} categories, but at most {_MOST_VALUES} fit; merge "
            "rare ones, drop unused ones with .cat.remove_unused_categories(), or pass "
            "numbers"
        )
    return categories


def _read_weight(weight: Any, num_rows: int) -> np.ndarray | None:
    if weight is None:
        return None
    weight = np.asarray(weight, np.float64)
    if weight.shape != (num_rows,):
        raise InputError(
            f"weight has shape {weight.shape}, but X has {num_rows} rows; give one "
            f"number a row, of shape ({num_rows},)"
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise InputError(
            f"weight goes from {weight.min()} to {weight.max()}, but must be finite, "
            "not negative, and somewhere positive; leave bad rows out, or give them 0"
        )
    return weight


def _read_categorical(categorical: Any, table: FeatureTable) -> np.ndarray:
    """Read indices, names or a mask to a mask; pandas' own categories are added."""
    mask = np.array([table.is_category(j) for j in range(table.num_features)])
    if categorical is None:
        return mask
    given = np.asarray(categorical)
    if given.dtype == bool and given.shape == mask.shape:
        return mask | given
    for item in np.atleast_1d(np.asarray(categorical, object)).tolist():
        is_index = isinstance(item, int | np.integer) and not isinstance(item, bool)
        if isinstance(item, str) and item in table.names:
            mask[table.names.index(item)] = True
        elif is_index and 0 <= item < len(mask):
            mask[item] = True
        else:
            raise InputError(
                f"categorical {item!r} is no feature; allowed are indices from 0 to "
                f"{len(mask) - 1}, names of the data frame's columns "
                f"({', '.join(table.names[:5]) or 'none here'}), or a mask of "
                f"{len(mask)} booleans"
            )
    return mask


def split_threshold(binner: Binner, feature: int, bin: int) -> float:
    """Give the number that a split sends left: x <= threshold.

    Infinity where all values go left, and only missing ones right.

    Args:
        binner: What made the bins.
        feature: A feature that is not categorical.
        bin: The last bin that goes left.
    """
    cuts = binner.cuts[feature]
    return float(cuts[bin]) if bin < len(cuts) else float("inf")


def transform(binner: Binner, X: Any, *, pad_rows_to: int | None = None) -> np.ndarray:
    """Put features into bins.

    Missing values and categories that were not seen go to the last bin.

    Args:
        binner: The bins.
        X: Rows x features, as for `fit_binner`.
        pad_rows_to: Rows of the result, the rest of them 0; as many as X by default.

    Returns:
        uint8 [rows, features], row by row, at an address that JAX takes without a copy.

    Raises:
        InputError: If the features are not those of the fit, a value is infinite, or
            the result does not fit into memory.
    """
    table = read_table(X)
    _check_features(binner, table)
    num_rows = table.num_rows if pad_rows_to is None else pad_rows_to
    if num_rows < table.num_rows:
        raise InputError(
            f"pad_rows_to {num_rows} is less than the {table.num_rows} rows of X; "
            "leave it out or give more"
        )
    codes = aligned_bytes(num_rows, binner.num_features)
    codes[table.num_rows :] = 0
    missing = binner.num_bins - 1
    numeric = [j for j, found in enumerate(binner.categories) if found is None]
    cuts = pad_cuts(binner.cuts[numeric])
    for start, columns in table.blocks():
        floats = _as_floats(columns, numeric, table)
        block = codes[start : start + len(columns[0])]
        if code_numbers(floats, cuts, missing, block, numeric):
            for j in numeric:
                refuse_infinite(floats[j], table.label(j), start)
        for j, categories in enumerate(binner.categories):
            if categories is not None:
                block[:, j] = code_categories(
                    columns[j], categories, missing, table.label(j)
                )
    return codes


def _as_floats(columns: Columns, numeric: list[int], table: FeatureTable) -> Columns:
    if isinstance(columns, np.ndarray):
        return as_floats(columns, "X")
    floats = list(columns)
    for j in numeric:
        floats[j] = as_floats(columns[j], table.label(j))
    return floats


def _check_features(binner: Binner, table: FeatureTable) -> None:
    expected, given = binner.feature_names, table.names
    if table.num_features != binner.num_features:
        raise InputError(
            f"X has {table.num_features} features, but Binner is expecting "
            f"{binner.num_features} features as input; give it the columns of the fit"
        )
    if expected and given and expected != given:
        at = next(j for j, name in enumerate(given) if name != expected[j])
        raise InputError(
            f"column {at} of X is {given[at]!r}, but was {expected[at]!r} in the fit; "
            "give the columns of the fit, in its order"
        )
