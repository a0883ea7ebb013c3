"""Tables: what one is, and finding one by name or path."""

import dataclasses
from typing import Literal, TypeAlias, get_args

import numpy as np

from jaxlab.core.errors import InputError, meant
from jaxlab.data.tables.checks import check_classes, check_feature, check_target
from jaxlab.data.tables.columns import Column, listed
from jaxlab.data.tables.sources import EMBEDDED, LoadedTable, load_table
from jaxlab.data.tables.splits import TableRows, split_rows

__all__ = ["EMBEDDED", "Table", "Task", "find_table"]

Task: TypeAlias = Literal["auto", "regression", "binary", "multiclass"]

_MOST_CLASSES = 20  # numbers with more different values are no classes


@dataclasses.dataclass(frozen=True)
class Table:
    """A table to learn a column of.

    Attributes:
        name: As given on the command line.
        train: Rows to learn from.
        valid: Rows to choose the model by; perhaps none.
        test: Rows to test it on, once.
        feature_names: By column.
        categories: By column, the texts by code; empty for a column of numbers.
        task: `regression`, `binary` or `multiclass`.
        class_names: By class; empty for regression.
    """

    name: str
    train: TableRows
    valid: TableRows
    test: TableRows
    feature_names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    task: Task
    class_names: tuple[str, ...]

    @property
    def is_categorical(self) -> tuple[bool, ...]:
        """Whether a column holds codes of categories, by column."""
        return tuple(map(bool, self.categories))

    @property
    def sets(self) -> dict[str, int]:
        """Number of rows by what they are for."""
        return {name: len(getattr(self, name)) for name in ("train", "valid", "test")}

    def __str__(self) -> str:
        rows = " + ".join(f"{size} {name}" for name, size in self.sets.items() if size)
        count = sum(self.is_categorical)
        kinds = f" ({count} categorical)" if count else ""
        classes = len(self.class_names)
        goal = f"{classes} classes" if classes else self.task
        return (
            f"{self.name}: {rows} rows, {len(self.feature_names)} features"
            f"{kinds}, {goal}"
        )


def find_table(
    name: str,
    data_dir: str = "",
    *,
    target: str = "",
    drop: tuple[str, ...] = (),
    task: str = "auto",
    test_rate: float = 0.2,
    valid_rate: float = 0.1,
    seed: int = 0,
) -> Table:
    """Find a table; never another one in its stead.

    A folder NAME holds `NAME.csv` or `train.csv`, and perhaps `valid.csv` and
    `test.csv`; each may be `.csv.gz`, `.tsv` or `.tsv.gz`, and called `training`,
    `val`, `validation`, `dev`, `eval` or `testing`. An `.npz` file holds `x` and `y`,
    or `x_train` and `y_train` and perhaps `x_valid`, `y_valid`, `x_test` and `y_test`;
    and perhaps `feature_names`. Columns are typed, and categories numbered, by all
    rows, those held out too: no category of the test rows is unknown.

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
        test_rate: Share of the rows held out to test on, over 0 and below 1, drawn by
            `seed` and of classes in proportion; unused where they have their own file.
        valid_rate: Share of the rows left that are held out to choose by, drawn alike;
            unused where they have their own file. 0: all these rows are trained on.
        seed: Of the rows held out.

    Returns:
        The table, its rows in the order of the file.

    Raises:
        InputError: If the table is not there, is damaged, holds what would be taken
            for something else, or does not fit the task.
    """
    if task not in get_args(Task):
        raise InputError(f"task {task!r} must be one of {', '.join(get_args(Task))}")
    if not 0 < test_rate < 1:
        raise InputError(f"test_rate {test_rate} must be over 0 and below 1, as 0.2")
    if not 0 <= valid_rate < 1:
        raise InputError(
            f"valid_rate {valid_rate} must be below 1, as 0.1; with 0 all rows are "
            "trained on"
        )
    loaded = load_table(name, data_dir, target)
    features, names, categories = _kept(name, loaded, drop)
    goal, task, class_names = _goal(name, loaded, task)
    rows = split_rows(
        name,
        {part: len(numbers) for part, (_, numbers) in loaded.parts.items()},
        goal,
        stratify=bool(class_names),
        test_rate=test_rate,
        valid_rate=valid_rate,
        seed=seed,
    )
    if class_names:
        check_classes(loaded, goal, rows["train"], class_names)
    sets = {part: TableRows(features[at], goal[at]) for part, at in rows.items()}
    return Table(
        name,
        sets["train"],
        sets["valid"],
        sets["test"],
        names,
        categories,
        task,
        class_names,
    )


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
    for feature in kept:
        check_feature(loaded, feature)
    return np.take(loaded.features, kept, axis=1), names, categories


def _goal(
    name: str, loaded: LoadedTable, task: str
) -> tuple[np.ndarray, Task, tuple[str, ...]]:
    """Make the target, and say what it is: task and class names."""
    column = loaded.target
    numeric, finite = not column.categories, column.values[np.isfinite(column.values)]
    values, codes = np.unique(column.values, return_inverse=True)
    if task == "auto" and numeric:
        many = len(values) > _MOST_CLASSES or (finite != np.rint(finite)).any()
        task = "regression" if many else task
    check_target(loaded, is_regression=numeric and task == "regression")
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


def _class_name(column: Column, value: float) -> str:
    if column.categories:
        return column.categories[int(value)]
    return str(int(value) if value == int(value) else value)
