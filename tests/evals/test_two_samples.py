"""Tests of `jaxlab.evals.two_samples`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxlab.evals import two_samples as report
from jaxlab.transport.costs import power_cost

# Scores and slopes in float32, of numbers of size 5.
ROUNDING = 1e-5


@pytest.fixture
def samples(rng):
    """Give two samples in the plane."""
    x, y = rng.normal(size=(24, 2)), 0.5 * rng.normal(size=(24, 2)) + 1
    return x.astype(np.float32), y.astype(np.float32)


def test_distances_bound_each_other(samples):
    found = report.compare_distances(*samples, report.best_plan(*samples))
    assert found.keys() == {"W1", "W1 sliced", "W2", "W2 Gaussian"}
    assert 0 < found["W1 sliced"] < found["W1"] < found["W2"]
    assert 0 < found["W2 Gaussian"] < found["W2"]  # Gelbrich 1990


def test_a_shift_moves_all_distances_by_its_length(samples):
    x, shift = samples[0], np.array([[3.0, 4.0]], np.float32)
    found = report.compare_distances(x, x + shift, report.best_plan(x, x + shift))
    for name in ("W1", "W2", "W2 Gaussian"):
        assert found[name] == pytest.approx(5, abs=1e-6)
    # Of a shift by 5, directions in the plane see 5 * 2 / pi on average.
    assert found["W1 sliced"] == pytest.approx(10 / np.pi, rel=0.05)


def test_on_a_line_slices_are_the_whole(rng):
    x, y = rng.normal(size=(20, 1)), rng.normal(size=(30, 1)) + 1
    wanted = scipy.stats.wasserstein_distance(x[:, 0], y[:, 0])
    exact = report.best_plan(x, y)
    found = report.compare_distances(x, y, exact)
    for name in ("W1", "W1 sliced", "W1 on a line"):
        assert found[name] == pytest.approx(wanted, abs=1e-9)
    assert exact.value == pytest.approx(wanted)


def test_less_entropy_comes_nearer_to_the_exact_cost(samples):
    exact = report.best_plan(*samples)
    rows = report.compare_entropies(*samples, exact, (1.0, 0.1, 0.01))
    above = [row["above exact"] for row in rows]
    assert above[0] > above[1] > above[2] >= 0
    # The entropy of a plan, relative to the product, is at most log n.
    assert all(row["above exact"] <= row["eps"] * np.log(24) for row in rows)
    assert all(row["iterations"] > 0 for row in rows)  # all have converged
    mean = power_cost(*(np.float64(s) for s in samples)).mean()
    assert rows[1]["eps"] == pytest.approx(0.1 * mean)


def test_the_extended_potential_attains_the_distance(samples, rng):
    x, y = samples
    exact = report.best_plan(x, y)
    of_x, of_y = (report.extend_potential(exact, y, rows) for rows in (x, y))
    assert of_x.mean() - of_y.mean() == pytest.approx(exact.value, abs=1e-12)


def test_the_best_potential_as_a_critic_reaches_all(rng, key):
    x, y = (rng.normal(size=(16, 1)).astype(np.float32) for _ in range(2))
    y = y + 0.5
    exact = report.best_plan(x, y)

    def critic(g, rows):
        return (abs(rows - jnp.asarray(y)[:, 0][None]) - g[None]).min(1)

    best = jax.tree_util.Partial(critic, jnp.asarray(exact.g, jnp.float32))
    found = report.measure_critic(best, x, y, key)
    assert found["critic_gap"] == pytest.approx(exact.value, abs=ROUNDING)
    assert found["share"] == pytest.approx(1, abs=10 * ROUNDING)
    assert found["line_slope"] == pytest.approx(1, abs=ROUNDING)


def test_a_steep_place_between_the_points_is_found(key):
    x, y = np.array([[0.0], [1.0]], np.float32), np.array([[3.0], [4.0]], np.float32)

    def critic(rows):  # slope 5 in (1.9, 2.1) alone
        return -5 * jnp.clip(rows[:, 0] - 1.9, 0, 0.2)

    found = report.measure_critic(critic, x, y, key)
    assert found["line_slope"] == pytest.approx(5, abs=ROUNDING)
    assert found["critic_secant"] == pytest.approx(0.5, abs=ROUNDING)
    places = report.line_over(x, y)
    slopes = report.derivative_on_line(critic, places)
    inside = (places[:, 0] > 1.91) & (places[:, 0] < 2.09)
    np.testing.assert_allclose(slopes[inside], -5, atol=ROUNDING)
    np.testing.assert_array_equal(slopes[places[:, 0] < 1.89], 0)


@pytest.mark.parametrize("features", [1, 2, 3])
def test_pictures_of_what_can_be_drawn(features, tmp_path, rng):
    x, y = (rng.normal(size=(12, features)).astype(np.float32) for _ in range(2))
    exact = report.best_plan(x, y)
    plan = report.draw_plan(tmp_path / "plan.png", x, y, exact)
    critic = jax.tree_util.Partial(lambda rows: rows.sum(1))
    args = (tmp_path / "potential.png", x, y, exact, critic)
    potential = report.draw_potentials(*args)
    if features == 3:
        assert plan is None
        assert potential is None
        return
    assert plan.exists()
    assert potential.exists()
