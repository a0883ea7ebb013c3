"""From the start of Python to the end of the first step, without and with the cache.

python -m benchmarks.start
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.harness import report

REPEATS = 3


def first_step() -> None:
    """Make one step of ViT-Ti/4, as an experiment starts, and say so."""
    from benchmarks.vit import jax_step
    from jaxlab.core.compilation import use_compilation_cache
    from jaxlab.core.host_memory import keep_freed_memory
    from jaxlab.core.mesh import use_cpu_devices

    keep_freed_memory()
    use_compilation_cache()
    use_cpu_devices("")
    jax_step(128, 12, "", "float32")()


def timed(cache: str) -> float:
    environment = {**os.environ, "JAXLAB_CACHE": cache}
    before = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.start", "--first-step"]
    subprocess.run(command, env=environment, check=True)
    return time.perf_counter() - before


def main() -> None:
    seconds: dict[str, list[float]] = {"first start": [], "second start": []}
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            cache = str(pathlib.Path(folder) / "cache")
            for name in seconds:
                seconds[name].append(timed(cache))
    base = statistics.median(seconds["first start"])
    rows = [
        {
            "start": name,
            "seconds_to_first_step": statistics.median(values),
            "times_sooner": base / statistics.median(values),
        }
        for name, values in seconds.items()
    ]
    report("start", "ViT-Ti/4, depth 12, batch 128: until the first step is done", rows)


if __name__ == "__main__":
    first_step() if "--first-step" in sys.argv else main()
