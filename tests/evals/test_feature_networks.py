"""Where no weights are given, the features are a classifier's of the data."""

import numpy as np
import pytest

from jaxlab.data.images.image_set import ArraySource, ImageData
from jaxlab.evals.feature_networks import find_features


@pytest.mark.slow
def test_a_classifier_is_named_by_its_data_and_tells_what_it_knows(
    rng, tmp_path, monkeypatch
):
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path))

    def draw(count):
        label = np.arange(count, dtype=np.int32) % 3
        noise = rng.integers(0, 120, (count, 4, 4, 1))
        image = (noise + 60 * label[:, None, None, None]).astype(np.uint8)
        return ArraySource(image, label)

    name = "sets/grey-levels"
    data = ImageData(name, draw(90), draw(30), ("a", "b", "c"), (4, 4, 1))
    features = find_features("", data)
    assert features.name == "grey_levels_classifier"
    rows, probabilities = features.embed(data.test.image)
    assert rows.shape == (30, 64)
    is_right = np.argmax(probabilities, 1) == data.test.label
    assert features.accuracy == pytest.approx(is_right.mean())
    assert str(features).endswith(
        f" {100 * is_right.mean():.1f} % of held-out samples right"
    )
