r"""What a critic claims, beside the exact distance of the same rows.

For any scores whatever, $E f(x) - E f(y) \le L\, W_1$ with L the largest slope
$|f(x_i) - f(y_j)| / |x_i - y_j|$ between a real and a fake row, since a plan moves
mass between those pairs only. So the critic's estimate, divided by that slope, is a
lower bound of the exact $W_1$ of the two batches, and how far below it lies tells how
good the critic is.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Int, Key
from jaxlab.losses.lipschitz import gradient_norms, interpolate
from jaxlab.transport.costs import power_cost
from jaxlab.transport.exact import solve_exact
from jaxlab.transport.measures import check_numbers

__all__ = ["as_partial", "critic_report", "largest_secant"]

_Rows = Float[Array | np.ndarray, "..."]  # rows first, of any shape


def critic_report(
    critic: Callable[[Array], Array],
    real: _Rows,
    fake: _Rows,
    key: Key[Array, ""],
    *,
    labels: Int[Array | np.ndarray, " n"] | None = None,
) -> dict[str, float]:
    r"""Measure a critic on a batch, and the distance that it estimates.

    A `jax.tree_util.Partial(scores, params)` is compiled once for all its parameters;
    another function is compiled each time that a new one is given.

    Args:
        critic: Scores of rows, (b,), each of its row alone, of the sign that is high
            for real ones. Called with b rows at a time.
        real: Rows of data, up to some hundreds: the exact distance takes time b^3.
        fake: As many rows of the generator.
        key: Draws the places between real and fake rows.
        labels: Classes of the rows, where the critic's scores depend on them: it is
            then one function for each, and the slopes are those of pairs of one class.

    Returns:
        `exact_w1`: the exact $W_1$ of the two batches, Euclidean, of equal weights.
        `critic_gap`: E f(real) - E f(fake).
        `critic_secant`: the largest $|f(x) - f(y)| / |x - y|$ over all pairs of a real
        and a fake row.
        `critic_slope`: the largest of that and of the norms of the gradient at real
        rows, fake rows and places between: the measured Lipschitz constant, a lower
        bound of the true one.
        `critic_slope_median`: of those norms.
        `critic_w1`: `critic_gap` / `critic_secant`, never above `exact_w1` but by
        rounding; 0 for a constant critic.
        Scores that are not finite give NaN.

    Raises:
        InputError: If the rows differ in shape, are none or not finite, or the critic
            gives anything but a score for each row.

    References:
        Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, equation 2 (duality).
        Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028 (places between).
    """
    if real.shape != fake.shape or real.ndim < 2 or real.size == 0:
        raise InputError(
            f"real rows of shape {real.shape} and fake ones of {fake.shape} must be as "
            "many, at least one, and of the same shape; give the critic equal batches"
        )
    check_numbers(real=real, fake=fake)
    measured = _measure(as_partial(critic), jnp.asarray(real), jnp.asarray(fake), key)
    of_real, of_fake, norms = (np.asarray(found, np.float64) for found in measured)
    distances = np.asarray(power_cost(_flat(real), _flat(fake)))
    gap = float(of_real.mean() - of_fake.mean())
    secant = largest_secant(of_real, of_fake, distances)
    slope = secant
    if labels is not None:
        given = np.asarray(labels)
        others = given[:, None] != given[None, :]
        slope = largest_secant(of_real, of_fake, np.where(others, np.inf, distances))
    return {
        "exact_w1": solve_exact(distances).value,
        "critic_gap": gap,
        "critic_secant": secant,
        "critic_slope": float(np.maximum(slope, norms.max())),  # NaN stays
        "critic_slope_median": float(np.median(norms)),
        "critic_w1": gap / secant if secant != 0 else 0.0,
    }


def as_partial(critic: Callable[[Array], Array]) -> jax.tree_util.Partial:
    """Let a critic be an argument of jitted functions, as a Partial is already."""
    if isinstance(critic, jax.tree_util.Partial):
        return critic
    return jax.tree_util.Partial(critic)


@jax.jit
def _measure(
    critic: Callable[[Array], Array], real: Array, fake: Array, key: Array
) -> tuple[Array, Array, Array]:
    """Give the scores of real rows and of fake ones, and all slopes."""
    scores = [critic(rows) for rows in (real, fake)]
    for found in scores:
        if getattr(found, "shape", None) != real.shape[:1]:
            raise InputError(
                f"the critic gave {jax.tree.map(jnp.shape, found)} for "
                f"{len(real)} rows, but must give one score for each, of shape "
                f"{real.shape[:1]}; pick it out, as in lambda x: critic(x)[0]"
            )
    between = interpolate(real, fake, key)
    norms = [gradient_norms(critic, rows) for rows in (between, real, fake)]
    return scores[0], scores[1], jnp.concatenate(norms)


def largest_secant(
    of_real: Float[np.ndarray, " n"],
    of_fake: Float[np.ndarray, " m"],
    distances: Float[np.ndarray, "n m"],
) -> float:
    """Give the largest |f(x) - f(y)| / |x - y| over all pairs.

    A pair at no distance counts if its scores differ by more than float32 rounds: then
    the slope is infinite.
    """
    rise = abs(of_real[:, None] - of_fake[None, :])
    largest = max(abs(of_real).max(), abs(of_fake).max())
    rounding = 8 * float(np.finfo(np.float32).eps) * largest
    is_same = (distances == 0) & (rise <= rounding)
    with np.errstate(divide="ignore"):
        slopes = np.where(is_same, 0, rise / np.where(is_same, 1, distances))
    return float(slopes.max())


def _flat(rows: Array | np.ndarray) -> np.ndarray:
    return np.asarray(rows, np.float64).reshape(len(rows), -1)
