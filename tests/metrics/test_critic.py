"""The critic's estimate never exceeds the exact distance, and the best one meets it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.metrics.critic import critic_report, largest_secant
from jaxlab.transport.costs import power_cost
from jaxlab.transport.duality import c_transform
from jaxlab.transport.exact import solve_exact, wasserstein

# Distances, secants and means are float64 of the same scores: only their rounding.
ROUNDING = 1e-12
# Scores and gradients are float32.
SINGLE = 1e-5
# Rows as near as 1e-3, whose scores near 1 are rounded at 1e-7.
OF_NEAR_ROWS = 1e-4


def batches(seed, n=24, shape=(3,), shift=0.5):
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(n, *shape)).astype(np.float32)
    fake = rng.normal(size=(n, *shape)).astype(np.float32) * 1.5 + np.float32(shift)
    return real, fake


def mlp(params, x):
    """A random network; of images too."""
    first, second = params
    hidden = jnp.tanh(x.reshape(len(x), -1) @ first)
    return (hidden @ second)[:, 0]


def random_mlp(seed, features):
    rng = np.random.default_rng(seed)
    shapes = (features, 16), (16, 1)
    params = tuple(rng.normal(size=s).astype(np.float32) * 3 for s in shapes)
    return jax.tree_util.Partial(mlp, params)


CRITICS = {
    **{f"mlp{seed}": random_mlp(seed, 3) for seed in range(8)},
    "wave": lambda x: jnp.sin(5 * x).sum(1),
    "steep": lambda x: 1e4 * jnp.abs(x).max(1),
    "step": lambda x: (x[:, 0] > 0).astype(jnp.float32),
    "inverted": lambda x: x.sum(1),
    "flat": lambda x: 1e-6 * x[:, 0] + 1,
}


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_critic_exceeds_the_exact_distance(name, seed):
    real, fake = batches(seed)
    found = critic_report(CRITICS[name], real, fake, jax.random.key(seed))
    exact = wasserstein(real, fake)
    assert found["exact_w1"] == pytest.approx(exact, rel=1e-12)
    assert found["critic_w1"] <= exact * (1 + ROUNDING)
    assert found["critic_slope"] >= found["critic_secant"] > 0
    assert found["critic_slope"] >= found["critic_slope_median"]
    assert found["critic_w1"] == found["critic_gap"] / found["critic_secant"]


@pytest.mark.parametrize("shape", [(1,), (2,), (4, 4, 3)])
def test_the_optimal_potential_meets_the_exact_distance(shape):
    real, fake = batches(3, n=40, shape=shape)
    flat = [rows.reshape(len(rows), -1).astype(np.float64) for rows in (real, fake)]
    g = solve_exact(power_cost(*flat)).g
    # f(z) = min_j |z - y_j| - g_j: the c-transform, of any z, 1-Lipschitz.
    anchors, g = jnp.asarray(flat[1], jnp.float32), jnp.asarray(g, jnp.float32)

    def critic(x):
        cost = power_cost(anchors, x.reshape(len(x), -1))
        return c_transform(cost, g)

    found = critic_report(critic, real, fake, jax.random.key(0))
    assert found["critic_gap"] == pytest.approx(found["exact_w1"], rel=SINGLE)
    assert found["critic_w1"] == pytest.approx(found["exact_w1"], rel=OF_NEAR_ROWS)
    assert found["critic_secant"] == pytest.approx(1, rel=OF_NEAR_ROWS)
    assert found["critic_slope"] == pytest.approx(1, rel=OF_NEAR_ROWS)


def test_a_linear_critic_has_its_slope_everywhere():
    real, fake = batches(0, n=64)
    slope = jnp.asarray([3.0, 0.0, 4.0])
    found = critic_report(lambda x: x @ slope + 1, real, fake, jax.random.key(1))
    assert found["critic_slope"] == pytest.approx(5, rel=SINGLE)
    assert found["critic_slope_median"] == pytest.approx(5, rel=SINGLE)
    assert found["critic_gap"] == pytest.approx(
        (real.mean(0) - fake.mean(0)) @ np.asarray(slope), rel=SINGLE
    )


def test_a_moved_batch_is_as_far_as_it_moved():
    real, _ = batches(0)
    move = np.asarray([0.0, 3.0, -4.0], np.float32)
    found = critic_report(
        lambda x: -(x @ jnp.asarray(move)), real, real + move, jax.random.key(1)
    )
    assert found["exact_w1"] == pytest.approx(5, rel=1e-6)
    assert found["critic_w1"] == pytest.approx(5, rel=1e-5)


def test_secants_see_what_gradients_do_not():
    """A staircase has slope zero wherever it has one."""
    real, fake = batches(0)
    found = critic_report(CRITICS["step"], real, fake, jax.random.key(0))
    assert found["critic_slope_median"] == 0
    assert found["critic_slope"] == found["critic_secant"] > 0


def test_gradients_see_what_secants_do_not():
    """A wiggle between rows leaves their scores alone."""
    real, fake = np.zeros((4, 1), np.float32), np.ones((4, 1), np.float32)
    found = critic_report(
        lambda x: jnp.sin(2 * jnp.pi * x[:, 0]), real, fake, jax.random.key(0)
    )
    assert found["critic_secant"] < 1e-5 < 6 < found["critic_slope"]
    assert found["critic_slope"] == pytest.approx(2 * np.pi, rel=SINGLE)


def test_a_constant_critic_gives_zeros():
    found = critic_report(
        lambda x: jnp.zeros(len(x)), *batches(0), key=jax.random.key(0)
    )
    assert found.pop("exact_w1") > 0
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize("critic", ["mlp0", "wave"])
def test_equal_batches_are_at_no_distance(critic):
    real, _ = batches(0)
    shuffled = np.random.default_rng(0).permutation(real)
    found = critic_report(CRITICS[critic], real, shuffled, jax.random.key(0))
    assert found["exact_w1"] == 0
    assert abs(found["critic_w1"]) < 1e-7  # rounding of float32 scores
    assert 0 < found["critic_slope"] < np.inf


def test_one_row():
    found = critic_report(
        lambda x: 2 * x[:, 0],
        np.float32([[1.0, 0.0]]),
        np.float32([[0.0, 0.0]]),
        jax.random.key(0),
    )
    assert found == {
        "exact_w1": 1.0,
        "critic_gap": 2.0,
        "critic_secant": 2.0,
        "critic_slope": 2.0,
        "critic_slope_median": 2.0,
        "critic_w1": 1.0,
    }


def test_equal_rows_with_unequal_scores_have_no_slope():
    """As of a critic that is told labels."""
    secant = largest_secant(np.array([1.0]), np.array([0.0]), np.array([[0.0]]))
    assert secant == np.inf
    labels = jnp.arange(4.0)
    rows = np.zeros((4, 2), np.float32)
    found = critic_report(lambda x: x[:, 0] + labels, rows, rows, jax.random.key(0))
    assert found["critic_w1"] == 0


def test_near_rows_are_told_apart():
    """The distance is of differences: |x|^2 + |y|^2 - 2 x.y in float32 loses these."""
    real = np.full((2, 8), 100.0, np.float32)
    fake = real + np.float32(2**-10)
    found = critic_report(lambda x: x[:, 0], real, fake, jax.random.key(0))
    assert found["exact_w1"] == pytest.approx(8**0.5 / 1024, rel=1e-12)
    assert found["critic_secant"] == pytest.approx(8**-0.5, rel=1e-12)


def test_parameters_of_a_partial_are_no_constants():
    """A new step's parameters compile nothing new."""
    traces = []

    def critic(slope, x):
        traces.append(1)
        return slope * x[:, 0]

    counts = []
    for slope in (1.0, 2.0):
        found = critic_report(
            jax.tree_util.Partial(critic, jnp.asarray(slope)),
            *batches(0),
            key=jax.random.key(0),
        )
        assert found["critic_slope"] == pytest.approx(slope, rel=SINGLE)
        counts.append(len(traces))
    assert counts[0] == counts[1]


