"""What Orbax tells beside what it raises is left out: a failed write is told once."""

import functools
import logging
import sys
from typing import Any

__all__ = ["quieten_orbax"]


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
    return "orbax" not in text or "exception was never retrieved" not in text
