"""Times beside the machine's largest products of matrices, measured by turns with them.

A share of that rate tells more of a program than its time does.
"""

import sys
from collections.abc import Mapping
from typing import NamedTuple

import jax

from benchmarks.harness import Call, Candidate, Timing, take_turns

SIZE = 2048


class Peak(NamedTuple):
    """The faster rate of XLA and torch, in operations a second, and both in words."""

    rate: float
    text: str


def take_turns_beside_matmul(
    groups: Mapping[str, Mapping[str, Candidate]], repeats: int
) -> tuple[dict[str, dict[str, Timing]], Peak]:
    """Time all groups, and products of matrices by XLA and, where imported, by torch.

    Args:
        groups: Candidates by the name of their group and their own.
        repeats: Timed calls of each.

    Returns:
        The times in the same groups, and the rate of the products.
    """
    products: dict[str, Candidate] = {"XLA": _xla_matmul}
    if "torch" in sys.modules:
        products["torch"] = _torch_matmul
    keyed = {("product of", name): build for name, build in products.items()} | {
        (group, name): build
        for group, some in groups.items()
        for name, build in some.items()
    }
    timings = take_turns(keyed, repeats)
    rates = {n: 2.0 * SIZE**3 / timings["product of", n].median for n in products}
    peaks = " and ".join(f"{rate / 1e9:.0f} by {name}" for name, rate in rates.items())
    text = f"a product of {SIZE} x {SIZE} matrices runs at {peaks} GFLOP/s"
    found = {g: {n: timings[g, n] for n in some} for g, some in groups.items()}
    return found, Peak(max(rates.values()), text)


def _xla_matmul() -> Call:
    matrix = jax.random.normal(jax.random.key(0), (SIZE, SIZE))
    multiply = jax.jit(lambda a: a @ a)
    return lambda: multiply(matrix).block_until_ready()


def _torch_matmul() -> Call:
    import torch

    matrix = torch.randn(SIZE, SIZE)
    return lambda: matrix @ matrix
