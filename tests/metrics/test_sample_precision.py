"""Precision, recall, density and coverage against neighbours of scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import jaxlab.metrics.sample_precision as module
from jaxlab.core.errors import InputError
from jaxlab.metrics.sample_precision import precision_recall


def sets(seed, n=60, m=45, width=4, shift=0.8):
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(n, width))
    return real, rng.normal(size=(m, width)) * 0.8 + shift


def naive(real, fake, k, density_k):
    """Straight from the definitions, a loop over pairs."""

    def radii(rows, k):
        found = NearestNeighbors(n_neighbors=k + 1).fit(rows).kneighbors(rows)
        return found[0][:, -1]  # the first neighbour is the row itself

    def inside(rows, points, radii):
        return np.array(
            [
                [
                    np.linalg.norm(row - p) <= r
                    for p, r in zip(points, radii, strict=True)
                ]
                for row in rows
            ]
        )

    dense = inside(fake, real, radii(real, density_k))
    return {
        "precision": inside(fake, real, radii(real, k)).any(1).mean(),
        "recall": inside(real, fake, radii(fake, k)).any(1).mean(),
        "density": dense.sum() / density_k / len(fake),
        "coverage": dense.any(0).mean(),
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("k", "density_k"), [(3, 5), (1, 1), (10, 2)])
def test_all_four_are_those_of_the_definitions(seed, k, density_k, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 500)  # several blocks, one not full
    real, fake = sets(seed)
    found = precision_recall(real, fake, neighbors=k, density_neighbors=density_k)
    assert found == pytest.approx(naive(real, fake, k, density_k), abs=1e-12)
    assert min(found.values()) > 0


def test_far_from_the_origin_and_in_float32():
    real, fake = (
        (rows + 1000).astype(np.float32) for rows in sets(0, width=8, shift=0.5)
    )
    found = precision_recall(real, fake)
    wide = real.astype(np.float64), fake.astype(np.float64)
    assert found == pytest.approx(naive(*wide, 3, 5), abs=1e-12)


def test_equal_sets_are_all_of_each_other():
    """The k-th neighbour lies on the rim of its ball, so density is (k + 1) / k."""
    real, _ = sets(0)
    found = precision_recall(real, real[::-1])
    assert found == {
        "precision": 1.0,
        "recall": 1.0,
        "density": pytest.approx(6 / 5),
        "coverage": 1.0,
    }


def test_far_sets_share_nothing():
    real, fake = sets(0, shift=100.0)
    assert set(precision_recall(real, fake).values()) == {0.0}


def test_one_real_point_repeated_is_precise_and_covers_little():
    real, _ = sets(0)
    found = precision_recall(real, np.repeat(real[:1], 30, axis=0))
    assert found["precision"] == 1
    # A ball of no size holds its own point alone.
    assert found["recall"] == pytest.approx(1 / 60)
    assert found["coverage"] < 0.25


def test_bad_input_is_refused():
    real, fake = sets(0)
    with pytest.raises(InputError, match="at least 6 rows"):
        precision_recall(real[:5], fake)
    with pytest.raises(InputError, match="at least 4 rows"):
        precision_recall(real, fake[:3])
    with pytest.raises(InputError, match="differ in number"):
        precision_recall(real, fake[:, :2])
    with pytest.raises(InputError, match="finite"):
        precision_recall(real, fake * np.nan)
    with pytest.raises(InputError, match="1 or more"):
        precision_recall(real, fake, neighbors=0)
