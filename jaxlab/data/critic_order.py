"""Which rows each step of a critic gets, and how many steps it makes at a time."""

import dataclasses

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.data.order import Order

__all__ = ["CriticOrder", "CriticSchedule"]


@dataclasses.dataclass(frozen=True)
class CriticSchedule:
    """How many steps the critic makes before each step of the generator.

    Attributes:
        steps: k, as a rule.
        long_steps: k before the first `first` steps of the generator, and before each
            whose number (from 0) is a multiple of `every`.
        first: 0: none.
        every: 0: none.
    """

    steps: int = 5
    long_steps: int = 100
    first: int = 0
    every: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.long_steps < 1:
            raise InputError(
                f"a critic cannot make {min(self.steps, self.long_steps)} steps to one "
                "of the generator; give 1 or more"
            )
        if self.first < 0 or self.every < 0:
            raise InputError(
                f"first {self.first} and every {self.every} must be 0 (never) or more"
            )

    @classmethod
    def original(cls, steps: int = 5) -> "CriticSchedule":
        """Give that of WGAN's code: 100 for the first 25 and every 500th, else k.

        The paper does not tell.

        References:
            https://github.com/martinarjovsky/WassersteinGAN, `main.py`.
        """
        return cls(steps, 100, first=25, every=500)

    def __call__(self, step: int) -> int:
        """Give the critic's steps before step `step` of the generator."""
        is_long = step < self.first or (self.every and step % self.every == 0)
        return self.long_steps if is_long else self.steps

    def before(self, step: int) -> int:
        """Count the critic's steps before those of step `step`, at once."""
        long = min(step, self.first)
        if self.every:
            # Multiples below n: ceil(n / every). Those below `first` are counted.
            long += max(0, -(-step // self.every) - -(-self.first // self.every))
        return step * self.steps + long * (self.long_steps - self.steps)


@dataclasses.dataclass(frozen=True)
class CriticOrder:
    """The batches of an order, several at a time, for `make_adversarial_step`.

    The critic's steps take the batches of the order one after another, so it sees every
    row once an epoch, whatever the schedule. Random access, like the order's.

    Attributes:
        order: Rows of each step of the critic.
        schedule: How many of them to a step of the generator.
    """

    order: Order
    schedule: CriticSchedule

    @property
    def batch_size(self) -> int:
        """Rows of a step of the critic, over all devices."""
        return self.order.batch_size

    def __call__(self, step: int) -> np.ndarray:
        """Give the rows of generator step `step`: row r of step i is at `r * k + i`.

        So the rows of one device lie side by side for every step of the critic.
        """
        start = self.schedule.before(step)
        batches = range(start, start + self.schedule(step))
        return np.stack([self.order(batch) for batch in batches], axis=1).ravel()

    def last(self, step: int) -> np.ndarray:
        """Give the rows of the critic's last step of generator step `step`."""
        return self.order(self.schedule.before(step + 1) - 1)
