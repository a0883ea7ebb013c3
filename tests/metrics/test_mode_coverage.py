"""Modes covered, high quality and evenness, against what is known of the points."""

import jax
import numpy as np
import pytest
from scipy.stats import entropy

from jaxlab.core.errors import InputError
from jaxlab.data.points.toy import (
    EIGHT_GAUSSIANS,
    TWENTY_FIVE_GAUSSIANS,
    sample_mixture,
)
from jaxlab.metrics.mode_coverage import mode_coverage


@pytest.mark.parametrize("mixture", [EIGHT_GAUSSIANS, TWENTY_FIVE_GAUSSIANS])
def test_the_mixture_itself_covers_all_modes_evenly(mixture):
    n = 20000
    found = mode_coverage(sample_mixture(mixture, jax.random.key(0), n), mixture)
    assert found["modes"] == len(mixture.centers)
    # Rayleigh's law; four standard errors of a share.
    share = 1 - np.exp(-4.5)
    assert abs(found["high_quality"] - share) < 4 * (share * (1 - share) / n) ** 0.5
    # 2 n KL has nearly the chi-squared law of modes - 1 degrees.
    assert 2 * n * found["mode_kl"] < 3 * len(mixture.centers)


def test_the_definitions_on_points_made_by_hand():
    centers, sigma = EIGHT_GAUSSIANS
    shift = sigma * np.array([[1.0, 0.0]])
    points = np.concatenate(
        [
            np.repeat(centers[:1] + 2.99 * shift, 5, axis=0),  # good
            np.repeat(centers[1:2] + 3.01 * shift, 3, axis=0),  # nearest, but not good
            centers[2:3],  # good, but alone
            np.zeros((1, 2)) + 1e-3 * centers[3:4],  # nearest to the fourth
        ]
    )
    found = mode_coverage(points, EIGHT_GAUSSIANS)
    assert found["modes"] == 2
    assert found["high_quality"] == pytest.approx(6 / 10)
    expected = entropy([0.5, 0.3, 0.1, 0.1, 0, 0, 0, 0], np.full(8, 1 / 8))
    assert found["mode_kl"] == pytest.approx(expected, abs=1e-12)
    assert mode_coverage(points, EIGHT_GAUSSIANS, at_least=2)["modes"] == 1
    assert mode_coverage(points, EIGHT_GAUSSIANS, radius=4.0)["modes"] == 3


def test_a_collapsed_generator():
    points = np.repeat(EIGHT_GAUSSIANS.centers[:1], 50, axis=0)
    found = mode_coverage(points, EIGHT_GAUSSIANS)
    assert found == {
        "modes": 1.0,
        "high_quality": 1.0,
        "mode_kl": pytest.approx(np.log(8)),
    }


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.zeros((0, 2)), {}, "at least one"),
        (np.full((3, 2), np.nan), {}, "finite"),
        (np.zeros((3, 2)), {"radius": 0.0}, "positive"),
        (np.zeros((3, 2)), {"at_least": 0}, "positive"),
    ],
)
def test_bad_input_is_refused(points, options, message):
    with pytest.raises(InputError, match=message):
        mode_coverage(points, EIGHT_GAUSSIANS, **options)
