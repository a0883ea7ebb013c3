"""Tables: what one is, and finding one by name or path."""

import dataclasses
from typing import Literal, TypeAlias, get_args

import numpy as np

from jaxlab.core.errors import InputError, meant
from jaxlab.data.tables.columns import Column, listed
from jaxlab.data.tables.sources import EMBEDDED, LoadedTable, load_table

__all__ = ["EMBEDDED", "MAX_CATEGORIES", "Table", "TableRows", "Task", "find_table"]

Task: TypeAlias = Literal["auto", "regression", "binary", "multiclass"]

MAX_CATEGORIES = 255  # 256 bins of uint8, less the one for missing values
_MOST_CLASSES = 20  # numbers with more different values are no classes


@dataclasses.dataclass(frozen=True)
class TableRows:
    """Rows of a table.

    Attributes:
        features: float64 (float32 if an `.npz` file holds that), `(n, j)`: numbers, or
            codes of categories; NaN: missing.
        target: float64, `(n,)`; of classes int32, from 0.
    """

    features: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def split(
        self, rate: float, seed: int = 0, stratify: bool = False
    ) -> tuple["TableRows", "TableRows"]:
        """Hold out more rows, to watch while training.

        Args:
            rate: Share of the rows held out, over 0 and below 1.
            seed: Of the rows held out.
            stratify: Draw of each class in proportion.

        Returns:
            The rows that are left, and those held out, in their order.

        Raises:
            InputError: If the rate is out of range, or there are not two rows.
        """
        if not 0 < rate < 1 or len(self) < 2:
            raise InputError(
                f"share {rate} of {len(self)} rows cannot be held out; it must be over "
                "0 and below 1, as 0.1, and of at least 2 rows"
            )
        is_held = _drawn(self.target, stratify, rate, seed)
        left, held = (
            TableRows(self.features[part], self.target[part])
            for part in (~is_held, is_held)
        )
        return left, held


@dataclasses.dataclass(frozen=True)
class Table:
    """A table to learn a column of.

    Attributes:
        name: As given on the command line.
        train: Rows to learn from.
        test: Rows held out.
        feature_names: By column.
        categories: By column, the texts by code; empty for a column of numbers.
        task: `regression`, `binary` or `multiclass`.
        class_names: By class; empty for regression.
    """

    name: str
    train: TableRows
    test: TableRows
    feature_names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    task: Task
    class_names: tuple[str, ...]

    @property
    def is_categorical(self) -> tuple[bool, ...]:
        """Whether a column holds codes of categories, by column."""
        return tuple(map(bool, self.categories))

    def __str__(self) -> str:
        count = sum(self.is_categorical)
        kinds = f" ({count} categorical)" if count else ""
        classes = len(self.class_names)
        goal = f"{classes} classes" if classes else self.task
        return (
            f"{self.name}: {len(self.train)} + {len(self.test)} rows, "
            f"{len(self.feature_names)} features{kinds}, {goal}"
        )


def find_table(
    name: str,
    data_dir: str = "",
    *,
    target: str = "",
    drop: tuple[str, ...] = (),
    task: str = "auto",
    test_rate: float = 0.2,
    seed: int = 0,
) -> Table:
    """Find a table; never another one in its stead.

    A folder NAME holds `NAME.csv`, or `train.csv` and perhaps `test.csv`; each may be
    `.csv.gz`, `.tsv` or `.tsv.gz`. An `.npz` file holds `x` and `y`, or `x_train`,
    `y_train`, `x_test` and `y_test`, and perhaps `feature_names`. Columns are typed,
    and categories numbered, by all rows, those held out too: no category of the test
    rows is unknown.

    Args:
        name: One of `EMBEDDED` (ship with scikit-learn, always there; write `./NAME`
            for a folder of that name); or a path, as it is or below `data_dir`, to a
            `.csv`, `.tsv` (or either with `.gz`) or `.npz` file or to a folder.
        data_dir: Where tables lie.
        target: Column to predict: its name, or else its position (`-1`: the last).
            Files of columns need it, other tables know theirs.
        drop: Columns to leave out of the features.
        task: By default regression if the target is numbers with more than 20
            different values or any fraction, otherwise classification.
        test_rate: Share of the rows held out, over 0 and below 1, drawn by `seed` and
            of classes in proportion; unused where the test rows have their own file.
        seed: Of the rows held out.

    Returns:
        The table, its rows in the order of the file.

    Raises:
        InputError: If the table is not there, is damaged, or does not fit the task.
    """
    if task not in get_args(Task):
        raise InputError(f"task {task!r} must be one of {', '.join(get_args(Task))}")
    if not 0 < test_rate < 1:
        raise InputError(f"test_rate {test_rate} must be over 0 and below 1, as 0.2")
    loaded = load_table(name, data_dir, target)
    features, names, categories = _kept(name, loaded, drop)
    goal, task, class_names = _goal(name, loaded, task)
    is_test = _held_out(name, loaded, goal, bool(class_names), test_rate, seed)
    train, test = (
        TableRows(features[part], goal[part]) for part in (~is_test, is_test)
    )
    if class_names and len(np.unique(train.target)) < 2:
        raise InputError(
            f"table {name}: all {len(train)} training rows are of class "
            f"{class_names[train.target[0]]!r}; at least two classes are needed, so "
            "give another --target or more rows"
        )
    return Table(name, train, test, names, categories, task, class_names)


