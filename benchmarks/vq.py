"""Codes: the search for the nearest, beside torch's `cdist` and `argmin` by blocks.

python -m benchmarks.vq
python -m benchmarks.vq --vectors 16384 --not-kept    a short look

Times are of turns in one process, memory is that of a first call in a process of its
own, above inputs and libraries.
"""

import argparse
import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Call, Candidate, report, take_turns
from benchmarks.process_memory import peak_megabytes
from jaxlab.nn.quantizers.nearest import nearest_code

CODES, WIDTH = 16384, 256
TORCH_BLOCKS = (1024, 4096)  # vectors at a time


def inputs(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = (count, WIDTH), (CODES, WIDTH)
    vectors, codes = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return vectors, codes


def ours(count: int) -> Call:
    vectors, codes = map(jnp.asarray, inputs(count))
    search = jax.jit(nearest_code).lower(vectors, codes).compile()
    return lambda: search(vectors, codes).block_until_ready()


def of_torch(count: int, block: int) -> Call:
    import torch

    vectors, codes = map(torch.from_numpy, inputs(count))

    def call() -> torch.Tensor:
        parts = [torch.cdist(part, codes).argmin(1) for part in vectors.split(block)]
        return torch.cat(parts)

    torch.cdist(vectors[:32], codes[:32])  # starts its threads
    return call


def candidates(count: int) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {"jaxlab": functools.partial(ours, count)}
    try:
        import torch  # noqa: F401
    except ImportError:
        print("torch is not installed: no peer")
        return found
    for block in TORCH_BLOCKS:
        found[f"torch, {block} at a time"] = functools.partial(of_torch, count, block)
    return found


def fresh_peak(name: str, count: int) -> float:
    """Give the peak of one candidate in a new process."""
    command = [sys.executable, "-m", "benchmarks.vq", "--peak-of", name]
    done = subprocess.run(
        [*command, "--vectors", str(count)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=65536)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--not-kept", action="store_true")
    parser.add_argument("--peak-of", default="", help="print the memory of one of them")
    options = parser.parse_args()
    all_of_them = candidates(options.vectors)
    if options.peak_of:
        print(peak_megabytes(all_of_them[options.peak_of]()))
        return
    same = [np.asarray(build()()) for build in list(all_of_them.values())[:2]]
    differ = int((same[0] != same[-1]).sum())
    timings = take_turns(all_of_them, options.repeats)
    peers = [timing.median for name, timing in timings.items() if name != "jaxlab"]
    rows = []
    for name, timing in timings.items():
        rows.append(
            {
                "search": name,
                "warm_seconds": timing.median,
                "peak_mb": fresh_peak(name, options.vectors),
                "times_fastest_torch": min(peers) / timing.median if peers else "-",
            }
        )
    title = (
        f"Nearest of {CODES} codes for {options.vectors} vectors of {WIDTH} numbers; "
        f"{differ} indices differ (near-ties)"
    )
    report("vq", title, rows, part="nearest", is_kept=not options.not_kept)


if __name__ == "__main__":
    main()