def test_scores_that_are_not_finite_are_told():
    found = critic_report(
        lambda x: jnp.log(x[:, 0] - 100), *batches(0), key=jax.random.key(0)
    )
    assert np.isnan([found["critic_gap"], found["critic_slope"]]).all()


def test_bad_input_is_refused():
    real, fake = batches(0)
    key = jax.random.key(0)
    with pytest.raises(InputError, match="equal batches"):
        critic_report(CRITICS["wave"], real, fake[:3], key)
    with pytest.raises(InputError, match="equal batches"):
        critic_report(CRITICS["wave"], real[:0], fake[:0], key)
    with pytest.raises(InputError, match="finite"):
        critic_report(CRITICS["wave"], real, fake * np.nan, key)
    with pytest.raises(InputError, match="one score for each"):
        critic_report(lambda x: x, real, fake, key)
    with pytest.raises(InputError, match="one score for each"):
        critic_report(lambda x: (x[:, 0], x), real, fake, key)


def test_slopes_of_critics_that_see_classes_are_of_one_class():
    real, fake = batches(0, n=6)
    labels = np.array([0, 1, 2, 0, 1, 2])

    def scores(labels, x):
        return 5.0 * labels + x[:, 0]

    critic = jax.tree_util.Partial(scores, jnp.asarray(labels, jnp.float32))
    blind = critic_report(critic, real, fake, jax.random.key(0))
    found = critic_report(critic, real, fake, jax.random.key(0), labels=labels)
    assert blind["critic_slope"] > 2
    assert found["critic_slope"] == pytest.approx(1.0, abs=SINGLE)
    # The bound takes all pairs, since a plan may.
    assert found["critic_w1"] == blind["critic_w1"] <= found["exact_w1"]
