"""Two samples compared: distances side by side, potentials and plans drawn.

Samples are rows of points, of equal weights. All is on the host, in float64.
"""

import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.typing import Array, Float, Key
from jaxlab.metrics.critic import as_partial, critic_report
from jaxlab.plots.transport import (
    plan_lines,
    plan_matrix,
    potential_contours,
    potential_curves,
)
from jaxlab.transport.closed_form import (
    gaussian_w2,
    random_directions,
    sliced_wasserstein,
    wasserstein_1d,
)
from jaxlab.transport.costs import power_cost
from jaxlab.transport.duality import c_transform
from jaxlab.transport.exact import ExactTransport, solve_exact, wasserstein
from jaxlab.transport.sinkhorn import sinkhorn

__all__ = [
    "best_plan",
    "compare_distances",
    "compare_entropies",
    "derivative_on_line",
    "draw_plan",
    "draw_potentials",
    "extend_potential",
    "line_over",
    "measure_critic",
]

_Rows = Float[np.ndarray, "n j"]
_OtherRows = Float[np.ndarray, "m j"]
_Critic = Callable[[Array], Array]  # scores of rows

_SLICES = 256  # directions of the sliced distance
_PLACES = 4001  # on the line over both samples
_BINS = 32  # of a plan on a line
_PIXELS = 120  # along each side of the plane


def best_plan(x: _Rows, y: _OtherRows) -> ExactTransport:
    """Solve for costs |x - y|."""
    return solve_exact(_cost(x, y))


def _cost(x: _Rows, y: _OtherRows) -> np.ndarray:
    return np.asarray(power_cost(np.asarray(x, np.float64), np.asarray(y, np.float64)))


