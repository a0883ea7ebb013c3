"""Training steps of torch, the peers of those in `benchmarks.training`."""

from collections.abc import Callable

import torch

from benchmarks.harness import Call


def training_step(
    optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]
) -> Call:
    """Bind an optimizer to what it minimises.

    Args:
        optimizer: Of the parameters of the loss.
        loss: Computed anew by every step.
    """

    def call() -> float:
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()

    return call
