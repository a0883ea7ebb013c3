"""Which rows make batch t: a pure function of (seed, t)."""

import dataclasses
import functools

import numpy as np

from jaxlab.core.errors import InputError

__all__ = ["Order"]


@dataclasses.dataclass(frozen=True)
class Order:
    """Shuffled epochs, laid end to end and cut into batches.

    Every row comes once an epoch; a batch may begin in one epoch and end in the next,
    so no row is dropped and all batches have one size. Random access: batch 123456
    costs no more than batch 0, which is what makes resuming exact.

    Attributes:
        size: Rows of the data set.
        batch_size: Rows of a batch, over all devices.
        seed: Seed of the shuffles.
        shuffle: False for the stored order.
    """

    size: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.size < 1 or self.batch_size < 1:
            raise InputError(
                f"cannot make batches of {self.batch_size} from {self.size} examples; "
                "both must be at least 1"
            )

        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed {self.seed} must lie in [0, 2**32)")

    def __call__(self, step: int) -> np.ndarray:
        """Give the row numbers of batch `step`, int32."""
        position = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, offsets = np.divmod(position, self.size)
        rows = np.empty(self.batch_size, np.int32)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            rows[here] = _epoch_order(self, int(epoch))[offsets[here]]
        return rows


@functools.lru_cache(maxsize=2)
def _epoch_order(order: Order, epoch: int) -> np.ndarray:
    if not order.shuffle:
        return np.arange(order.size, dtype=np.int32)
    rng = np.random.Generator(np.random.Philox(key=[order.seed, epoch]))
    return rng.permutation(order.size).astype(np.int32)
