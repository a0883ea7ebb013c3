"""Damaged copies of a file, which its reader must refuse in one line or read right."""

import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError

# Copies of each file; `make soak` asks for many more.
COUNT = int(os.environ.get("JAXLAB_DAMAGES", "60"))


def damaged(content: bytes, count: int = COUNT, seed: int = 0) -> Iterator[bytes]:
    """Give copies with a wrong bit or byte, or a part cut, lost, zeroed or doubled.

    Args:
        content: The whole file.
        count: Number of copies; the first is empty.
        seed: The same seed gives the same copies.
    """
    yield b""
    rng = np.random.default_rng(seed)
    for number in range(1, count):
        start, stop = sorted(rng.integers(0, len(content) + 1, 2))
        if rng.random() < 0.5:  # most damage is small
            stop = min(stop, start + int(rng.integers(1, 17)))
        part = content[start:stop]
        match number % 6:
            case 0:
                copy = bytearray(content)
                copy[int(rng.integers(len(copy)))] ^= 1 << int(rng.integers(8))
                yield bytes(copy)
            case 1:
                copy = bytearray(content)
                copy[int(rng.integers(len(copy)))] = int(rng.integers(256))
                yield bytes(copy)
            case 2:
                yield content[:start]
            case 3:
                yield content[:start] + content[stop:]
            case 4:
                yield content[:start] + bytes(len(part)) + content[stop:]
            case _:
                yield content[:stop] + part + content[stop:]


def check_reader(
    read: Callable[[pathlib.Path], Any],
    file: pathlib.Path,
    is_right: Callable[[Any], bool],
    *,
    count: int = COUNT,
    seed: int = 0,
) -> int:
    """Damage a whole file again and again, read it, and put it back.

    Args:
        read: Reads the file.
        file: Whole; at the end it is so again.
        is_right: Tells whether what was read may stand for what had been written.
        count: Number of damaged copies.
        seed: Which copies.

    Returns:
        How many copies were refused.
    """
    content, refused = file.read_bytes(), 0
    assert is_right(read(file))
    try:
        for number, copy in enumerate(damaged(content, count, seed)):
            file.write_bytes(copy)
            message = ""
            try:
                found = read(file)
            except InputError as error:
                message = str(error)
            if message:
                assert "\n" not in message, f"copy {number}: {message}"
                assert file.name in message, f"copy {number}: {message}"
                refused += 1
            else:
                assert is_right(found), f"copy {number} passed as whole"
    finally:
        file.write_bytes(content)
    return refused
