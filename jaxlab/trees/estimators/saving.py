"""Models as files: arrays and a little JSON in one npz, without pickle.

Every array is kept bit for bit. A file is written beside its place and then moved
there, so that a reader never sees half of one.
"""

import dataclasses
import json
import os
import pathlib
import tempfile
import zipfile
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.trees.grow.tree import Forest, Nodes
from jaxlab.trees.table.binning import Binner

__all__ = ["load_state", "save_state"]

_VERSION = 1
_PLAIN = (str, int, float, bool, type(None))
_SKIPPED = {"binner_", "forest_", "objective_", "_predictor"}  # told otherwise


def save_state(estimator: Any, path: Any) -> None:
    """Write a fitted estimator.

    Raises:
        InputError: If it holds something that a file of arrays cannot.
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
    _write(pathlib.Path(path), arrays)


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


def _write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def load_state(estimator: Any, path: Any) -> None:
    """Read a fitted estimator's settings and state into one of the same class.

    Raises:
        InputError: If the file is no such model.
    """
    try:
        with open(path, "rb") as stream, np.load(stream) as file:
            arrays = dict(file)
        text = json.loads(str(arrays.pop("text")))
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; give a file of save_model") from error
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no model of save_model, or not a whole one; save it again"
        ) from error
    name = type(estimator).__name__
    if text["class"] != name or text["version"] != _VERSION:
        raise InputError(
            f"{path} holds a {text['class']} (version {text['version']}), not a {name} "
            f"(version {_VERSION}); load it with its own class"
        )
    estimator.set_params(**{k: _read(v) for k, v in text["settings"].items()})
    for key, value in text["fitted"].items():
        is_array = "object" in value
        found = np.array(value["object"], object) if is_array else _read(value["plain"])
        setattr(estimator, key, found)
    parts: dict[str, dict[str, Any]] = {"nodes": {}, "binner": {}, "fitted": {}}
    for key, array in arrays.items():
        kind, _, field = key.partition("/")
        if field:
            parts[kind][field] = array
    for key, array in parts["fitted"].items():
        setattr(estimator, key, array)
    categories = [None if one is None else tuple(one) for one in text["categories"]]
    estimator.binner_ = Binner(
        **parts["binner"],
        num_bins=text["num_bins"],
        categories=tuple(categories),
        feature_names=tuple(text["feature_names"]),
    )
    nodes = Nodes(**parts["nodes"])
    _check_nodes(nodes, estimator.binner_, path)
    estimator.forest_ = Forest(nodes, arrays["start"], text["num_bins"])


def _check_nodes(nodes: Nodes, binner: Binner, path: Any) -> None:
    """Refuse trees that lead out of their arrays: the kernels follow them blindly."""
    place = np.arange(nodes.left.shape[1])[None]
    is_split = nodes.left != 0
    follows = (nodes.left > place) & (nodes.left < nodes.left.shape[1] - 1)
    known = (nodes.feature >= 0) & (nodes.feature < binner.num_features)
    if not (np.where(is_split, follows, True) & known).all():
        raise InputError(f"{path} holds broken trees; save the model again")
