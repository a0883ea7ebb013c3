"""Which modes of a mixture the points of a generator cover, and how evenly."""

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.data.points.toy import Mixture
from jaxlab.transport.costs import power_cost
from jaxlab.transport.measures import check_numbers

__all__ = ["mode_coverage"]


def mode_coverage(
    points: Float[Array | np.ndarray, "n 2"],
    mixture: Mixture,
    *,
    radius: float = 3.0,
    at_least: int = 1,
) -> dict[str, float]:
    r"""Count the modes that points reach, and the points that reach one.

    Each point belongs to the mode of the nearest centre, and is of high quality if it
    lies no further from it than `radius` standard deviations. Of points of the mixture
    itself $1 - e^{-r^2/2}$ do, 98.9 % for 3: that is the best to hope for, not 1.

    Args:
        points: What the generator made.
        mixture: The modes.
        radius: In standard deviations of one coordinate.
        at_least: So many points of high quality make a mode covered.

    Returns:
        `modes`: how many modes are covered.
        `high_quality`: the share of points of high quality.
        `mode_kl`: the divergence KL(q | uniform) in nats of the shares q of points, of
        whatever quality, in the modes: 0 if even, log(modes) if one has all.

    Raises:
        InputError: If there is no point, one is not finite or does not lie in the
            plane of the modes, or a setting is not positive.

    References:
        Srivastava et al. 2017 (VEEGAN), https://arxiv.org/abs/1705.07761, section 4
        (modes, high quality).
        Lin et al. 2018 (PacGAN), https://arxiv.org/abs/1712.04086, section 4
        (divergence).
    """
    if not (radius > 0 and at_least >= 1):
        raise InputError(
            f"radius {radius} and at_least {at_least} must be positive: the papers "
            "take 3 and 1"
        )
    centers = np.asarray(mixture.centers, np.float64)
    if points.ndim != 2 or len(points) == 0 or points.shape[1] != centers.shape[1]:
        raise InputError(
            f"points of shape {points.shape} must be rows of {centers.shape[1]} "
            "coordinates, those of the modes, and at least one"
        )
    check_numbers(points=points)
    distances = power_cost(np.asarray(points, np.float64), centers)
    nearest = distances.argmin(1)
    is_good = distances.min(1) <= radius * mixture.sigma
    good = np.bincount(nearest[is_good], minlength=len(centers))
    shares = np.bincount(nearest, minlength=len(centers)) / len(points)
    reached = shares[shares > 0]
    return {
        "modes": float((good >= at_least).sum()),
        "high_quality": float(is_good.mean()),
        "mode_kl": float((reached * np.log(reached * len(centers))).sum()),
    }
