"""The small files of a run folder: configuration, network, rows of metrics."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from jaxlab.core.errors import InputError

__all__ = [
    "FORMAT",
    "NETWORK_FILE",
    "VOCABULARY_FILE",
    "as_json",
    "difference",
    "is_moved_file",
    "read_config",
    "read_metrics",
    "read_network",
    "write_json",
    "write_text",
]

FORMAT = 2  # of a run folder
NETWORK_FILE = "network.json"
VOCABULARY_FILE = "vocabulary.json"
_SHOWN = 80  # characters of a value that differs


def read_config(folder: str | pathlib.Path) -> tuple[str, dict[str, Any]]:
    """Read the name of a run's experiment, and its configuration by field.

    Raises:
        InputError: If the folder holds no run, or one of an earlier version.
    """
    file = pathlib.Path(folder) / "config.json"
    if not file.exists():
        raise InputError(f"{folder} is no run folder: it has no config.json")
    found = _read_json(file)
    if found.get("format") != FORMAT:
        raise InputError(
            f"run folder {folder} was made by another version of jaxlab, which this "
            "one does not open; train again in another --run-dir"
        )
    return _field(file, found, "experiment"), _field(file, found, "config")


def read_network(folder: str | pathlib.Path) -> dict[str, Any]:
    """Read `network.json`; see `RunFolder.write_network`.

    Raises:
        InputError: If there is none; a folder of several runs names them.
    """
    file = pathlib.Path(folder) / NETWORK_FILE
    if not file.exists():
        runs = sorted(
            part.parent.name for part in file.parent.glob(f"*/{NETWORK_FILE}")
        )
        rest = f"; open one of its runs: {', '.join(runs)}" if runs else ""
        raise InputError(f"the run in {folder} has no {NETWORK_FILE}{rest}")
    found = _read_json(file)
    for name in ("maker", "fields", "preprocessing", "class_names", "vocabulary"):
        _field(file, found, name)
    return found


def _read_json(file: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from None
    if not isinstance(found, dict):
        raise _damaged(file, "it holds no fields")
    return found


def _field(file: pathlib.Path, found: dict[str, Any], name: str) -> Any:
    if name not in found:
        raise _damaged(file, f"it has no {name}")
    return found[name]


def _damaged(file: pathlib.Path, why: str) -> InputError:
    return InputError(
        f"{file} cannot be read: {why}; put it back, or train in another --run-dir"
    )


def read_metrics(folder: str | pathlib.Path) -> list[dict[str, Any]]:
    """Read the rows of `metrics.jsonl`; a last row cut off by a kill is left out."""
    rows = []
    file = pathlib.Path(folder) / "metrics.jsonl"
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def as_json(config: Any) -> dict[str, Any]:
    """Return the fields of a configuration that say what a run computes."""
    fields = dataclasses.asdict(config)
    fields["engine"] = fields.pop("run")["engine"]  # pmap draws other dropout
    return json.loads(json.dumps(fields))  # tuples become lists, as in the file


def difference(
    found: dict[str, Any], wanted: dict[str, Any], free: tuple[str, ...] = ()
) -> list[str]:
    """Say of each field that differs, `free` ones apart, what it is in both."""
    texts = []
    for name in sorted((found.keys() | wanted.keys()) - set(free)):
        there, here = found.get(name, "absent"), wanted.get(name, "absent")
        if isinstance(there, dict) and isinstance(here, dict):
            texts += [f"{name}.{text}" for text in difference(there, here)]
        elif there != here:
            texts.append(f"{name} is {_short(there)} there, {_short(here)} here")
    return texts


def is_moved_file(there: Any, here: Any) -> bool:
    """Tell whether two values are different paths, and neither is a name of a set.

    A path has folders or an ending: `./pets`, `~/pets`, `mine.npz`.
    """
    both = [value for value in (there, here) if isinstance(value, str)]
    paths = [v for v in both if pathlib.Path(v).suffix or {"/", os.sep} & set(v)]
    return len(paths) == 2 and there != here


def _short(value: Any) -> str:
    """Write a value in few characters: 1000 class names would hide the rest."""
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def write_text(file: pathlib.Path, text: str) -> None:
    """Replace a file at once, so that a kill leaves the old or the new one."""
    part = file.with_suffix(file.suffix + ".part")
    part.write_text(text)
    part.replace(file)


def write_json(file: pathlib.Path, data: Any) -> None:
    """Replace a file by JSON data, see `write_text`."""
    write_text(file, json.dumps(data, indent=2) + "\n")
