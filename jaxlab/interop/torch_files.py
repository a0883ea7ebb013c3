"""Tensors of files that `torch.save` wrote, read without torch and without trust.

Such a file is a pickle, and a pickle is a program. This reader follows nothing in it
but the few names that tensors are made of, and refuses a file with any other.
"""

import collections
import io
import math
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError

__all__ = ["read_torch"]

# torch's names of storages to dtypes.
_DTYPES: dict[str, np.dtype] = {
    "DoubleStorage": np.dtype("float64"),
    "FloatStorage": np.dtype("float32"),
    "HalfStorage": np.dtype("float16"),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype("int64"),
    "IntStorage": np.dtype("int32"),
    "ShortStorage": np.dtype("int16"),
    "CharStorage": np.dtype("int8"),
    "ByteStorage": np.dtype("uint8"),
    "BoolStorage": np.dtype("bool"),
    "ComplexFloatStorage": np.dtype("complex64"),
    "ComplexDoubleStorage": np.dtype("complex128"),
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first in files from before torch 1.6
_LEGACY_PROTOCOL = 1001


class _Storage:
    """Numbers that tensors share; their bytes may come after the tensors."""

    def __init__(self, dtype: np.dtype, key: str, size: int) -> None:
        self.dtype, self.key, self.size = dtype, key, size
        self.array: np.ndarray | None = None

    def fill(self, data: bytes, is_big: bool) -> None:
        if len(data) != self.size * self.dtype.itemsize:
            raise InputError(
                f"storage {self.key} has {len(data)} bytes instead of "
                f"{self.size * self.dtype.itemsize}"
            )
        array = np.frombuffer(data, self.dtype)
        is_foreign = is_big is (sys.byteorder == "little")
        self.array = array.byteswap() if is_foreign else array


class _Tensor:
    """A view of a storage, and made an array when the storage is there."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple, strides: tuple
    ) -> None:
        self.storage, self.offset = storage, offset
        self.shape, self.strides = shape, strides

    def array(self) -> np.ndarray:
        shape, strides, flat = self.shape, self.strides, self.storage.array
        numbers = (self.offset, *shape, *strides)
        fits = len(shape) == len(strides) and all(
            isinstance(number, int) and number >= 0 for number in numbers
        )
        count, last = math.prod(shape), self.offset
        if fits and count:
            last += sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if not fits or flat is None or (count and max(count, last + 1) > flat.size):
            raise InputError(
                f"a tensor of shape {shape} does not fit storage {self.storage.key}"
            )
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], shape, [s * flat.itemsize for s in strides]
        )
        return view.copy(order="C")


class _RebuildTensor:
    """Stands for `torch._utils._rebuild_tensor_v2`; gradients and hooks are dropped."""

    __slots__ = ()  # a pickle could set attributes of a function

    def __call__(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
    ) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise InputError("a tensor has no storage")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    """Stands for `torch._utils._rebuild_parameter`."""

    __slots__ = ()

    def __call__(self, data: Any, *_: Any) -> Any:
        return data


# All that a pickle may name. Nothing of it can be changed by a pickle.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): name for name in _DTYPES},
}


class _Unpickler(pickle.Unpickler):
    """Unpickler that knows tensors, containers, numbers and texts, and no code."""

    def __init__(
        self, file: BinaryIO | io.BytesIO, storages: dict[str, _Storage] | None = None
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = {} if storages is None else storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise InputError(
                f"it names {module}.{name}, which is no part of a tensor and is not "
                "run; save tensors alone: torch.save(model.state_dict(), file)"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, name, key, _, size, *view = pid
        if kind != "storage" or name not in _DTYPES or any(view):
            raise InputError(f"its entry {str(pid)[:80]} is not understood")
        return self._storages.setdefault(key, _Storage(_DTYPES[name], key, size))


def read_torch(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a `.pth`, `.pt` or `.bin` file, in both of torch's formats.

    Args:
        path: A file that `torch.save` wrote of tensors by key, `model.state_dict()`
            say; or of such tensors under the one key `state_dict`.

    Returns:
        Arrays by key, of the dtypes stored; bfloat16 is that of JAX.

    Raises:
        InputError: If the file is broken, is none of torch, holds anything but tensors
            by key, or names code: nothing of that is ever run.
    """
    path = Path(path)
    try:
        if zipfile.is_zipfile(path):
            content = _read_zip(path)
        else:
            with path.open("rb") as file:
                content = _read_legacy(file)
        return _arrays(content)
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    except Exception as error:  # a pickle can fail in any way
        raise InputError(
            f"{path} cannot be read as a file of torch ({error!r})"
        ) from None


def _read_zip(path: Path) -> Any:
    """Read the format of torch 1.6 and later: a pickle and a file a storage."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError("it holds no data.pkl, so torch.save did not write it")
        folder = pickles[0].removesuffix("data.pkl")
        order = f"{folder}byteorder"  # not in the oldest
        is_big = order in names and archive.read(order) == b"big"
        storages: dict[str, _Storage] = {}
        content = _Unpickler(io.BytesIO(archive.read(pickles[0])), storages).load()
        for key, storage in storages.items():
            storage.fill(archive.read(f"{folder}data/{key}"), is_big)
    return content


def _read_legacy(file: BinaryIO) -> Any:
    """Read the format of before: pickles, then the storages one after the other."""
    head = [_Unpickler(file).load() for _ in range(3)]
    if head[:2] != [_LEGACY_MAGIC, _LEGACY_PROTOCOL]:
        raise InputError("torch.save did not write it")
    is_big = head[2].get("little_endian") is False
    storages: dict[str, _Storage] = {}
    content = _Unpickler(file, storages).load()
    for key in _Unpickler(file).load():
        storage = storages[key]
        count = int.from_bytes(file.read(8), "big" if is_big else "little")
        if count != storage.size:
            raise InputError(f"storage {key} has {count} numbers, not {storage.size}")
        storage.fill(file.read(count * storage.dtype.itemsize), is_big)
    return content


def _arrays(content: Any) -> dict[str, np.ndarray]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, _Tensor)
        for key, value in content.items()
    ):
        found = type(content).__name__
        if isinstance(content, Mapping):
            others = [k for k, v in content.items() if not isinstance(v, _Tensor)]
            found = f"more under {', '.join(map(str, others[:6]))}"
        raise InputError(
            f"it holds {found}, not tensors by key; save the tensors alone: "
            "torch.save(model.state_dict(), file)"
        )
    return {key: tensor.array() for key, tensor in content.items()}
