"""Pictures as tests look at them."""

import numpy as np
import pytest
from matplotlib.image import imread


@pytest.fixture
def picture():
    """Read a PNG; an empty figure has one colour."""

    def read(path):
        pixels = imread(path)
        assert min(pixels.shape[:2]) > 100
        assert len(np.unique(pixels[..., :3])) > 10
        return pixels

    return read


@pytest.fixture
def told(monkeypatch):
    """Collect what is told of pictures that could not be drawn."""
    lines = []
    monkeypatch.setattr("jaxlab.plots.figure._tell", lines.append)
    return lines