def compare_distances(x: _Rows, y: _OtherRows, exact: ExactTransport) -> dict:
    """Give distances of two samples by name.

    Args:
        x: Points of the first sample.
        y: Points of the second.
        exact: The best plan.

    Returns:
        `W1`, `W2`: exact. `W1 sliced`: mean over directions, at most W1. `W2 Gaussian`:
        of Gaussians with the samples' means and covariances, at most W2 (Gelbrich
        1990). On a line also `W1 on a line`, the integral of |F - G|.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    with jax.enable_x64(True):
        first, second = jnp.asarray(x), jnp.asarray(y)
        ways = random_directions(jax.random.key(0), x.shape[1], _SLICES)
        moments = [
            (rows.mean(0), jnp.atleast_2d(jnp.cov(rows.T, bias=True)))
            for rows in (first, second)
        ]
        found = {
            "W1": exact.value,
            "W1 sliced": float(sliced_wasserstein(first, second, ways, p=1.0)),
            "W2": wasserstein(x, y, p=2.0),
            "W2 Gaussian": float(gaussian_w2(*moments[0], *moments[1])) ** 0.5,
        }
        if x.shape[1] == 1:
            found["W1 on a line"] = float(wasserstein_1d(first[:, 0], second[:, 0]))
    return found


def compare_entropies(
    x: _Rows,
    y: _OtherRows,
    exact: ExactTransport,
    shares: Sequence[float] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003),
) -> list[dict]:
    """Solve for costs |x - y| with ever less entropy, in float64.

    Args:
        x: Points of the first sample.
        y: Points of the second.
        exact: The best plan.
        shares: Of the mean cost: epsilon is so large.

    Returns:
        Rows of `eps`, the plan's cost `<P, C>`, how far it is `above exact`, and the
        `iterations`, minus as many if they did not converge.
    """
    rows, cost = [], _cost(x, y)
    with jax.enable_x64(True):
        for share in shares:
            eps = share * float(cost.mean())
            found = sinkhorn(jnp.asarray(cost, jnp.float64), eps=eps, tol=1e-7)
            value = float(found.transport_cost)
            sign = 1 if found.converged else -1
            rows.append(
                {
                    "eps": eps,
                    "<P, C>": value,
                    "above exact": value - exact.value,
                    "iterations": sign * int(found.iterations),
                }
            )
    return rows


def line_over(
    x: Float[np.ndarray, "n 1"], y: Float[np.ndarray, "m 1"]
) -> Float[np.ndarray, "places 1"]:
    """Give places close together from the lowest point of both samples to the last."""
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    return np.linspace(low, high, _PLACES, dtype=np.float32)[:, None]


def derivative_on_line(
    critic: _Critic, places: Float[np.ndarray, "n 1"]
) -> Float[np.ndarray, " n"]:
    """Give a critic's derivative at places on a line; its score is of a row alone.

    A `jax.tree_util.Partial(scores, params)` is compiled once for all its parameters.
    """
    return np.asarray(_derivative(as_partial(critic), jnp.asarray(places)), np.float64)[
        :, 0
    ]


@jax.jit
def _derivative(critic: _Critic, places: Array) -> Array:
    return jax.grad(lambda places: critic(places).sum())(places)


def measure_critic(
    critic: _Critic, x: _Rows, y: _OtherRows, key: Key[Array, ""]
) -> dict[str, float]:
    """Measure a critic as `critic_report` does, and on a line between all points.

    Returns:
        Besides what `critic_report` gives: `share`, the part of the exact distance that
        the rigorous bound `critic_w1` reaches; on a line also `line_slope`, the largest
        derivative at close places over the whole of both samples.
    """
    found = critic_report(critic, x, y, key)
    exact = found["exact_w1"]
    found["share"] = found["critic_w1"] / exact if exact > 0 else 1.0
    if x.shape[1] == 1:
        slopes = derivative_on_line(critic, line_over(x, y))
        found["line_slope"] = float(abs(slopes).max())
    return found


def extend_potential(
    exact: ExactTransport, y: _OtherRows, places: _Rows
) -> Float[np.ndarray, " n"]:
    r"""Give the optimal potential of $W_1$ anywhere: $f(z) = \min_j |z - y_j| - g_j$.

    It has slope at most 1 everywhere, and $E f(x) - E f(y)$ is the distance.

    Args:
        exact: The solution for costs |x - y|.
        y: Points of the second sample.
        places: Where to give it.
    """
    y, places = np.asarray(y, np.float64), np.asarray(places, np.float64)
    return np.asarray(c_transform(power_cost(y, places), exact.g))


def draw_plan(
    path: pathlib.Path, x: _Rows, y: _OtherRows, exact: ExactTransport
) -> pathlib.Path | None:
    """Draw a plan on a line or in the plane; of more coordinates, nothing."""
    title = f"best plan, W1 = {exact.value:.4f}"
    if x.shape[1] == 2:
        return plan_lines(path, x, y, (exact.rows, exact.columns, exact.masses), title)
    if x.shape[1] != 1:
        return None
    places = line_over(x, y)
    edges = np.linspace(float(places[0, 0]), float(places[-1, 0]), _BINS + 1)
    moved = (x[exact.rows, 0], y[exact.columns, 0])
    plan, _, _ = np.histogram2d(*moved, bins=(edges, edges), weights=exact.masses)
    middles = (edges[1:] + edges[:-1]) / 2
    return plan_matrix(path, plan, middles, middles, title)


def draw_potentials(
    path: pathlib.Path, x: _Rows, y: _OtherRows, exact: ExactTransport, critic: _Critic
) -> pathlib.Path | None:
    """Draw the optimal potential and a critic; of more than two coordinates, nothing.

    Args:
        path: The PNG file to write.
        x: Points of the first sample.
        y: Points of the second.
        exact: The solution for costs |x - y|.
        critic: Scores of rows, each of its row alone.
    """
    if x.shape[1] == 1:
        places = line_over(x, y)
        heights = extend_potential(exact, y, places)
        found = np.asarray(critic(jnp.asarray(places)), np.float64)
        slopes = derivative_on_line(critic, places)
        samples = (x[:, 0], y[:, 0])
        return potential_curves(path, places[:, 0], heights, found, slopes, samples)
    if x.shape[1] != 2:
        return None
    both = np.concatenate([x, y])
    low, high = both.min(0), both.max(0)
    margin = 0.08 * (high - low).max()
    sides = [np.linspace(low[i] - margin, high[i] + margin, _PIXELS) for i in (0, 1)]
    plane = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2).astype(np.float32)
    fields = {
        "exact potential": extend_potential(exact, y, plane),
        "critic": np.asarray(critic(jnp.asarray(plane)), np.float64),
    }
    shaped = {name: f.reshape(_PIXELS, _PIXELS) for name, f in fields.items()}
    return potential_contours(path, (sides[0], sides[1]), shaped, (x, y))
