"""Configurations of Hugging Face transformers: what entries may be, what is offered."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlab.core.errors import InputError
from jaxlab.nn.activation import Activation

__all__ = ["ACTIVATIONS", "check_config", "check_types", "read_json"]

# Their names of activations to ours.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_LARGEST = 2**31 - 1  # of an entry: XLA counts no further
_FEW_LAYERS = 100  # which take no time to look at
_PAIRS = ("image_size", "patch_size")  # rows and columns, where they differ


def read_json(file: Path) -> dict[str, Any]:
    """Read the table that a JSON file holds.

    Raises:
        InputError: If there is no such file, or something else in it.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{file} cannot be read as JSON ({error}); fetch it again"
        ) from None
    if not isinstance(found, dict):
        raise InputError(f"{file} holds {type(found).__name__}, not a table of entries")
    return found


def check_types(
    config: Mapping[str, Any], defaults: Mapping[str, Any], name: str, num_weights: int
) -> None:
    """Refuse entries that cannot be, before anything is made of them.

    Args:
        config: The complete configuration.
        defaults: Shows the type of each entry: a number of things is at least 1, a rate
            at least 0; an entry that is None may be a number of things, or a table.
        name: Name of the configuration, for the message.
        num_weights: Weights that there are: no deep network has more layers than these.

    Raises:
        InputError: Naming the entry, its value and what it must be.
    """
    for entry, default in defaults.items():
        wanted = _wanted(entry, config[entry], default)
        if wanted:
            raise InputError(
                f"{entry} {str(config[entry])[:40]!r} of {name} must be {wanted}"
            )
        most = max(num_weights, _FEW_LAYERS)
        if type(default) is int and "layer" in entry and config[entry] > most:
            raise InputError(
                f"{entry} {config[entry]} of {name} is more than the {num_weights} "
                "weights that there are"
            )


def _wanted(entry: str, value: Any, default: Any) -> str:
    """Return what an entry must be, or nothing if it is that."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "a text"
    if isinstance(default, float):
        is_number = type(value) in (int, float) and math.isfinite(value)
        return "" if is_number and value >= 0 else "a number of at least 0"
    if entry.startswith("rope_"):
        return "" if value is None or isinstance(value, Mapping) else "a table or null"
    if entry.endswith("_id"):
        return "" if value is None or _is_int(value, 0) else "a token, or null"
    if entry in _PAIRS and isinstance(value, list | tuple):
        is_pair = len(value) == 2 and all(_is_int(side, 1) for side in value)
        return "" if is_pair else "two numbers of pixels"
    if default is None and value is None:
        return ""
    return "" if _is_int(value, 1) else "a whole number of at least 1"


def _is_int(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= _LARGEST


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
