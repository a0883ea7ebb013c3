"""Reading one part of the state of a run, to use it elsewhere."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import PyTree
from jaxlab.runs.checkpoint import FROZEN, STATE, Checkpoints, read_metadata
from jaxlab.runs.checksums import check_whole

__all__ = ["At", "load_params"]

At: TypeAlias = Literal["best", "last"]  # a moment of a run


def load_params(
    folder: str | pathlib.Path, *, name: str = "", step: At | int = "best"
) -> PyTree:
    """Read one part of a saved state of a run, to use it elsewhere.

    Args:
        folder: A run folder, as printed at the end of a run.
        name: Which field of the state: `params`, `ema`, `model_state`, `frozen`; of a
            player `generator/params`. By default the average of the parameters if one
            was kept, else `params`, or those of the generator.
        step: Which state: the `best` by the run's own measure (the last where none was
            measured), the `last`, or that of a step.

    Returns:
        Nested dictionaries of NumPy arrays.

    Raises:
        InputError: If the folder holds no such checkpoint or the state no such part.
    """
    path = pathlib.Path(folder).absolute() / "checkpoints"
    if not path.is_dir():
        raise InputError(f"no checkpoints in {folder}; give a run folder")
    with ocp.PyTreeCheckpointer() as reader:
        if name == FROZEN:
            file, parts = path.with_name(FROZEN), [FROZEN]
            if not file.is_dir():
                raise InputError(f"the run in {folder} has no frozen parameters")
        else:
            file, parts = path / str(_find_step(path, step)) / STATE, name.split("/")
        check_whole(file if name == FROZEN else file.parent)
        saved = read_metadata(reader, file)
        if parts == [""]:
            parts = _evaluated(saved)
        part: Any = saved
        for key in parts:
            if not isinstance(part, Mapping) or part.get(key) is None:
                held = ", ".join(key for key, leaf in saved.items() if leaf is not None)
                raise InputError(f"the state in {path} has no {name!r}; it has {held}")
            part = part[key]
        wanted = functools.reduce(lambda tree, key: {key: tree}, parts[::-1], part)
        as_numpy = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
        )
        restored = reader.restore(
            file,
            args=ocp.args.PyTreeRestore(
                wanted, restore_args=as_numpy, partial_restore=True
            ),
        )
    return functools.reduce(lambda tree, key: tree[key], parts, restored)


def _evaluated(saved: Mapping[str, Any]) -> list[str]:
    """Return where the parameters to evaluate with lie in a state."""
    if saved.get("ema") is not None:
        return ["ema"]
    return ["generator", "params"] if "generator" in saved else ["params"]


def _find_step(path: pathlib.Path, step: At | int) -> int:
    with Checkpoints(path, read_only=True) as checkpoints:
        saved = checkpoints.all_steps()
        chosen: int | None
        if step == "best" and checkpoints.best_step() is not None:
            chosen = checkpoints.best_step()
        elif step in ("best", "last"):
            chosen = checkpoints.latest_step()
        else:
            chosen = step if step in saved else None
    if chosen is None:
        there = ", ".join(map(str, saved)) or "none"
        wanted = "complete checkpoint" if step in ("best", "last") else f"step {step}"
        raise InputError(f"no {wanted} in {path}; saved steps: {there}")
    return chosen
