"""One convention for all benchmarks: interleaved runs, medians, a table and JSON.

Machines are shared and noisy, so the candidates take turns, and what counts is the
ratio of medians within one run, never a time from another day.
"""

import dataclasses
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from jaxlab.core.printed_table import table_lines

Name = TypeVar("Name", bound=Hashable)

RESULTS = pathlib.Path(__file__).parent / "results"

# A call returns only when its work is done; a candidate builds one.
Call = Callable[[], Any]
Candidate = Callable[[], Call]


@dataclasses.dataclass
class Timing:
    """Seconds of one candidate."""

    cold: float  # building it and its first call, compilation included
    warm: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.warm)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Give what a call returns, and its seconds."""
    before = time.perf_counter()
    found = call()
    return found, time.perf_counter() - before


def take_turns(
    candidates: Mapping[Name, Candidate], repeats: int
) -> dict[Name, Timing]:
    """Time candidates by turns.

    Args:
        candidates: Each builds (imports, compiles, ...) and returns what to time.
        repeats: Timed calls of each after the first one.
    """
    timings, calls = {}, {}
    for name, build in candidates.items():
        before = time.perf_counter()
        calls[name] = build()
        calls[name]()
        timings[name] = Timing(time.perf_counter() - before, [])
    for _ in range(repeats):
        for name, call in calls.items():
            before = time.perf_counter()
            call()
            timings[name].warm.append(time.perf_counter() - before)
    return timings


def machine() -> dict[str, Any]:
    """Say on what the numbers were measured."""
    import jax

    names = [
        line.split(":", 1)[1].strip()
        for line in _lines("/proc/cpuinfo")
        if line.startswith("model name")
    ]
    # Modules of the libraries; ot is POT, ott is ott-jax.
    known = [
        "jax",
        "torch",
        "transformers",
        "xgboost",
        "lightgbm",
        "sklearn",
        "ot",
        "ott",
    ]
    modules = {name: sys.modules[name] for name in known if name in sys.modules}
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        **{name: module.__version__ for name, module in modules.items()},
    }


def _lines(path: str) -> list[str]:
    file = pathlib.Path(path)
    return file.read_text().splitlines() if file.exists() else []


def report(
    name: str,
    title: str,
    rows: list[dict[str, Any]],
    *,
    part: str = "",
    is_kept: bool = True,
) -> None:
    """Print a table and write `results/NAME.json`.

    Args:
        name: Of the file.
        title: What was measured.
        rows: The same columns in each.
        part: Of a benchmark of several tables: other parts stay as they are.
        is_kept: False prints only.
    """
    facts = machine()
    print(f"\n{title}")
    print("  " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    print("\n".join(table_lines(rows)), flush=True)
    if not is_kept:
        return
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    data: dict[str, Any] = {"title": title, "machine": facts, "rows": rows}
    if part:
        known = json.loads(file.read_text()) if file.exists() else {}
        data = {**known, part: data}
    file.write_text(json.dumps(data, indent=2) + "\n")
    print(f"  written to {os.path.relpath(file)}", flush=True)