def _kept(
    name: str, loaded: LoadedTable, drop: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Drop features, and check those that are left."""
    if unknown := next((text for text in drop if text not in loaded.names), ""):
        raise InputError(
            f"table {name} has no feature {unknown!r} to drop"
            f"{meant(unknown, loaded.names)}; it has {listed(loaded.names)}"
        )
    kept = [i for i, text in enumerate(loaded.names) if text not in drop]
    if not kept:
        raise InputError(f"table {name} has no features left; drop fewer columns")
    names = tuple(loaded.names[i] for i in kept)
    categories = tuple(loaded.categories[i] for i in kept)
    for text, present in zip(names, categories, strict=True):
        if len(present) > MAX_CATEGORIES:
            raise InputError(
                f"table {name}: column {text!r} has {len(present)} categories (as "
                f"{listed(present, 3)}), of at most {MAX_CATEGORIES}; mend it or leave "
                f"it out with --drop {text}"
            )
    return np.take(loaded.features, kept, axis=1), names, categories


def _goal(
    name: str, loaded: LoadedTable, task: str
) -> tuple[np.ndarray, Task, tuple[str, ...]]:
    """Make the target, and say what it is: task and class names."""
    column = loaded.target
    _check_present(loaded)
    values, codes = np.unique(column.values, return_inverse=True)
    numeric = not column.categories
    if task == "auto" and numeric:
        many = len(values) > _MOST_CLASSES or (values != np.rint(values)).any()
        task = "regression" if many else task
    if task == "regression":
        if not numeric:
            raise InputError(
                f"table {name}: target {column.name!r} holds texts (as "
                f"{listed(column.categories, 3)}) and cannot be regressed; give "
                "--task auto, or a --target of numbers"
            )
        return column.values, "regression", ()
    if len(values) < 2 or (task == "binary" and len(values) > 2):
        allowed = "two classes" if task == "binary" else "two classes or more"
        raise InputError(
            f"table {name}: target {column.name!r} has {len(values)} different values "
            f"(as {_class_name(column, values[0])!r}); task {task} needs {allowed}, so "
            "give another --task or --target"
        )
    names = tuple(_class_name(column, value) for value in values)
    chosen: Task = (
        "binary" if task != "multiclass" and len(names) == 2 else "multiclass"
    )
    return codes.astype(np.int32), chosen, names


def _check_present(loaded: LoadedTable) -> None:
    start = 0
    for file, numbers in loaded.places:
        values = loaded.target.values[start : start + len(numbers)]
        start += len(numbers)
        absent = [numbers[i] for i in np.flatnonzero(~np.isfinite(values)).tolist()]
        if absent:
            raise InputError(
                f"table {file} {listed(absent, 10)}: the target "
                f"{loaded.target.name!r} is missing or infinite; remove these "
                f"{len(absent)} rows or fill them in"
            )


def _class_name(column: Column, value: float) -> str:
    if column.categories:
        return column.categories[int(value)]
    return str(int(value) if value == int(value) else value)


def _held_out(
    name: str,
    loaded: LoadedTable,
    goal: np.ndarray,
    stratify: bool,
    test_rate: float,
    seed: int,
) -> np.ndarray:
    """Say of each row whether it is held out."""
    count = len(goal)
    if len(loaded.places) == 2:
        return np.arange(count) >= len(loaded.places[0][1])
    if count < 2:
        raise InputError(f"table {name} has one row; it needs two or more")
    return _drawn(goal, stratify, test_rate, seed)


def _drawn(goal: np.ndarray, stratify: bool, rate: float, seed: int) -> np.ndarray:
    """Draw rows, bool (n,)."""
    count = len(goal)
    held = min(max(round(rate * count), 1), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    if stratify:
        order = order[np.argsort(goal[order], kind="stable")]
    # Evenly spaced in that order: of each class its share, up to one row. Half a step
    # in, so that a rare last class is not always the one held out.
    picked = np.diff((np.arange(count + 1) * held + count // 2) // count) > 0
    is_test = np.zeros(count, bool)
    is_test[order[picked]] = True
    return is_test
