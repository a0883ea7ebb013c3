"""A short name of a data set's contents."""

import numpy as np

from jaxlab.core.pytree import fingerprint
from jaxlab.data.batches import Source

__all__ = ["fingerprint_sources"]

_SAMPLED_ROWS = 512  # of each source


def fingerprint_sources(*sources: Source) -> str:
    """Name the contents of sources in 16 characters.

    Looks at their sizes and at 512 rows spread over each, not at all of them: a data
    set of gigabytes is named in a moment, and one whose rows were edited by hand may
    keep its name.
    """

    def sample(source: Source) -> dict[str, np.ndarray]:
        size = len(source)
        spread = np.linspace(0, size - 1, min(size, _SAMPLED_ROWS))
        return {"size": np.asarray(size), **source.rows(np.unique(spread.astype(int)))}

    return fingerprint([sample(source) for source in sources])
