"""Pictures of critics: which moments are shown, and critics that are flat."""

import numpy as np
import pytest
from PIL import Image

from jaxlab.plots.critic import (
    Stage,
    animation,
    final_picture,
    places_in_plane,
    side_by_side,
    stage_panels,
)


def stage(step, scores=None):
    places = places_in_plane(2.0, 8)
    return Stage(step, places[:5], places[:, 0] if scores is None else scores)


def test_places_run_along_rows_first():
    places = places_in_plane(2.0, 3)
    assert places[:4].tolist() == [[-2, -2], [0, -2], [2, -2], [-2, 0]]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 11])
def test_pictures_are_drawn_of_any_number_of_moments(tmp_path, count):
    real = np.zeros((3, 2), np.float32)
    stages = [stage(10 * i) for i in range(count)]
    stages[0] = stage(0, np.zeros(64))  # a constant critic has contours too
    assert stage_panels(tmp_path, real, stages, 2.0).name == "stages.png"
    assert side_by_side(tmp_path, real, {"gan": stages[0]}, 2.0).name == "losses.png"
    assert final_picture(tmp_path, real, stages[0], 2.0).name == "final.png"
    with Image.open(animation(tmp_path, real, stages, 2.0)) as film:
        assert film.n_frames == count
    assert not [*tmp_path.glob("*.part*")]
