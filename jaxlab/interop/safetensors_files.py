"""Tensors of safetensors files, read and written without the library of that name.

Such a file is the length of a header (8 bytes, the lowest first), the header in JSON
(dtype, shape and place of each tensor) and the numbers, one tensor after the other.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError

__all__ = ["read_safetensors", "to_safetensors"]

_DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype("bool"),
    "U8": np.dtype("uint8"),
    "I8": np.dtype("int8"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
    "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
    "F8_E5M2": np.dtype(jnp.float8_e5m2),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"  # texts by name, of no tensor
_ALIGNMENT = 8  # of the first number, which the library expects


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a safetensors file.

    Args:
        path: The file.

    Returns:
        Arrays by key, of the dtypes stored; bfloat16 is that of JAX. They share memory
        with nothing but each other.

    Raises:
        InputError: If the file cannot be read, or its header does not tell where each
            of its bytes belongs.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            text = file.read(size) if size <= path.stat().st_size else b""
            if len(text) < max(size, 2):
                raise InputError("it ends before its header does")
            header = json.loads(text, object_pairs_hook=_once)
            data = np.fromfile(file, np.uint8)
        return _tensors(header, data)
    except (OSError, ValueError, RecursionError) as error:  # InputError is a ValueError
        raise InputError(
            f"{path} cannot be read as safetensors ({error}); fetch it again, or give "
            "another file"
        ) from None


def to_safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of a safetensors file, as torch's side of the library has it.

    Args:
        tensors: Arrays by key; nothing is shared or left out.

    Raises:
        InputError: If an array has a dtype that such files do not have.
    """
    header: dict[str, Any] = {_METADATA: {"format": "pt"}}
    parts, end = [], 0
    for key, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            raise InputError(
                f"tensor {key!r} of dtype {tensor.dtype} cannot be in a safetensors "
                f"file; use one of {', '.join(map(str, _NAMES))}"
            )
        parts.append(tensor.tobytes())
        begin, end = end, end + tensor.nbytes
        header[key] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join((len(text).to_bytes(8, "little"), text, *parts))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of JSON's pairs, in which no key may come twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputError("its header has a key twice")
    return found


def _tensors(header: Any, data: np.ndarray) -> dict[str, np.ndarray]:
    if not isinstance(header, Mapping):
        raise InputError("its header is no table")
    entries = {name: entry for name, entry in header.items() if name != _METADATA}
    places = {name: _place(name, entry) for name, entry in entries.items()}
    end = 0
    for name in sorted(places, key=places.__getitem__):
        if places[name][0] != end:
            raise InputError(f"tensor {name[:80]!r} does not begin where another ends")
        end = places[name][1]
    if end != len(data):
        raise InputError(f"it has {len(data)} bytes of numbers instead of {end}")
    return {
        name: data[slice(*places[name])]
        .view(_DTYPES[entry["dtype"]])
        .reshape(entry["shape"])
        for name, entry in entries.items()
    }


def _place(name: str, entry: Any) -> tuple[int, int]:
    """Return where a tensor begins and ends, as far as its entry makes sense."""
    try:
        dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
        begin, end = entry["data_offsets"]
        numbers = (begin, end, *shape)
        is_whole = all(type(number) is int and number >= 0 for number in numbers)
        if is_whole and end - begin == math.prod(shape) * dtype.itemsize:
            return begin, end
    except (KeyError, TypeError, ValueError):
        pass
    raise InputError(f"the entry of tensor {name[:80]!r} is not understood")
