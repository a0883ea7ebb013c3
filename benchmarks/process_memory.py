"""How much memory a process takes at most while it calls something (Linux)."""

import pathlib
from collections.abc import Callable
from typing import Any

_MEGABYTE = 1024.0  # of the kilobytes in /proc


def reset_peak() -> float:
    """Start to watch the peak of memory; give what is in use now, in megabytes."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> float:
    """Give `VmRSS`, what is in use, or `VmHWM`, its peak, in megabytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / _MEGABYTE
    raise RuntimeError(f"no {name} in /proc/self/status")


def peak_megabytes(call: Callable[[], Any]) -> float:
    """Call once, and give the peak above what was in use before."""
    before = reset_peak()
    call()
    return memory("VmHWM") - before
