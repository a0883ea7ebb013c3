"""Tests of `jaxlab.data.points.two_samples`."""

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.points.two_samples import GAUSSIANS, find_two_samples
from tests.damage import check_reader


@pytest.mark.parametrize(
    ("name", "features"),
    [("line", 1), ("plane", 2), ("gaussians", 2), ("toy", 2), ("ring:swissroll", 2)],
)
def test_samples_are_functions_of_the_seed(name, features):
    first, again = (find_two_samples(name, 20, 3) for _ in range(2))
    other = find_two_samples(name, 20, 4)
    assert first.x.shape == first.y.shape == (20, features)
    assert first.x.dtype == first.y.dtype == np.float32
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.y, again.y)
    assert (first.x != other.x).any()
    assert str(first) == f"{name} (two samples of 20 points, {features}-D)"


def test_samples_have_the_moments_that_are_written():
    data = find_two_samples("gaussians", 20_000, 0)
    for rows, gaussian in zip((data.x, data.y), GAUSSIANS, strict=True):
        # Four standard errors of numbers of size 1.
        np.testing.assert_allclose(rows.mean(0), gaussian.mean, atol=0.03)
        covariance = gaussian.root @ gaussian.root.T
        np.testing.assert_allclose(np.cov(rows.T), covariance, atol=0.04)
    two, one = (
        find_two_samples("line", 20_000, 0).x,
        find_two_samples("line", 20_000, 0).y,
    )
    assert two[two < -0.3].mean() == pytest.approx(-2, abs=0.03)
    assert two[two > -0.3].mean() == pytest.approx(1.5, abs=0.03)
    assert one.mean() == pytest.approx(0, abs=0.03)
    ring = np.linalg.norm(find_two_samples("plane", 20_000, 0).x, axis=1)
    assert ring.mean() == pytest.approx(2, abs=0.02)


def test_a_file_is_read_from_its_start(tmp_path):
    x, y = np.arange(10.0), np.arange(16.0).reshape(8, 2)
    np.savez(tmp_path / "line.npz", x=x, y=x[:7] + 1)
    data = find_two_samples(str(tmp_path / "line.npz"), 100, 0)
    assert data.x.shape == data.y.shape == (7, 1)
    np.testing.assert_array_equal(data.y[:, 0], x[:7] + 1)
    np.savez(tmp_path / "wrong.npz", x=x, y=y)
    np.savez(tmp_path / "empty.npz", z=x)
    np.savez(tmp_path / "nan.npz", x=x, y=np.where(x == 3, np.nan, x))
    np.savez(tmp_path / "large.npz", x=x, y=x * 1e300)
    np.savez(tmp_path / "complex.npz", x=x, y=x * 1j)
    np.savez(tmp_path / "texts.npz", x=x, y=x.astype(str))
    np.savez(tmp_path / "one.npz", x=x, y=x[:1])
    np.savez(tmp_path / "scalar.npz", x=x, y=3.0)
    np.savez(tmp_path / "rowless.npz", x=x[:0], y=x[:0])
    (tmp_path / "text.npz").write_text("x, y")
    for name, message in {
        "wrong": r"\(10, 1\) and \(8, 2\)",
        "empty": "holds z; it must hold x and y",
        "nan": "y of .* not finite in float32 in row 3",
        "large": "y of .* not finite in float32 in row 1",
        "complex": r"y of .* is complex128 \(10,\); it must hold numbers",
        "texts": "y of .* is <U32 ",
        "one": "10 points x and 1 y",
        "scalar": r"y of .* is float64 \(\)",
        "rowless": r"shapes \(0, 0\) and \(0, 0\)",
        "text": "text.npz is not a readable .npz file",
        "none": "there is no file",
    }.items():
        with pytest.raises(InputError, match=message):
            find_two_samples(str(tmp_path / f"{name}.npz"), 5, 0)


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("circle", 10, "no two samples 'circle'; take one of line, plane"),
        ("ring:", 10, "no two samples 'ring:'"),
        ("two:ring", 10, "two have 1 coordinates, those of ring 2"),
        ("line", 1, "1 points of each sample are too few"),
    ],
)
def test_what_cannot_be_compared_is_refused(name, count, message):
    with pytest.raises(InputError, match=message):
        find_two_samples(name, count, 0)


@pytest.mark.fuzz
def test_no_damaged_file_of_points_passes(tmp_path):
    x = np.arange(12.0).reshape(6, 2)
    np.savez(tmp_path / "points.npz", x=x, y=-x)

    def is_right(found):
        return np.array_equal(found.x, x) and np.array_equal(found.y, -x)

    def read(file):
        return find_two_samples(str(file), 6, 0)

    assert check_reader(read, tmp_path / "points.npz", is_right) > 0
