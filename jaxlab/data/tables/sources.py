"""Where tables come from: scikit-learn, delimited files, npz files."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxlab.core.errors import InputError, local_path, meant
from jaxlab.data.tables.columns import Column, listed, read_delimited, typed_column

__all__ = ["EMBEDDED", "LoadedTable", "load_table"]

EMBEDDED = ("breast_cancer", "diabetes", "digits", "iris", "wine")  # scikit-learn's
_DELIMITED = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_SUFFIXES = (*_DELIMITED, ".npz")


@dataclasses.dataclass(frozen=True)
class LoadedTable:
    """Typed columns, before anything is held out.

    Attributes:
        features: `(n, j)`.
        names: Of the features.
        categories: Of the features.
        target: Of the n rows.
        places: The file of the rows and, by row, what an error calls it; if the test
            rows come from a file of their own, theirs too.
    """

    features: np.ndarray
    names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    target: Column
    places: tuple[tuple[str, Sequence[int]], ...]


def load_table(name: str, data_dir: str, target: str) -> LoadedTable:
    """Load the table that `find_table` describes."""
    if name not in EMBEDDED:
        path, test = _locate(name, data_dir)
        if path.suffix != ".npz":
            return _delimited(path, test, target)
    if target:
        raise InputError(
            f"target {target!r}: table {name} knows its target; leave --target out"
        )
    return _embedded(name) if name in EMBEDDED else _npz(path)


def _locate(name: str, data_dir: str) -> tuple[pathlib.Path, pathlib.Path | None]:
    """Find the file of a table and, if it has one, that of its test rows."""
    paths = [local_path("data", name)]
    if data_dir:
        paths.append(local_path("data_dir", data_dir) / name)
    tried = []
    for path in paths:
        if path.name.endswith(_SUFFIXES):
            if path.is_file():
                return path, None
            tried.append(str(path))
            continue
        for stem, test in ((path.name, ""), ("train", "test")):
            if found := _file(path, stem):
                return found, _file(path, test) if test else None
            tried.append(str(path / f"{stem}.csv"))
    if paths[0].is_file():
        raise InputError(f"table {name} must be a {', '.join(_SUFFIXES)} file")
    places, close = ", ".join(dict.fromkeys(tried)), meant(name, EMBEDDED)
    raise InputError(
        f"table {name!r}{close} was not found as {places} (or .csv.gz, .tsv, .tsv.gz); "
        f"give the path of a file, or --data-dir, or one of {', '.join(EMBEDDED)}, "
        "which need no files"
    )


def _file(folder: pathlib.Path, stem: str) -> pathlib.Path | None:
    files = [folder / f"{stem}{suffix}" for suffix in _DELIMITED]
    return next((file for file in files if file.is_file()), None)


def _delimited(
    path: pathlib.Path, test: pathlib.Path | None, target: str
) -> LoadedTable:
    files = [read_delimited(file) for file in (path, test) if file]
    names = files[0].names
    if odd := set(names) ^ set(files[-1].names):
        raise InputError(
            f"tables {path} and {test} must have the same columns, but only one of "
            f"them has {listed(sorted(odd))}; rename {test} to hold out rows of {path}"
        )
    label = _target_name(path, names, target)
    columns = {
        name: typed_column(name, [cell for file in files for cell in file.cells(name)])
        for name in names
    }
    goal = columns.pop(label)
    return LoadedTable(
        np.column_stack([column.values for column in columns.values()]),
        tuple(columns),
        tuple(column.categories for column in columns.values()),
        goal,
        tuple((f"{file.path}, lines", file.lines) for file in files),
    )


def _target_name(path: pathlib.Path, names: tuple[str, ...], target: str) -> str:
    if target in names:
        return target
    try:
        return names[int(target)]
    except (ValueError, IndexError):
        raise InputError(
            f"table {path} has no target {target!r}{meant(target, names)}; give "
            f"--target NAME (or its position), one of {listed(names)}"
            if target
            else f"table {path} needs --target NAME, one of {listed(names)}"
        ) from None


def _npz(path: pathlib.Path) -> LoadedTable:
    from jaxlab.data.array_files import read_npz

    arrays = read_npz(path)
    splits = [s for s in ("", "_train", "_test") if f"x{s}" in arrays]
    if splits not in ([""], ["_train", "_test"]) or any(
        f"y{s}" not in arrays for s in splits
    ):
        raise InputError(
            f"table {path} holds {listed(sorted(arrays))}; it must hold x and y, or "
            "x_train, y_train, x_test and y_test"
        )
    parts = [(arrays[f"x{s}"], arrays[f"y{s}"]) for s in splits]
    for x, y in parts:
        _check_arrays(path, x, y, parts[0][0].shape)
    features = np.concatenate([x for x, _ in parts])
    if features.dtype != np.float32:
        features = features.astype(np.float64)
    goal = np.concatenate([y.reshape(-1) for _, y in parts])
    width = features.shape[1]
    names = tuple(map(str, arrays.get("feature_names", _numbered(width))))
    if len(set(names)) != width:
        raise InputError(
            f"table {path} has {width} features and feature_names {listed(names)}; "
            "each feature needs a name of its own"
        )
    return LoadedTable(
        features,
        names,
        ((),) * width,
        typed_column("y", list(map(str, goal.tolist()))),
        tuple((f"{path} (y{s}), rows", range(len(arrays[f"y{s}"]))) for s in splits),
    )


def _check_arrays(
    path: pathlib.Path, x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]
) -> None:
    if (
        x.dtype.kind not in "biuf"
        or x.ndim != 2
        or x.shape[1:] != shape[1:]
        or not x.size
    ):
        raise InputError(
            f"table {path}: features are {x.dtype} {x.shape}; they must be numbers of "
            "shape (rows, features), with as many features for the test rows"
        )
    if y.dtype.kind not in "biufU" or y.size != len(x):
        raise InputError(
            f"table {path}: the target is {y.dtype} {y.shape} for {len(x)} rows; it "
            "must be numbers or texts, one a row"
        )


def _numbered(width: int) -> list[str]:
    return [f"column_{i}" for i in range(width)]


def _embedded(name: str) -> LoadedTable:
    # Takes two seconds to import.
    import sklearn.datasets

    data = getattr(sklearn.datasets, f"load_{name}")()
    names = tuple(map(str, data.feature_names))
    classes = data.get("target_names", ())
    # The classes of digits are numbers, and numbers need no list of texts.
    texts = () if name == "digits" else tuple(map(str, classes))
    goal = Column("target", data.target.astype(np.float64), texts)
    places = ((f"{name}, rows", range(len(data.target))),)
    return LoadedTable(data.data, names, ((),) * len(names), goal, places)
