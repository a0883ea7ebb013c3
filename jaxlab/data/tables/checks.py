"""What a loaded table must not hold: values that would be taken for others."""

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.data.tables.columns import (
    Column,
    listed,
    looks_like_a_number,
    number,
)
from jaxlab.data.tables.sources import LoadedTable

__all__ = ["MAX_CATEGORIES", "check_classes", "check_feature", "check_target"]

MAX_CATEGORIES = 255  # 256 bins of uint8, less the one for missing values
_EXACT = 2.0**53  # from here on float64 leaves out whole numbers
_SHOWN = 10  # lines in a message
_NUMBERS_A_TEXT = 20  # different ones for each text: more of them, and it is a mistake


def check_feature(loaded: LoadedTable, feature: int) -> None:
    """Refuse a feature whose values are infinite, too many, or numbers to the eye."""
    name, categories = loaded.names[feature], loaded.categories[feature]
    values = loaded.features[:, feature]
    way_out = f"mend it or leave it out with --drop {name}"
    if len(categories) > MAX_CATEGORIES:
        raise InputError(
            f"table {_file(loaded)}: column {name!r} has {len(categories)} categories "
            f"(as {listed(categories, 3)}), of at most {MAX_CATEGORIES}; {way_out}"
        )
    _check_texts(loaded, Column(name, values, categories), way_out)
    if np.isinf(values).any():
        raise InputError(
            f"table {_places(loaded, np.isinf(values))}: {name!r} is infinite, or too "
            f"large for a number of 64 bits; {way_out}"
        )
    if loaded.is_rounded[feature]:
        raise InputError(
            f"table {_places(loaded, np.abs(values) >= _EXACT)}: {name!r} has whole "
            f"numbers beyond 2^53, which are not told apart; write them as texts, as "
            f"n123, or leave the column out with --drop {name}"
        )


def check_target(loaded: LoadedTable, is_regression: bool) -> None:
    """Refuse a target with holes, and one that numbers cannot tell apart."""
    target = loaded.target
    absent = ~np.isfinite(target.values)
    if absent.any():
        raise InputError(
            f"table {_places(loaded, absent)}: the target {target.name!r} is missing "
            f"or infinite; remove these {absent.sum()} rows or fill them in"
        )
    _check_texts(loaded, target, "mend it")
    huge = np.abs(target.values) >= _EXACT
    if huge.any() and not is_regression:
        raise InputError(
            f"table {_places(loaded, huge)}: the target {target.name!r} has classes "
            "that are numbers beyond 2^53, which are not told apart; write them as "
            "texts, or give --task regression"
        )
    if is_regression and len(huge) > 1 and np.ptp(target.values) == 0:
        raise InputError(
            f"table {_file(loaded)}: the target {target.name!r} is "
            f"{target.values[0]:g} in all rows, so there is nothing to learn; give "
            "another --target"
        )


def check_classes(
    loaded: LoadedTable, codes: np.ndarray, train: np.ndarray, names: tuple[str, ...]
) -> None:
    """Refuse training rows of one class, and classes that only others have.

    Args:
        loaded: The table.
        codes: Class of each row.
        train: The rows that are trained on.
        names: Names of the classes.
    """
    known = np.unique(codes[train])
    if len(known) < 2:
        raise InputError(
            f"table {_file(loaded)}: all {len(train)} training rows are of class "
            f"{names[known[0]]!r}; at least two classes are needed, so give another "
            "--target or more rows"
        )
    unknown = ~np.isin(codes, known)
    if unknown.any():
        raise InputError(
            f"table {_places(loaded, unknown)}: class {names[codes[unknown][0]]!r} of "
            f"the target {loaded.target.name!r} is in no training row; add some, or "
            f"remove these {unknown.sum()} rows"
        )


def _check_texts(loaded: LoadedTable, column: Column, way_out: str) -> None:
    """Refuse numbers that a few texts make categories, and those with commas or signs.

    One slip in a column of many numbers would take their order from them.
    """
    texts = [text for text in column.categories if number(text) is None]
    numbers = len(column.categories) - len(texts)
    if texts and all(map(looks_like_a_number, texts)):
        is_first = column.values == column.categories.index(texts[0])
        raise InputError(
            f"table {_places(loaded, is_first)}: {texts[0]!r} in column "
            f"{column.name!r} is no number as it is written; write digits and a point, "
            f"as 1234.5 ({way_out})"
        )
    if texts and numbers >= _NUMBERS_A_TEXT * len(texts):
        codes = [column.categories.index(text) for text in texts]
        raise InputError(
            f"table {_places(loaded, np.isin(column.values, codes))}: {texts[0]!r} "
            f"among the numbers of column {column.name!r}; leave the cell of a missing "
            f"number empty, write all as texts (as n1) if they are names, or {way_out}"
        )


def _file(loaded: LoadedTable) -> str:
    return loaded.parts["train"][0].partition(", ")[0]


def _places(loaded: LoadedTable, chosen: np.ndarray) -> str:
    """Name the file and the lines of the chosen rows, of the first file with some."""
    start = 0
    for file, numbers in loaded.parts.values():
        rows = np.flatnonzero(chosen[start : start + len(numbers)]).tolist()
        if rows:
            return f"{file} {listed([numbers[i] for i in rows], _SHOWN)}"
        start += len(numbers)
    raise ValueError("no row is chosen")
