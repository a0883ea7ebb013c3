"""Weights by key: of a mapping, a file of any kind, or a folder, also written."""

import functools
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from jaxlab.core.errors import InputError, WriteError
from jaxlab.core.files.npz import read_npz
from jaxlab.core.files.replaced import replaced
from jaxlab.interop.hf_config import read_json
from jaxlab.interop.safetensors_files import read_safetensors, to_safetensors
from jaxlab.interop.torch_files import read_torch

__all__ = [
    "Source",
    "existing",
    "file_in",
    "names_source",
    "read_weights",
    "write_folder",
]

P = ParamSpec("P")
T = TypeVar("T")

# Weights by key, or a folder or file of them.
Source = Mapping[str, Any] | str | os.PathLike[str]

# What a folder of weights holds, whole or in shards; the first found counts, as in
# transformers and diffusers.
_FOLDER_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
)
_SUFFIXES = (".bin", ".npz", ".pt", ".pth", ".safetensors")
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # OWNER/NAME, or an old NAME


def names_source(load: Callable[P, T]) -> Callable[P, T]:
    """Let what a loader refuses say of which files, where it was given some."""

    @functools.wraps(load)
    def named(*args: P.args, **options: P.kwargs) -> T:
        try:
            return load(*args, **options)
        except InputError as error:
            source = args[0] if args else options["source"]
            if isinstance(source, Mapping) or str(source) in str(error):
                raise
            raise InputError(
                f"weights and config.json of {source} cannot be loaded: {error}"
            ) from None

    return named


def read_weights(source: Source) -> Mapping[str, Any]:
    """Give weights by key, of a mapping, a file or a folder of files.

    Args:
        source: Weights by key; a file of torch (`.pth`, `.pt`, `.bin`; read without
            torch, see `read_torch`), an `.npz` file, or any other, which is to be one
            of safetensors (see `read_safetensors`); or a folder, see `read_source`.

    Raises:
        InputError: If a file is missing, or cannot be read.
    """
    if isinstance(source, Mapping):
        return source
    path = existing(source)
    return _read_file(path) if path.is_file() else _read_folder(path)


def existing(source: str | os.PathLike[str]) -> Path:
    """Return the path of a file or folder that is there.

    Raises:
        InputError: If it is not; of what may be a name of the Hugging Face hub, with
            the command that fetches it.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = str(source)
    fetch = ""
    if _HUB_NAME.fullmatch(name) and path.suffix not in _SUFFIXES:
        folder = path.name
        fetch = (
            f"; a model of the Hugging Face hub is fetched by `hf download {name} "
            f"--local-dir {folder}` (of `pip install huggingface_hub`), then give "
            f"{folder!r}"
        )
    raise InputError(f"there is no file or folder {path} of weights{fetch}")


def file_in(folder: Path, name: str) -> Path:
    """Return the path of a file of a folder.

    Raises:
        InputError: If it is not there.
    """
    if not (folder / name).is_file():
        raise InputError(
            f"there is no {name} in {folder}; give a folder that the model's "
            f"save_pretrained(folder) wrote"
        )
    return folder / name


def write_folder(
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    file: str,
) -> None:
    """Write what `from_pretrained` reads: `config.json`, and a file of weights.

    Each of them is replaced whole or not at all, the configuration last.

    Args:
        folder: Made if it is not there.
        config: The configuration, JSON data.
        weights: Arrays by key.
        file: Name of the file of weights, of safetensors.

    Raises:
        WriteError: If they cannot be written.
    """
    path = Path(folder).expanduser()
    text = json.dumps(dict(config), indent=2) + "\n"
    contents = {file: to_safetensors(weights), "config.json": text.encode()}
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with replaced(path / name) as part:
                part.write_bytes(content)
    except OSError as error:
        raise WriteError(
            f"weights cannot be written to {path} ({error.strerror or error}); make "
            "room, or give another folder"
        ) from None


def _read_folder(folder: Path) -> dict[str, np.ndarray]:
    for name in _FOLDER_FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return _read_file(folder / name)
        if index.is_file():
            return {
                key: weight
                for shard in _shards(index)
                for key, weight in _read_file(file_in(folder, shard)).items()
            }
    return _read_file(file_in(folder, _FOLDER_FILES[0]))


def _shards(index: Path) -> list[str]:
    """Return the names of the files that an index lists, all beside it."""
    found = read_json(index).get("weight_map")
    names = set(found.values()) if isinstance(found, dict) else {None}
    if not all(
        isinstance(name, str) and Path(name).name == name != "" for name in names
    ):
        raise InputError(
            f"{index} has no weight_map from weights to names of files; fetch it again"
        )
    return sorted(map(str, names))


def _read_file(path: Path) -> dict[str, np.ndarray]:
    if path.suffix in (".pth", ".pt", ".bin"):
        return read_torch(path)
    return _read_npz(path) if path.suffix == ".npz" else read_safetensors(path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path)
    except InputError as error:
        reason = error.__cause__
        raise InputError(f"{path} cannot be read as npz ({reason})") from None
