"""Codes drawn by the priors; the GPT beside transformers, with a cache in both.

python -m benchmarks.code_priors
python -m benchmarks.code_priors --rows 16 --repeats 20
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Call, Candidate, report, take_turns
from jaxlab.core.host_memory import keep_freed_memory
from jaxlab.core.mesh import use_cpu_devices
from jaxlab.models.codes.code_sampling import sample_codes
from jaxlab.models.codes.make_prior import make_code_gpt, make_maskgit
from jaxlab.models.codes.maskgit_sampling import sample_masked

try:
    from benchmarks import torch_sequence as peers
except ImportError:
    peers = None  # type: ignore[assignment]

NUM_CODES, CLASSES, LENGTH = 1024, 10, 64  # 8 x 8 codes of a picture of 32 px
WIDTH, DEPTH, HEADS, STEPS = 256, 4, 4, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=16, help="pictures of a call")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    keep_freed_memory()
    use_cpu_devices("")
    candidates: dict[str, Candidate] = {}
    if peers is None:
        print("torch or transformers is not installed: no peer")
    else:
        candidates["transformers GPT-2"] = functools.partial(_peer, options.rows)
    candidates["jaxlab GPT"] = functools.partial(_gpt, options.rows, 1.0)
    candidates["jaxlab GPT, guided"] = functools.partial(_gpt, options.rows, 3.0)
    maskgit = functools.partial(_maskgit, options.rows)
    candidates[f"jaxlab MaskGIT, {STEPS} steps"] = maskgit
    timings = take_turns(candidates, options.repeats)
    first, *_ = timings
    rows = [
        {
            "what": name,
            "cold_seconds": timing.cold,
            "warm_seconds": timing.median,
            "codes_per_second": options.rows * LENGTH / timing.median,
            "times_peer": timings[first].median / timing.median if peers else "-",
        }
        for name, timing in timings.items()
    ]
    title = (
        f"Sampling {options.rows} pictures of {LENGTH} codes of {NUM_CODES}: {DEPTH} "
        f"layers x {WIDTH}"
    )
    report("code_priors", title, rows)


def _labels(rows: int) -> np.ndarray:
    return np.arange(rows, dtype=np.int32) % CLASSES


def _gpt(rows: int, guidance: float) -> Call:
    network = make_code_gpt(
        NUM_CODES, CLASSES, length=LENGTH, width=WIDTH, depth=DEPTH, num_heads=HEADS
    )
    params = network.init(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]

    @jax.jit
    def draw(params, labels, key):  # type: ignore[no-untyped-def]
        return sample_codes(network, params, labels, key=key, guidance=guidance)

    return lambda: np.asarray(draw(params, _labels(rows), jax.random.key(1)))


def _maskgit(rows: int) -> Call:
    network = make_maskgit(
        NUM_CODES, CLASSES, length=LENGTH, width=WIDTH, depth=DEPTH, num_heads=HEADS
    )
    codes, masked = jnp.zeros((1, LENGTH), jnp.int32), jnp.ones((1, LENGTH), bool)
    variables = network.init(jax.random.key(0), codes, masked, jnp.zeros(1, jnp.int32))

    @jax.jit
    def draw(params, labels, key):  # type: ignore[no-untyped-def]
        return sample_masked(network, params, labels, key=key, steps=STEPS)

    params = variables["params"]
    return lambda: np.asarray(draw(params, _labels(rows), jax.random.key(1)))


def _peer(rows: int) -> Call:
    model = peers.gpt2(NUM_CODES + CLASSES + 1, WIDTH, HEADS, DEPTH)
    begin = NUM_CODES + _labels(rows)[:, None]
    return peers.generate(model, begin, LENGTH, is_sampled=True)


if __name__ == "__main__":
    main()
