"""Pictures of transport show what was measured."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from jaxlab.plots import transport as transport_plots


@pytest.fixture
def figures(monkeypatch):
    """Collect what is drawn."""
    drawn = []

    def save(figure, path, save=transport_plots.save_figure):
        drawn.append(figure)
        return save(figure, path)

    monkeypatch.setattr(transport_plots, "save_figure", save)
    return drawn


def test_a_plan_is_drawn_with_what_leaves_and_arrives(tmp_path, figures):
    plan = np.array([[0.1, 0.0, 0.2], [0.0, 0.4, 0.3]])
    path = tmp_path / "plan.png"
    before, after = np.array([0.0, 1.0]), np.array([0.0, 2.0, 4.0])
    assert transport_plots.plan_matrix(path, plan, before, after, "a plan") == path
    assert path.exists()
    axes, left, below = figures[0].axes[:3]
    np.testing.assert_array_equal(axes.images[0].get_array(), plan)
    np.testing.assert_allclose(axes.images[0].get_extent(), [-1, 5, -0.5, 1.5])
    np.testing.assert_allclose([bar.get_width() for bar in left.patches], [0.3, 0.7])
    heights = [bar.get_height() for bar in below.patches]
    np.testing.assert_allclose(heights, [0.1, 0.4, 0.5])
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "0.1", (4, 0): "0.2", (2, 1): "0.4", (4, 1): "0.3"}


def test_a_large_plan_is_drawn_without_numbers(tmp_path, figures, rng):
    places = np.linspace(-1, 1, 20)
    transport_plots.plan_matrix(
        tmp_path / "p.png", rng.random((20, 20)), places, places
    )
    assert not figures[0].axes[0].texts


def test_lines_are_as_wide_as_the_mass_that_moves(tmp_path, figures, rng):
    x, y = rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    flow = (
        np.array([0, 1, 1, 2]),
        np.array([3, 0, 1, 2]),
        np.array([0.2, 0.1, 0.3, 0.4]),
    )
    path = transport_plots.plan_lines(tmp_path / "lines.png", x, y, flow)
    assert path.exists()
    axes = figures[0].axes[0]
    (lines,) = (c for c in axes.collections if isinstance(c, LineCollection))
    for k, line in enumerate(lines.get_segments()):
        np.testing.assert_array_equal(line, [x[flow[0][k]], y[flow[1][k]]])
    widths = np.asarray(lines.get_linewidths())
    np.testing.assert_allclose(widths / widths.max(), flow[2] / 0.4)


def test_the_critic_is_shifted_onto_the_potential(tmp_path, figures, rng):
    places = np.linspace(-1, 1, 50)
    exact = abs(places)
    samples = (rng.normal(size=30), rng.normal(size=30))
    path = tmp_path / "potential.png"
    args = (places, exact, exact + 7, np.sign(places), samples)
    assert transport_plots.potential_curves(path, *args) == path
    assert path.exists()
    top, middle, _ = figures[0].axes
    for line in top.lines:
        np.testing.assert_allclose(line.get_ydata(), exact, atol=1e-12)
    steps = middle.lines[0].get_ydata()
    np.testing.assert_allclose(abs(steps[:24]), 1)
    assert "1.0000" in top.get_title()


def test_potentials_in_the_plane_share_one_scale(tmp_path, figures, rng):
    across, up = np.linspace(0, 3, 12), np.linspace(0, 2, 8)
    fields = {"a": rng.normal(size=(8, 12)), "b": 5 + 3 * rng.normal(size=(8, 12))}
    samples = (rng.random((9, 2)), rng.random((9, 2)))
    path = tmp_path / "plane.png"
    transport_plots.potential_contours(path, (across, up), fields, samples)
    assert path.exists()
    first, second = figures[0].axes[:2]
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    levels = [axes.collections[0].levels for axes in (first, second)]
    np.testing.assert_array_equal(*levels)
    largest = max(abs(f - np.median(f)).max() for f in fields.values())
    np.testing.assert_allclose(levels[0][[0, -1]], [-largest, largest])


def test_estimates_are_drawn_beside_the_exact_distance(tmp_path, figures):
    names = ("exact_w1", "critic_gap", "critic_w1", "critic_slope")
    rows = [{"step": 5, "train/loss": 1.0}]
    assert transport_plots.estimate_curves(tmp_path / "e.png", rows) is None
    for step, values in ((10, (2.0, 3.0, 1.0, 3.0)), (20, (2.0, 2.0, 1.9, 1.05))):
        logged = {f"test/{n}": v for n, v in zip(names, values, strict=True)}
        rows.append({"step": step, **logged})
    path = transport_plots.estimate_curves(tmp_path / "e.png", rows)
    assert path == tmp_path / "e.png"
    assert path.exists()
    top, below = figures[0].axes
    drawn = [list(line.get_ydata()) for line in top.lines]
    assert drawn == [[2.0, 2.0], [3.0, 2.0], [1.0, 1.9]]
    assert list(below.lines[0].get_ydata()) == [3.0, 1.05]
    assert "95.00%" in top.get_title()
    assert top.get_ylim()[0] == 0
    rows[1]["test/critic_w1"] = -0.5  # a critic that has them the wrong way round
    transport_plots.estimate_curves(tmp_path / "e.png", rows)
    assert figures[1].axes[0].get_ylim()[0] < -0.5


def test_costs_with_entropy_are_drawn_over_falling_epsilon(tmp_path, figures):
    rows = [{"eps": 1.0, "<P, C>": 3.0}, {"eps": 0.1, "<P, C>": 2.1}]
    path = transport_plots.sinkhorn_curve(tmp_path / "s.png", rows, 2.0)
    assert path.exists()
    axes = figures[0].axes[0]
    assert list(axes.lines[0].get_xdata()) == [1.0, 0.1]
    assert list(axes.lines[0].get_ydata()) == [3.0, 2.1]
    assert axes.xaxis_inverted()


def test_plans_of_one_place_and_names_with_dollars_are_drawn(tmp_path, figures):
    one, place = np.ones((1, 1)), np.zeros(1)
    path = tmp_path / "plan.png"
    assert transport_plots.plan_matrix(path, one, place, place, "W1 = $0").exists()
    side, flat = np.linspace(0, 1, 4), np.ones((4, 4))
    samples = (np.zeros((1, 2)), np.ones((1, 2)))
    path = tmp_path / "plane.png"
    transport_plots.potential_contours(path, (side, side), {"$f": flat}, samples)
    assert path.exists()
