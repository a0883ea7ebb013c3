"""What all readers of Hugging Face weights share: folders, configurations, ties."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Params
from jaxlab.interop.key_table import Rule, to_params
from jaxlab.interop.torch_files import read_torch
from jaxlab.nn.activation import Activation
from jaxlab.nn.stack import stack_blocks, unstack_blocks

__all__ = [
    "ACTIVATIONS",
    "Source",
    "check_config",
    "check_fields",
    "fill",
    "fill_language_model",
    "looped",
    "merge_tied",
    "new_head",
    "num_rows",
    "read_source",
    "read_weights",
]

Network = TypeVar("Network", bound=nn.Module)

# Weights by key, or a folder or file of them.
Source = Mapping[str, Any] | str | os.PathLike[str]

# What a folder of weights holds, whole or in shards; the first found counts, as in
# transformers.
_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")

# Their names of activations to ours.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


def read_source(
    source: Source, config: Mapping[str, Any] | None, defaults: Mapping[str, Any]
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Give weights and the complete configuration.

    Args:
        source: Weights by key; or a folder that `save_pretrained` wrote, with
            `config.json` and `model.safetensors`, whole or in shards (or
            `pytorch_model.bin`, which older ones have); or the path of a file of
            weights, see `read_weights`, with `config.json` beside it.
        config: The configuration; read from the folder if None.
        defaults: What transformers assumes where the configuration says nothing.

    Raises:
        InputError: If a file is missing, or weights come without a configuration.
    """
    if not isinstance(source, Mapping):
        path = Path(source).expanduser()
        folder = path.parent if path.is_file() else path
        if config is None:
            config = json.loads(_file(folder, "config.json").read_text())
    weights = read_weights(source)
    if config is None:
        raise InputError(
            "weights alone do not tell the number of heads; pass config, such as "
            "model.config.to_dict()"
        )
    return weights, {**defaults, **config}


def read_weights(source: Source) -> Mapping[str, Any]:
    """Give weights by key, of a mapping, a file or a folder of files.

    Args:
        source: Weights by key; a file of torch (`.pth`, `.pt`, `.bin`; read without
            torch, see `read_torch`), an `.npz` file, or any other, which is to be one
            of safetensors; or a folder, see `read_source`.

    Raises:
        InputError: If a file is missing, or cannot be read.
    """
    if isinstance(source, Mapping):
        return source
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"there is no file or folder {path} of weights")
    return _read_file(path) if path.is_file() else _read_folder(path)


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise InputError(
            f"there is no {name} in {folder}; give a folder that transformers' "
            f"model.save_pretrained(folder) wrote"
        )
    return folder / name


def _read_folder(folder: Path) -> dict[str, np.ndarray]:
    for name in _FOLDER_FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return _read_file(folder / name)
        if index.is_file():
            shards = set(json.loads(index.read_text())["weight_map"].values())
            return {
                key: weight
                for shard in sorted(shards)
                for key, weight in _read_file(_file(folder, shard)).items()
            }
    return _read_file(_file(folder, _FOLDER_FILES[0]))


def _read_file(path: Path) -> dict[str, np.ndarray]:
    if path.suffix in (".pth", ".pt", ".bin"):
        return read_torch(path)
    return _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except Exception as error:  # of many kinds
        raise InputError(f"{path} cannot be read as npz ({error})") from None


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise InputError(
            f"reading {path} needs safetensors; run `pip install safetensors`, or pass "
            f"the weights themselves"
        ) from error
    try:
        return load_file(path)
    except Exception as error:  # its own kind, which says what is wrong with the file
        raise InputError(f"{path} cannot be read as safetensors ({error})") from None


def check_config(
    config: Mapping[str, Any], network: str, offered: Mapping[str, Sequence[Any]]
) -> None:
    """Refuse a configuration that a network of ours cannot follow.

    Args:
        config: The complete configuration.
        network: Name of ours, for the message.
        offered: What each entry may be.

    Raises:
        InputError: Naming the entry, its value and what there is.
    """
    for name, values in offered.items():
        if config[name] not in values:
            raise InputError(
                f"{name} {config[name]!r} of the configuration is not offered; "
                f"{network} has {', '.join(map(repr, values))}"
            )


