"""Where tables come from: scikit-learn, delimited files, npz files."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxlab.core.errors import InputError, local_path, meant
from jaxlab.data.tables.columns import Column, listed, typed_column
from jaxlab.data.tables.delimited import read_delimited

__all__ = ["EMBEDDED", "LoadedTable", "load_table"]

EMBEDDED = ("breast_cancer", "diabetes", "digits", "iris", "wine")  # scikit-learn's
_DELIMITED = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_SUFFIXES = (*_DELIMITED, ".npz")
# What the files of a folder may be called, without their suffix, in capitals or not.
_SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev", "eval"),
    "test": ("test", "testing"),
}


@dataclasses.dataclass(frozen=True)
class LoadedTable:
    """Typed columns, before anything is held out.

    Attributes:
        features: `(n, j)`.
        names: Of the features.
        categories: Of the features.
        is_rounded: Whether a feature had whole numbers that float64 does not hold.
        target: Of the n rows.
        parts: The rows to train on and, where they come from files of their own, those
            to choose by and to test on, in the order `train`, `valid`, `test`: for each
            its file and, by row, what an error calls it.
    """

    features: np.ndarray
    names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    is_rounded: tuple[bool, ...]
    target: Column
    parts: Mapping[str, tuple[str, Sequence[int]]]


def load_table(name: str, data_dir: str, target: str) -> LoadedTable:
    """Load the table that `find_table` describes."""
    if name not in EMBEDDED:
        files = _locate(name, data_dir)
        if files["train"].suffix != ".npz":
            return _delimited(files, target)
    if target:
        raise InputError(
            f"target {target!r}: table {name} knows its target; leave --target out"
        )
    return _embedded(name) if name in EMBEDDED else _npz(files["train"])


def _locate(name: str, data_dir: str) -> dict[str, pathlib.Path]:
    """Find the file of a table, or those of its rows by what they are for."""
    paths = [local_path("data", name)]
    if data_dir:
        paths.append(local_path("data_dir", data_dir) / name)
    tried = []
    for path in paths:
        if path.name.lower().endswith(_SUFFIXES):
            if path.is_file():
                return {"train": path}
            tried.append(str(path))
            continue
        if path.is_dir() and (found := _in_folder(path)):
            return found
        tried += [str(path / f"{stem}.csv") for stem in (path.name, "train")]
    if paths[0].is_file():
        raise InputError(f"table {name} must be a {', '.join(_SUFFIXES)} file")
    places, close = ", ".join(dict.fromkeys(tried)), meant(name, EMBEDDED)
    raise InputError(
        f"table {name!r}{close} was not found as {places} (or .csv.gz, .tsv, .tsv.gz); "
        f"give the path of a file, or --data-dir, or one of {', '.join(EMBEDDED)}, "
        "which need no files"
    )


def _in_folder(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Find the files of a folder's table, if it has one."""
    files: dict[str, list[pathlib.Path]] = {}
    try:
        for file in sorted(folder.iterdir()):
            stem = next(
                (
                    file.name[: -len(suffix)].lower()
                    for suffix in _DELIMITED
                    if file.name.lower().endswith(suffix) and file.is_file()
                ),
                "",
            )
            files.setdefault(stem, []).append(file)
    except OSError as error:
        raise InputError(
            f"table {folder} cannot be read: {error.strerror}; give a folder that can"
        ) from None
    found = {
        split: [file for stem in stems for file in files.get(stem, ())]
        for split, stems in _SPLITS.items()
    }
    if (name := folder.absolute().name.lower()) not in sum(_SPLITS.values(), ()):
        found["train"] += files.get(name, ())
    for split, several in found.items():
        if len(several) > 1:
            raise InputError(
                f"table {folder} has {' and '.join(file.name for file in several)}, of "
                f"which one must be its {split} rows; move the others away, or give "
                "the path of one"
            )
    if not found["train"]:
        return {}
    return {split: several[0] for split, several in found.items() if several}


def _delimited(paths: dict[str, pathlib.Path], target: str) -> LoadedTable:
    files = [read_delimited(path) for path in paths.values()]
    first, names = files[0].path, files[0].names
    for file in files[1:]:
        if odd := set(names) ^ set(file.names):
            raise InputError(
                f"tables {first} and {file.path} must have the same columns, but only "
                f"one of them has {listed(sorted(odd))}; mend them, or rename "
                f"{file.path} to hold out rows of {first}"
            )
    label = _target_name(first, names, target)
    columns = {
        name: typed_column(name, [cell for file in files for cell in file.cells(name)])
        for name in names
    }
    goal = columns.pop(label)
    return LoadedTable(
        np.column_stack([column.values for column in columns.values()]),
        tuple(columns),
        tuple(column.categories for column in columns.values()),
        tuple(column.is_rounded for column in columns.values()),
        goal,
        {
            split: (f"{file.path}, lines", file.lines)
            for split, file in zip(paths, files, strict=True)
        },
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
    from jaxlab.core.files.npz import read_npz

    arrays = read_npz(path)
    splits = {"train": ""} if "x" in arrays else {s: f"_{s}" for s in _SPLITS}
    splits = {s: end for s, end in splits.items() if not end or f"x{end}" in arrays}
    wanted = {f"{letter}{end}" for letter in "xy" for end in splits.values()}
    if "train" not in splits or set(arrays) - {"feature_names"} != wanted:
        raise InputError(
            f"table {path} holds {listed(sorted(arrays)) or 'nothing'}; it must hold x "
            "and y, or x_train and y_train and perhaps x_valid, y_valid, x_test and "
            "y_test, and beside them at most feature_names"
        )
    parts = [(arrays[f"x{end}"], arrays[f"y{end}"]) for end in splits.values()]
    for x, y in parts:
        _check_arrays(path, x, y, parts[0][0].shape)
    given = np.concatenate([x for x, _ in parts])
    features = given.astype(np.float32 if given.dtype == np.float32 else np.float64)
    is_whole = given.dtype.kind in "iu"
    goal = np.concatenate([y.reshape(-1) for _, y in parts])
    width = features.shape[1]
    named = np.atleast_1d(arrays.get("feature_names", _numbered(width)))
    names = tuple(map(str, named))
    if named.shape != (width,) or len(set(names)) != width:
        raise InputError(
            f"table {path} has {width} features and feature_names {listed(names)}; "
            "each feature needs a name of its own"
        )
    return LoadedTable(
        features,
        names,
        ((),) * width,
        tuple(is_whole and _is_rounded(given[:, j]) for j in range(width)),
        typed_column("y", list(map(str, goal.tolist()))),
        {
            split: (f"{path} (y{end}), rows", range(arrays[f"y{end}"].size))
            for split, end in splits.items()
        },
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


def _is_rounded(whole: np.ndarray) -> bool:
    values = whole.tolist()  # Python compares whole numbers and floats exactly
    return any(abs(value) > 2**53 and value != float(value) for value in values)


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
    parts = {"train": (f"{name}, rows", range(len(data.target)))}
    numeric, exact = ((),) * len(names), (False,) * len(names)
    return LoadedTable(data.data, names, numeric, exact, goal, parts)
