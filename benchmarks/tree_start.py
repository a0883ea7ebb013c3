"""One fit in a fresh process: its seconds, and the memory that it takes.

Imports, data and the start of the devices come before it and are not counted.

python -m benchmarks.tree_start LIBRARY ROWS BINS
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.process_memory import memory, peak_megabytes, reset_peak

FEATURES = 28
_MEGABYTE = 1024.0  # of the kilobytes in /proc


def make_data(num_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows of two classes: linear, product and wave, with noise."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((num_rows, FEATURES), np.float32)
    score = X[:, 0] + X[:, 1] * X[:, 2] + np.sin(3 * X[:, 3])
    return X, (score + rng.standard_normal(num_rows) > 0).astype(np.int32)


def fit_once(library: str, num_rows: int, num_bins: int) -> dict[str, float]:
    """Fit twice here, and say what the first fit took."""
    import jax

    from benchmarks import tree_peers

    jax.devices()
    X, y = make_data(num_rows)
    settings = tree_peers.Settings(max_bins=num_bins)
    fit = tree_peers.fits(settings, X, y)[library]
    before = reset_peak()
    start = time.perf_counter()
    fit()
    seconds = time.perf_counter() - start
    found = {"seconds": seconds, "megabytes": memory("VmHWM") - before}
    return {**found, "second_megabytes": peak_megabytes(fit)}


def fresh(library: str, num_rows: int, num_bins: int, cache: str) -> dict[str, float]:
    """Fit in a new process with a cache folder for compiled programs."""
    command = [sys.executable, "-m", "benchmarks.tree_start"]
    done = subprocess.run(
        [*command, library, str(num_rows), str(num_bins)],
        env={**os.environ, "JAXLAB_CACHE": cache},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def starts(
    libraries: list[str], num_rows: int, num_bins: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """Give the first fits; jaxlab's by what has been compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        for library in libraries:
            if library != "jaxlab":
                yield library, fresh(library, num_rows, num_bins, folder)
                continue
            yield (
                "jaxlab, nothing compiled",
                fresh(library, num_rows, num_bins, folder),
            )
            shutil.rmtree(pathlib.Path(folder) / "xla")
            yield "jaxlab, kernels built", fresh(library, num_rows, num_bins, folder)
            yield "jaxlab, second start", fresh(library, num_rows, num_bins, folder)


def rows_of(libraries: list[str], sizes: list[int], num_bins: int) -> Iterator[Any]:
    """Give the rows of the table of first fits."""
    for num_rows in sizes:
        for name, found in starts(libraries, num_rows, num_bins):
            binned = num_rows * FEATURES / _MEGABYTE**2
            yield {
                "rows": num_rows,
                "library": name,
                "first_fit_s": found["seconds"],
                "peak_mb": found["megabytes"],
                "second_peak_mb": found["second_megabytes"],
                "binned_mb": binned,
                "allowed_mb": 1.5 * binned + 64 * num_rows / _MEGABYTE**2,
            }


if __name__ == "__main__":
    name, rows, bins = sys.argv[1:]
    print(json.dumps(fit_once(name, int(rows), int(bins))))
