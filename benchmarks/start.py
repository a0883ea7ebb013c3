"""From the start of Python to the first step, without and with the cache.

What the step itself takes is left out: it is the time of the second one.

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
    """Reach the first step of ViT-Ti/4 as an experiment does, and print when."""
    from benchmarks.vit import jax_step
    from jaxlab.core.compilation import use_compilation_cache
    from jaxlab.core.host_memory import keep_freed_memory
    from jaxlab.core.mesh import use_cpu_devices

    keep_freed_memory()
    use_compilation_cache()
    use_cpu_devices("")
    step = jax_step(128, 12, "", "float32")
    step()
    reached = time.time()
    step()
    print(2 * reached - time.time())


def timed(cache: str) -> float:
    environment = {**os.environ, "JAXLAB_CACHE": cache}
    command = [sys.executable, "-m", "benchmarks.start", "--first-step"]
    before = time.time()
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1]) - before


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
    report("start", "ViT-Ti/4, depth 12, batch 128: until the first step", rows)


if __name__ == "__main__":
    first_step() if "--first-step" in sys.argv else main()
