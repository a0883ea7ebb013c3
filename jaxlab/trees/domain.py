"""Which targets a loss is made for."""

import enum
from collections.abc import Callable

import numpy as np

__all__ = ["Domain", "is_allowed"]

_LARGEST_RELEVANCE = 31  # 2^31 - 1 is the largest gain of NDCG


class Domain(enum.Enum):
    """The targets that a loss is made for, in words for an error message."""

    REAL = "finite numbers"
    NON_NEGATIVE = "numbers of at least 0"
    POSITIVE = "numbers above 0"
    PROBABILITY = "numbers from 0 to 1"
    BINARY = "0 or 1"
    LABEL = "class numbers 0, 1, ... below the number of outputs"
    RELEVANCE = f"whole relevance degrees from 0 to {_LARGEST_RELEVANCE}"


def is_allowed(domain: Domain, target: np.ndarray, num_outputs: int) -> np.ndarray:
    """Give a mask of the targets that are in the domain, and finite in float32.

    Args:
        domain: The domain.
        target: [n].
        num_outputs: Of the model: the number of classes for LABEL.
    """
    is_whole = target == np.floor(target)
    tests: dict[Domain, Callable[[], np.ndarray]] = {
        Domain.REAL: lambda: np.ones(target.shape, bool),
        Domain.NON_NEGATIVE: lambda: target >= 0,
        Domain.POSITIVE: lambda: target > 0,
        Domain.PROBABILITY: lambda: (target >= 0) & (target <= 1),
        Domain.BINARY: lambda: (target == 0) | (target == 1),
        Domain.LABEL: lambda: is_whole & (target >= 0) & (target < num_outputs),
        Domain.RELEVANCE: lambda: (
            is_whole & (target >= 0) & (target <= _LARGEST_RELEVANCE)
        ),
    }
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(target.astype(np.float32))
    return np.asarray(is_finite & tests[domain]())
