"""Pictures of transport: plans, potentials, and estimates that converge."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlab.plots.figure import new_figure, picture, save_figure
from jaxlab.plots.lettering import shown

__all__ = [
    "estimate_curves",
    "plan_lines",
    "plan_matrix",
    "potential_contours",
    "potential_curves",
    "sinkhorn_curve",
]

_FIRST, _SECOND = "tab:blue", "tab:red"  # everywhere: the two measures
_EXACT, _CRITIC = "black", "tab:orange"


@picture
def plan_matrix(
    path: pathlib.Path,
    plan: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    title: str = "",
) -> pathlib.Path:
    """Draw how much mass goes from each place to each, with what leaves and arrives.

    Args:
        path: The PNG file to write.
        plan: Masses `(n, m)`.
        before: Places of its rows on a line, ascending and evenly spaced.
        after: Places of its columns.
        title: Above all.
    """
    figure = new_figure(5.6, 5.0)
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 5), height_ratios=(5, 1))
    axes = figure.add_subplot(grid[0, 1])
    left = figure.add_subplot(grid[0, 0], sharey=axes)
    below = figure.add_subplot(grid[1, 1], sharex=axes)
    steps = [np.diff(places[:2]).sum() or 1.0 for places in (after, before)]
    extent = (
        *(after[0] - steps[0] / 2, after[-1] + steps[0] / 2),
        *(before[0] - steps[1] / 2, before[-1] + steps[1] / 2),
    )
    look: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "origin": "lower"}
    drawn = axes.imshow(plan, extent=extent, aspect="auto", **look)
    corners = np.array([max(extent[0], extent[2]), min(extent[1], extent[3])])
    look = {"color": "tab:green", "linewidth": 1}
    axes.plot(corners, corners, ":", label="stays in place", **look)
    axes.legend(loc="lower right", fontsize=7)
    axes.set_title(shown(title, 60), fontsize=11)
    left.barh(before, plan.sum(1), 0.9 * steps[1], color=_FIRST)
    left.invert_xaxis()
    left.set_ylabel("from")
    below.bar(after, plan.sum(0), 0.9 * steps[0], color=_SECOND)
    below.invert_yaxis()
    below.set_xlabel("to")
    # The bars' lengths are sums of what the colours tell: no numbers at them.
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
    left.tick_params(bottom=False, labelbottom=False)
    below.tick_params(left=False, labelleft=False)
    for bars in (left, below):
        for side in ("top", "right", "bottom", "left"):
            bars.spines[side].set_visible(False)
    if plan.size <= 64:
        left.set_yticks(before)
        below.set_xticks(after)
        _write_masses(axes, plan, before, after)
    figure.colorbar(drawn, ax=[axes, below], label="mass moved", shrink=0.8)
    return save_figure(figure, path)


def _write_masses(
    axes: Any, plan: np.ndarray, before: np.ndarray, after: np.ndarray
) -> None:
    for row, column in zip(*np.nonzero(plan > 5e-4), strict=True):
        color = "white" if plan[row, column] > plan.max() / 2 else "black"
        place = (after[column], before[row])
        text = f"{plan[row, column]:.2g}"
        axes.text(*place, text, ha="center", va="center", color=color, size=9)


@picture
def plan_lines(
    path: pathlib.Path,
    x: np.ndarray,
    y: np.ndarray,
    flow: tuple[np.ndarray, np.ndarray, np.ndarray],
    title: str = "",
) -> pathlib.Path:
    """Draw two clouds in the plane, and a line for each pair that mass moves between.

    Args:
        path: The PNG file to write.
        x: Points `(n, 2)`.
        y: Points `(m, 2)`.
        flow: Rows, columns and masses of the pairs; lines are as wide as the mass.
        title: Above all.
    """
    from matplotlib.collections import LineCollection

    rows, columns, masses = flow
    figure = new_figure(6.0, 5.6)
    axes = figure.add_subplot()
    ends = np.stack([x[rows], y[columns]], axis=1)
    widths = 1.2 * masses / masses.max()
    lines = LineCollection(list(ends), linewidths=widths, colors="gray", alpha=0.6)
    axes.add_collection(lines)
    _draw_clouds(axes, x, y)
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="upper right", framealpha=0.9)
    axes.set_title(shown(title, 60), fontsize=11)
    return save_figure(figure, path)


def _draw_clouds(axes: Any, x: np.ndarray, y: np.ndarray) -> None:
    look: dict[str, Any] = {"s": 12, "edgecolors": "white", "linewidths": 0.4}
    axes.scatter(*x.T, color=_FIRST, label="x", zorder=3, **look)
    axes.scatter(*y.T, color=_SECOND, label="y", zorder=3, **look)


@picture
def potential_curves(
    path: pathlib.Path,
    places: np.ndarray,
    exact: np.ndarray,
    critic: np.ndarray,
    slopes: np.ndarray,
    samples: tuple[np.ndarray, np.ndarray],
) -> pathlib.Path:
    """Draw on a line the exact potential and the critic, their slopes, the samples.

    A potential is known up to a constant: the critic is shifted until it is
    above the other at half of the places.

    Args:
        path: The PNG file to write.
        places: Ascending `(n,)`.
        exact: The optimal potential there.
        critic: The critic there.
        slopes: The critic's derivative there.
        samples: Places of the two samples.
    """
    figure = new_figure(7.0, 7.0)
    top, middle, below = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2, 1.3)}
    )
    shifted = critic + np.median(exact - critic)
    top.plot(places, exact, color=_EXACT, label="exact potential")
    top.plot(places, shifted, "--", color=_CRITIC, linewidth=2, label="critic")
    top.set_ylabel("f")
    top.legend(loc="upper right")
    steps = np.diff(exact) / np.diff(places)
    middle.axhspan(-1, 1, color="gray", alpha=0.12, label="slopes allowed")
    middle.plot(places[1:], steps, color=_EXACT, linewidth=0.8, label="exact")
    middle.plot(places, slopes, color=_CRITIC, label="critic")
    middle.set_ylabel("slope of f")
    middle.legend(loc="center right", fontsize=7)
    edges = np.linspace(places[0], places[-1], 61)
    for sample, color, name in zip(samples, (_FIRST, _SECOND), "xy", strict=True):
        below.hist(sample, edges, color=color, alpha=0.5, label=name)
    below.set_ylabel("points")
    below.set_xlabel("place")
    below.legend(loc="upper right")
    for axes in (top, middle, below):
        axes.grid(alpha=0.3)
    top.set_title(f"largest slope of the critic {abs(slopes).max():.4f}", fontsize=11)
    return save_figure(figure, path)


@picture
def potential_contours(
    path: pathlib.Path,
    axes_of_grid: tuple[np.ndarray, np.ndarray],
    fields: Mapping[str, np.ndarray],
    samples: tuple[np.ndarray, np.ndarray],
) -> pathlib.Path:
    """Draw the heights of potentials over the plane, on one scale, with the samples.

    Args:
        path: The PNG file to write.
        axes_of_grid: Places across `(c,)` and up `(r,)`.
        fields: Heights `(r, c)` by name; all are shifted to the median 0.
        samples: Points of the two samples, `(n, 2)` each.
    """
    across, up = axes_of_grid
    shifted = {name: field - np.median(field) for name, field in fields.items()}
    largest = max(1e-12, *(abs(field).max() for field in shifted.values()))
    levels = np.linspace(-largest, largest, 25)
    figure = new_figure(4.6 * len(shifted) + 0.8, 4.6)
    panels = figure.subplots(1, len(shifted), sharex=True, sharey=True, squeeze=False)
    look: dict[str, Any] = {"levels": levels, "cmap": "PuOr_r"}
    for axes, (name, field) in zip(panels[0], shifted.items(), strict=True):
        drawn = axes.contourf(across, up, field, **look)
        axes.contour(across, up, field, levels, colors="black", linewidths=0.3)
        _draw_clouds(axes, *samples)
        axes.set_xlim(across[0], across[-1])
        axes.set_ylim(up[0], up[-1])
        axes.set_aspect("equal")
        axes.set_title(shown(name))
    panels[0][-1].legend(loc="upper right", framealpha=0.9)
    figure.colorbar(drawn, ax=panels, label="f", shrink=0.85, format="%.2g")
    return save_figure(figure, path)


@picture
def estimate_curves(
    path: pathlib.Path, rows: Sequence[Mapping[str, Any]]
) -> pathlib.Path | None:
    """Draw over the steps what a critic claims, beside the exact distance.

    Args:
        path: The PNG file to write.
        rows: Of `metrics.jsonl`, with the values of `critic_report` in some.

    Returns:
        The path, or None if nothing is logged yet.
    """
    known = [row for row in rows if "test/exact_w1" in row]
    if not known:
        return None
    steps = [row["step"] for row in known]
    figure = new_figure(7.0, 5.6)
    top, below = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": (2, 1)}
    )

    def draw(axes: Any, name: str, label: str, style: str, color: str) -> None:
        values = [row[f"test/{name}"] for row in known]
        axes.plot(steps, values, style, color=color, label=label, markersize=3)

    draw(top, "exact_w1", "exact W1", "-", _EXACT)
    draw(top, "critic_gap", "E f(x) - E f(y)", "o-", _CRITIC)
    draw(top, "critic_w1", "over its largest secant: a lower bound", "s-", "tab:green")
    top.set_ylabel("distance")
    if top.dataLim.y0 >= 0:  # a critic may have the two the wrong way round
        top.set_ylim(bottom=0)
    draw(below, "critic_slope", "largest slope measured", "o-", _CRITIC)
    below.axhline(1.0, color=_EXACT, linewidth=1, label="allowed")
    below.set_ylabel("slope")
    below.set_xlabel("step")
    for axes in (top, below):
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right")
    last = known[-1]
    share = last["test/critic_w1"] / max(last["test/exact_w1"], 1e-30)
    top.set_title(f"after step {steps[-1]} the bound reaches {share:.2%}", fontsize=11)
    return save_figure(figure, path)


@picture
def sinkhorn_curve(
    path: pathlib.Path, rows: Sequence[Mapping[str, Any]], exact: float
) -> pathlib.Path:
    """Draw the transport cost of plans with entropy, over epsilon.

    Args:
        path: The PNG file to write.
        rows: By falling epsilon, `eps` and the cost of the plan, `<P, C>`.
        exact: The cost of the best plan.
    """
    eps, costs = ([row[name] for row in rows] for name in ("eps", "<P, C>"))
    figure = new_figure(5.6, 3.8)
    axes = figure.add_subplot()
    axes.semilogx(eps, costs, "o-", color=_CRITIC, label="plan with entropy")
    axes.axhline(exact, color=_EXACT, linewidth=1, label="exact")
    axes.invert_xaxis()
    axes.set_xlabel("epsilon")
    axes.set_ylabel("cost of the plan, <P, C>")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    return save_figure(figure, path)
