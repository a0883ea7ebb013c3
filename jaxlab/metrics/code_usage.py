"""How many codes of a quantiser are used, and how evenly, over a set."""

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Int, Num

__all__ = ["code_usage", "count_codes"]


def count_codes(
    indices: Int[Array | np.ndarray, "*b"], num_codes: int
) -> Int[np.ndarray, " k"]:
    """Count how often each code was chosen; counts of parts of a set can be added.

    Raises:
        InputError: If an index is that of no code.
    """
    flat = np.asarray(indices).reshape(-1)
    wrong = flat[(flat < 0) | (flat >= num_codes)]
    if wrong.size:
        raise InputError(
            f"index {wrong[0]} is that of no code: the {num_codes} have 0 to "
            f"{num_codes - 1}; use the num_codes of the quantiser that gave it"
        )
    return np.bincount(flat, minlength=num_codes)


def code_usage(counts: Num[Array | np.ndarray, " k"]) -> dict[str, float]:
    """Report the use of codes from how often each was chosen over a whole set.

    That of one batch depends on the size of the batch, and is not comparable.

    Args:
        counts: By code, with 0 for those never chosen.

    Returns:
        `used_codes`: how many codes were chosen at all.
        `usage`: their share.
        `perplexity`: the exponential of the entropy of the shares, from 1 (one code has
        all) to the number of codes (all are used alike).

    Raises:
        InputError: If nothing was counted, or a count is negative or not finite.
    """
    numbers = np.asarray(counts, np.float64)
    if not (np.isfinite(numbers).all() and (numbers >= 0).all() and numbers.sum() > 0):
        raise InputError(
            f"counts of {numbers.size} codes must be finite, not negative, and not all "
            "0; count the codes of at least one example"
        )
    shares = numbers / numbers.sum()
    reached = shares[shares > 0]
    return {
        "used_codes": float(reached.size),
        "usage": reached.size / numbers.size,
        "perplexity": float(np.exp(-(reached * np.log(reached)).sum())),
    }
