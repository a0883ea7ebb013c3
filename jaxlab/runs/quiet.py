"""What Orbax tells beside what it raises is left out: a failed write is told once."""

import errno
import functools
import logging
import sys
from typing import Any

__all__ = ["quieten_orbax"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # of a disk, a share, a file


@functools.cache  # once a process
def quieten_orbax() -> None:
    """Leave out Orbax's log, and the echoes that a failed write has in asyncio."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(_is_no_echo)
    usual = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        # tensorstore ends writes whose event loop ended with the first failure.
        if "Event loop is closed" not in str(unraisable.exc_value):
            usual(unraisable)

    sys.unraisablehook = hook


def _is_no_echo(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    error = record.exc_info[1] if record.exc_info else None
    is_full = isinstance(error, OSError) and error.errno in _FULL
    is_echo = "orbax" in text or is_full
    return not is_echo or "exception was never retrieved" not in text
