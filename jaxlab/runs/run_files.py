"""The small files of a run folder: configuration, network, rows of metrics."""

import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError, WriteError
from jaxlab.core.files.replaced import replaced
from jaxlab.core.pytree import fingerprint_json

__all__ = [
    "FORMAT",
    "METRICS_FILE",
    "NETWORK_FILE",
    "VOCABULARY_FILE",
    "as_json",
    "difference",
    "drop_metrics",
    "not_written",
    "read_config",
    "read_metrics",
    "read_network",
    "write_arrays",
    "write_bytes",
    "write_fields",
    "write_json",
    "write_text",
]

FORMAT = 3  # of a run folder
METRICS_FILE = "metrics.jsonl"
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
            f"one does not open ({file.name} has no format {FORMAT}); train again in "
            "another --run-dir"
        )
    _check_unchanged(file, found)
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
    _check_unchanged(file, found)
    return found


def _read_json(file: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, str(error)) from None
    if not isinstance(found, dict):
        raise _damaged(file, "it holds no fields")
    return found


def _field(file: pathlib.Path, found: dict[str, Any], name: str) -> Any:
    if name not in found:
        raise _damaged(file, f"it has no {name}")
    return found[name]


def _check_unchanged(file: pathlib.Path, found: dict[str, Any]) -> None:
    if found.pop("checksum", None) != fingerprint_json(found):
        raise _damaged(file, "it is not what was written")


def _damaged(file: pathlib.Path, why: str) -> InputError:
    return InputError(
        f"{file} cannot be read: {why}; put it back, or train in another --run-dir"
    )


def read_metrics(folder: str | pathlib.Path) -> list[dict[str, Any]]:
    """Read the rows of `metrics.jsonl`; a last row cut off by a kill is left out."""
    return [row for row in _read_rows(folder) if row]


def drop_metrics(
    folder: str | pathlib.Path, last_step: int
) -> tuple[list[dict[str, Any]], str]:
    """Take the rows after a step out of `metrics.jsonl`.

    Where rows before the last one cannot be read, they are dropped too, and the file
    as it was is kept as `metrics.damaged.jsonl`.

    Returns:
        The rows that are left, and a line about damage, if there was any.
    """
    file = pathlib.Path(folder) / METRICS_FILE
    found = _read_rows(folder)
    kept = [row for row in found if row and row["step"] <= last_step]
    text = "".join(json.dumps(row) + "\n" for row in kept)
    damage = ""
    if lost := found[:-1].count({}):  # the last one is cut off by any kill
        other = file.with_name("metrics.damaged.jsonl")
        write_bytes(other, file.read_bytes())
        damage = f"{lost} damaged rows of {file} are left out; {other} has it all"
    if found and text.encode() != file.read_bytes():
        write_text(file, text)
    return kept, damage


def _read_rows(folder: str | pathlib.Path) -> list[dict[str, Any]]:
    """Read the rows of a run, an empty one where a line is no row."""
    file = pathlib.Path(folder) / METRICS_FILE
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _damaged(file, str(error.strerror)) from None
    return [_row(line) for line in lines]


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    is_row = isinstance(row, dict) and type(row.get("step")) is int
    return row if is_row and all(map(_is_number, row.values())) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


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


def _short(value: Any) -> str:
    """Write a value in few characters: 1000 class names would hide the rest."""
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def write_text(file: pathlib.Path, text: str) -> None:
    """Replace a file by a text, see `write_bytes`."""
    write_bytes(file, text.encode())


def write_bytes(file: pathlib.Path, content: bytes) -> None:
    """Replace a file at once, so that a kill leaves the old or the new one.

    Raises:
        WriteError: If it cannot be written, on a full disk say; the old one is whole.
    """
    try:
        # The name of the part is one that a new folder may hold after a kill.
        with replaced(file, f"{file.name}.part") as part, part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # else a power cut may leave an empty file
    except OSError as error:
        raise not_written(file, error) from None


def not_written(path: pathlib.Path, error: OSError) -> WriteError:
    """Return what to raise where a file of a run could not be written."""
    return WriteError(
        f"{path} could not be written ({error.strerror or error}); make room or "
        "mend the folder, then give the same command with its --run-dir to go on"
    )


def write_arrays(file: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace an `.npz` file by arrays, see `write_bytes`."""
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_bytes(file, content.getvalue())


def write_fields(file: pathlib.Path, fields: Mapping[str, Any]) -> None:
    """Replace a file by JSON fields and their checksum, see `write_bytes`."""
    write_json(file, {**fields, "checksum": fingerprint_json(dict(fields))})


def write_json(file: pathlib.Path, data: Any) -> None:
    """Replace a file by JSON data, see `write_bytes`."""
    write_text(file, json.dumps(data, indent=2) + "\n")