def check_fields(
    network: nn.Module, theirs: str, offered: Mapping[str, Sequence[Any]]
) -> None:
    """Refuse to give the weights of a network that the other library does not have.

    Args:
        network: Ours.
        theirs: Name of theirs, for the message.
        offered: What each field may be.

    Raises:
        InputError: Naming the field, its value and what there is.
    """
    for name, values in offered.items():
        value = getattr(network, name)
        if value not in values:
            raise InputError(
                f"there is no {theirs} with {name}={value!r}; it has "
                f"{', '.join(map(repr, values))}"
            )


def num_rows(weights: Mapping[str, Any], key: str) -> int:
    """Count the outputs of a torch layer; 0 if there is none."""
    return int(np.shape(weights[key])[0]) if key in weights else 0


def merge_tied(weights: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Keep one of several weights that are the same, under the first of their keys.

    Files hold a tied weight once, under a key or another; `state_dict()` gives it
    under all.

    Raises:
        InputError: If two of them differ.
    """
    present = [key for key in keys if key in weights]
    for key in present[1:]:
        one, other = weights[present[0]], weights[key]
        if np.shape(one) != np.shape(other) or not bool((one == other).all()):
            raise InputError(
                f"{present[0]} and {key} differ, but are one weight by the "
                f"configuration; correct tie_word_embeddings there, or the weights"
            )
    rest = {key: weight for key, weight in weights.items() if key not in keys}
    return {**rest, **({keys[0]: weights[present[0]]} if present else {})}


def fill(
    network: Network,
    inputs: Sequence[Any],
    weights: Mapping[str, Any],
    rules: Sequence[Rule],
    *,
    stacks: Sequence[str],
    scan: bool,
    ignore: Mapping[str, str] | None = None,
) -> tuple[Network, Params]:
    """Convert weights by a table to the parameters of a network.

    Args:
        network: A network with a field `scan`, which is False.
        inputs: Examples of its inputs, for their shapes.
        weights: By key.
        rules: The table.
        stacks: Names of its `Stack`s.
        scan: Whether to stack their blocks.
        ignore: See `to_params`.

    Returns:
        The network, scanned or not, and its parameters.

    Raises:
        InputError: See `to_params`.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    params = to_params(weights, rules, shapes, ignore=ignore)
    params = jax.tree.map(jnp.asarray, params)
    if scan:
        params |= {name: stack_blocks(params[name]) for name in stacks}
    return network.clone(scan=scan), params


def fill_language_model(
    network: Network,
    weights: Mapping[str, Any],
    rules: Callable[[str], Sequence[Rule]],
    *,
    prefix: str,
    table: str,
    head: str,
    ignore: Mapping[str, str],
    scan: bool,
) -> tuple[Network, Params]:
    """Convert weights of a decoder alone, which may lack the prefix of a whole model.

    Args:
        network: A `TransformerLM` that does not scan.
        weights: By key.
        rules: The table, given the prefix.
        prefix: Of the keys of a model with a head; a bare one has none.
        table: Key of the table of tokens, after the prefix.
        head: Key of the softmax's matrix, the same as the table where it is tied.
        ignore: See `to_params`; keys after the prefix.
        scan: Whether to stack the blocks.

    Returns:
        The network, scanned or not, and its parameters.

    Raises:
        InputError: See `to_params` and `merge_tied`.
    """
    found = prefix if any(key.startswith(prefix) for key in weights) else ""
    if network.tie_softmax:
        weights = merge_tied(weights, found + table, head)
    return fill(
        network,
        [jax.ShapeDtypeStruct((1, 1), "int32")],
        weights,
        rules(found),
        stacks=["decoder"],
        scan=scan,
        ignore={found + key: why for key, why in ignore.items()},
    )


def looped(network: Any, params: Params, *stacks: str) -> Params:
    """Undo the stacking of the blocks of a network or stack, if it scans."""
    if not network.scan:
        return params
    return {**params, **{name: unstack_blocks(params[name]) for name in stacks}}


def new_head(width: int, num_classes: int) -> Params:
    """Give the parameters of a head to fine-tune: zeros."""
    return {"kernel": jnp.zeros((width, num_classes)), "bias": jnp.zeros(num_classes)}
