"""Models as files: arrays and a little JSON in one npz, without pickle.

Every array is kept bit for bit, and checked when it is read.
"""

import dataclasses
import json
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.trees.estimators.model_checks import find_fault
from jaxlab.trees.estimators.model_files import read_arrays, write_arrays
from jaxlab.trees.grow.tree import Forest, Nodes
from jaxlab.trees.table.binning import Binner

__all__ = ["load_state", "save_state"]

_VERSION = 1
_PLAIN = (str, int, float, bool, type(None))
# What meeting other contents than were written raises.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
_SKIPPED = {"binner_", "forest_", "objective_", "_predictor"}  # told otherwise


def save_state(estimator: Any, path: Any) -> None:
    """Write a fitted estimator.

    Raises:
        InputError: If it holds something that a file of arrays cannot, or the file
            cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    forest, binner = estimator.forest_, estimator.binner_
    for field in dataclasses.fields(Nodes):
        arrays[f"nodes/{field.name}"] = np.asarray(getattr(forest.nodes, field.name))
    arrays["start"] = np.asarray(forest.start)
    for name in ("cuts", "num_values", "is_categorical"):
        arrays[f"binner/{name}"] = getattr(binner, name)
    settings = estimator.get_params(deep=False)
    known = {k: _simple(v) for k, v in settings.items() if _is_simple(v)}
    fitted: dict[str, Any] = {}
    for name, value in vars(estimator).items():
        if name in settings or name in _SKIPPED:
            continue
        if isinstance(value, np.ndarray) and value.dtype != object:
            arrays[f"fitted/{name}"] = value
        elif isinstance(value, np.ndarray) and _is_simple(value.tolist()):
            fitted[name] = {"object": value.tolist()}
        elif _is_simple(value):
            fitted[name] = {"plain": _simple(value)}
        else:
            raise InputError(
                f"{name} is a {type(value).__name__}, which a file of arrays cannot "
                "hold; use pickle for this model"
            )
    arrays["text"] = np.array(
        json.dumps(
            {
                "version": _VERSION,
                "class": type(estimator).__name__,
                "settings": known,
                "fitted": fitted,
                "num_bins": binner.num_bins,
                "categories": _categories(binner),
                "feature_names": binner.feature_names,
            }
        )
    )
    write_arrays(path, arrays)


def _is_simple(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_simple, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_simple(v) for k, v in value.items())
    return isinstance(value, (*_PLAIN, np.generic))


def _simple(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"tuple": [_simple(item) for item in value]}
    if isinstance(value, list):
        return [_simple(item) for item in value]
    if isinstance(value, dict):
        return {"dict": {k: _simple(v) for k, v in value.items()}}
    return value.item() if isinstance(value, np.generic) else value


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(item) for item in value]
    if isinstance(value, dict) and "tuple" in value:
        return tuple(_read(item) for item in value["tuple"])
    if isinstance(value, dict):
        return {k: _read(v) for k, v in value["dict"].items()}
    return value


def _categories(binner: Binner) -> list[Any]:
    for feature, categories in enumerate(binner.categories):
        if not _is_simple(categories):
            raise InputError(
                f"the categories of column {feature} are no texts or numbers; make "
                "them so before the fit, or use pickle"
            )
    return [None if one is None else list(one) for one in binner.categories]


def load_state(estimator: Any, path: Any) -> None:
    """Read a fitted estimator's settings and state into one of the same class.

    Raises:
        InputError: If the file is no such model, or not a sound one; the estimator is
            then as it was.
    """
    arrays, name = read_arrays(path), type(estimator).__name__
    try:
        text = json.loads(str(arrays.pop("text")))
        kind, version = text["class"], text["version"]
    except _MALFORMED as error:
        raise _unreadable(path) from error
    if kind != name or version != _VERSION:
        raise InputError(
            f"{path} holds a {kind} (version {version}), not a {name} (version "
            f"{_VERSION}); load it with its own class"
        )
    try:
        settings = {key: _read(value) for key, value in text["settings"].items()}
        fitted = {key: _read_fitted(value) for key, value in text["fitted"].items()}
        fitted |= _with_prefix("fitted/", arrays)
        forest, binner = _read_parts(text, arrays)
        fault = find_fault(forest, binner, fitted)
    except _MALFORMED as error:
        raise _unreadable(path) from error
    if unknown := sorted(settings.keys() - estimator.get_params(deep=False).keys()):
        fault = f"settings that a {name} has not: {', '.join(unknown)}"
    if fault:
        raise InputError(f"{path} holds a broken model ({fault}); save it again")
    estimator.set_params(**settings)
    for key, value in fitted.items():
        setattr(estimator, key, value)
    estimator.binner_, estimator.forest_ = binner, forest


def _unreadable(path: Any) -> InputError:
    return InputError(
        f"{path} is no model of save_model that this version reads; save it again"
    )


def _read_fitted(value: dict[str, Any]) -> Any:
    if "object" in value:
        return np.array(value["object"], object)
    return _read(value["plain"])


def _read_parts(
    text: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[Forest, Binner]:
    nodes = Nodes(**_with_prefix("nodes/", arrays))
    binner = Binner(
        **_with_prefix("binner/", arrays),
        num_bins=text["num_bins"],
        categories=tuple(
            None if one is None else tuple(one) for one in text["categories"]
        ),
        feature_names=tuple(text["feature_names"]),
    )
    return Forest(nodes, arrays["start"], text["num_bins"]), binner


def _with_prefix(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        key.removeprefix(prefix): array
        for key, array in arrays.items()
        if key.startswith(prefix)
    }
