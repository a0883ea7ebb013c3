"""Writing a file so that nobody ever meets half of one."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

__all__ = ["replaced"]


@contextlib.contextmanager
def replaced(path: pathlib.Path, part: str = "") -> Iterator[pathlib.Path]:
    """Give a file to write to, which takes the place of another at the end.

    A reader, or a kill, meets the old file or the new one. Where writing fails, the old
    one stays, and nothing is left beside it.

    Args:
        path: The file to replace; it need not be there.
        part: Name of the file to write to, in the same folder; by default a hidden one
            of this process alone.

    Raises:
        OSError: If the file cannot be replaced.
    """
    beside = path.with_name(part or f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
