"""Reading what users give estimators: features, targets, weights, meshes."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from jax.sharding import Mesh
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh
from jaxlab.trees.boost.checks import check_weight

__all__ = [
    "Number",
    "TrainingRows",
    "encode_labels",
    "feature_places",
    "hold_out",
    "read_choice",
    "read_labels",
    "read_margin",
    "read_mesh",
    "read_numbers",
    "read_weight",
    "seed_of",
]

# What is given for a float: 1 is one too.
Number: TypeAlias = float | int | np.number

# In scikit-learn's words.
_NO_TARGET = (
    "This estimator requires y to be passed, but the target y is None; give a target"
)


@dataclasses.dataclass(frozen=True)
class TrainingRows:
    """Rows to train on, or to watch."""

    X: Any
    target: np.ndarray  # float64 [n]
    weight: np.ndarray | None = None
    offset: np.ndarray | None = None  # raw scores to add to, [outputs, n]
    qid: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse targets that are not one a row."""
        num_rows = self.X.shape[0]
        if len(self.target) != num_rows:
            raise InputError(
                f"X has {num_rows} rows, but y has {len(self.target)}; give one target "
                "a row"
            )

    def take(self, rows: np.ndarray) -> "TrainingRows":
        """Give some of the rows."""

        def some(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[..., rows]

        return TrainingRows(
            _take_rows(self.X, rows),
            self.target[rows],
            some(self.weight),
            some(self.offset),
            some(self.qid),
        )

    def used(self) -> "TrainingRows":
        """Give the rows of positive weight."""
        if self.weight is None or self.weight.all():
            return self
        return self.take(np.flatnonzero(self.weight))


def _take_rows(X: Any, rows: np.ndarray) -> Any:
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return X.tocsr()[rows] if hasattr(X, "tocsr") else X[rows]


def read_numbers(y: Any, name: str = "y") -> np.ndarray:
    """Read targets of regression, float64 [n].

    Raises:
        InputError: If they are not finite numbers, one a row.
    """
    if y is None:
        raise InputError(_NO_TARGET)
    column = column_or_1d(y, warn=True)
    if column.dtype.kind == "c":
        raise InputError(
            f"Complex data not supported: {name} is {column.dtype}; give real numbers"
        )
    try:
        numbers = np.asarray(column, np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} holds {column[0]!r}, no number; give numbers, or use a classifier"
        ) from None
    is_bad = ~np.isfinite(numbers)
    if is_bad.any():
        row = int(np.argmax(is_bad))
        kind = "NaN" if np.isnan(numbers[row]) else "infinity"
        raise InputError(
            f"Input {name} contains {kind}, first in row {row}; leave out the rows "
            "without a finite target"
        )
    return numbers


def read_labels(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read classes of any type.

    Returns:
        The classes, sorted, and each row's place among them.

    Raises:
        InputError: If a label is missing.
    """
    if y is None:
        raise InputError(_NO_TARGET)
    column = column_or_1d(y, warn=True)
    if column.dtype.kind in "fc":
        read_numbers(column)
    if column.dtype == object and any(v is None or v != v for v in column):
        raise InputError("y has missing labels; leave out the rows without a label")
    check_classification_targets(column)
    classes = np.unique(column)  # without places it need not sort all rows
    return classes, np.searchsorted(classes, column)


def encode_labels(y: Any, classes: np.ndarray, name: str) -> np.ndarray:
    """Give each label's place among the classes of the fit, float64 [n].

    Raises:
        InputError: If there is another label.
    """
    column = column_or_1d(y, warn=True)
    place = {label: number for number, label in enumerate(classes.tolist())}
    found = [place.get(label, -1) for label in column.tolist()]
    if -1 in found:
        label = column[found.index(-1)]
        raise InputError(
            f"{name} has label {label!r}, which is not among the classes of y, "
            f"{classes.tolist()}; leave such rows out"
        )
    return np.array(found, np.float64)


def read_weight(sample_weight: Any, num_rows: int) -> np.ndarray | None:
    """Read weights of rows, float64 [n]; None stays None.

    Raises:
        InputError: If they are not finite, not negative, one a row, some positive.
    """
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, np.float64)
    if weight.ndim == 0:
        weight = np.full(num_rows, weight)
    if weight.ndim != 1:
        raise InputError("Sample weights must be 1D array or scalar; one number a row")
    if len(weight) != num_rows:
        raise InputError(
            f"sample_weight.shape == {weight.shape}, expected {(num_rows,)}; give one "
            "number a row"
        )
    check_weight("sample_weight", weight)
    return weight


def read_margin(margin: Any, num_rows: int) -> np.ndarray | None:
    """Read raw scores to add to, [n] or [n, outputs], to float32 [outputs, n].

    Raises:
        InputError: If they are not finite, or of another length.
    """
    if margin is None:
        return None
    found = np.asarray(margin, np.float32)
    found = found[None] if found.ndim == 1 else found.T
    if found.ndim != 2 or found.shape[1] != num_rows or not np.isfinite(found).all():
        raise InputError(
            f"base_margin of shape {np.shape(margin)} cannot be used; give one finite "
            f"raw score for each of the {num_rows} rows (and output)"
        )
    return found


def hold_out(
    num_rows: int, share: Any, labels: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Share rows out to training and validation, by class where there are labels.

    Raises:
        InputError: If the share is not between 0 and 1, or leaves a side without rows.
    """
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise InputError(
            f"validation_fraction {share!r} cannot be used; give a share between 0 "
            "and 1"
        )
    try:
        first, second = train_test_split(
            np.arange(num_rows), test_size=share, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise InputError(
            f"validation_fraction {share} of {num_rows} rows cannot be held out: "
            f"{error}; give more rows, or rows of your own to watch"
        ) from error
    return np.sort(first), np.sort(second)


def seed_of(random_state: Any, default: int | None) -> int:
    """Give a seed for JAX: the number itself, or one drawn; for None the default."""
    if random_state is None and default is not None:
        return default
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def read_mesh(mesh: Any) -> Mesh | None:
    """Make a mesh of text such as `data=4`, `auto` for all devices, or a mesh.

    Returns:
        None for one device.
    """
    if mesh is None or isinstance(mesh, Mesh):
        found = mesh
    else:
        found = make_mesh("" if mesh == "auto" else mesh)
    return None if found is None or found.size == 1 else found


def read_choice(name: str, value: Any, choices: Sequence[str]) -> Any:
    """Give a value back if it is one of the choices.

    Raises:
        InputError: If it is not.
    """
    if value not in choices:
        raise InputError(f"{name} {value!r} is not one of {', '.join(choices)}")
    return value


def feature_places(
    features: Iterable[Any], names: Sequence[str], size: int
) -> list[int]:
    """Turn names or indices of features into indices.

    Raises:
        InputError: If one is unknown.
    """
    names, places = list(names), []
    for feature in features:
        if isinstance(feature, str) and feature in names:
            places.append(names.index(feature))
        elif isinstance(feature, int | np.integer) and 0 <= feature < size:
            places.append(int(feature))
        else:
            raise InputError(
                f"feature {feature!r} is unknown; use indices from 0 to {size - 1}"
                + (f" or names such as {names[0]!r}" if names else "")
            )
    return places
