"""Checksums of checkpoints: a damaged one is told and moved aside, never read."""

import hashlib
import itertools
import json
import pathlib

from jaxlab.core.distributed import is_main_process
from jaxlab.core.errors import InputError

__all__ = ["check_whole", "saved_steps", "seal", "set_aside_damaged"]

_FILE = "checksums.json"
_NOTES = {_FILE, "_CHECKPOINT_METADATA", "commit_success.txt"}


def saved_steps(folder: pathlib.Path) -> list[int]:
    """Return the steps that folders are there of, in order."""
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def seal(folder: pathlib.Path) -> None:
    """Write the checksums of a folder that is about to get its name."""
    if is_main_process():
        unnamed = folder.parent.glob(f"{folder.name}.orbax-checkpoint-tmp*")
        _write_checksums(next(unnamed, folder))


def check_whole(folder: pathlib.Path) -> None:
    """Refuse to read a damaged checkpoint."""
    if damage := _find_damage(folder):
        steps = [
            step for step in saved_steps(folder.parent) if str(step) != folder.name
        ]
        others = ", ".join(map(str, steps)) or "none"
        raise InputError(
            f"checkpoint {folder} is damaged: {damage}; put the file back, or use "
            f"another step (saved: {others})"
        )


def set_aside_damaged(folder: pathlib.Path) -> list[str]:
    """Move damaged checkpoints out of the way, if one is whole; tell of each."""
    found = {step: _find_damage(folder / str(step)) for step in saved_steps(folder)}
    damaged = {step: damage for step, damage in found.items() if damage}
    if not damaged:
        return []
    if len(damaged) == len(found):
        raise InputError(
            f"checkpoint {folder / str(max(found))} is damaged: {found[max(found)]}; "
            "no other is whole: put the file back, or train in another --run-dir"
        )
    lines = []
    for step, damage in damaged.items():
        there = folder / str(step)
        names = (f"damaged_{step}" + "_" * count for count in itertools.count())
        other = next(
            folder.with_name(name)
            for name in names
            if not folder.with_name(name).exists()
        )
        lines.append(f"checkpoint {there} is damaged ({damage}); it is now {other}")
        if is_main_process():
            there.rename(other)
    return lines


def _write_checksums(folder: pathlib.Path) -> None:
    """Write `checksums.json`: the SHA-256 of each file of a folder.

    Orbax's own notes of the folder are left out: it still writes the time of the
    renaming to them.
    """
    sums = {
        str(file.relative_to(folder)): _sum(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).name not in _NOTES
    }
    (folder / _FILE).write_text(json.dumps(sums, indent=1) + "\n")


def _find_damage(folder: pathlib.Path) -> str:
    """Tell what is wrong with a folder since its checksums were written.

    Returns:
        Which file is damaged, in a few words; empty for a whole folder.
    """
    try:
        sums = json.loads((folder / _FILE).read_text())
        for name, written in sums.items():
            if not (folder / name).is_file():
                return f"{name} is gone"
            if _sum(folder / name) != written:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return f"it has no {_FILE}"
    except (ValueError, AttributeError, TypeError, RecursionError):
        return f"{_FILE} is not what was written"
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    return "" if sums else f"{_FILE} is empty"


def _sum(file: pathlib.Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
