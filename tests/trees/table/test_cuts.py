"""Cuts of one feature: beside scikit-learn's, and by the meaning of weights."""

import numpy as np
import pytest

from jaxlab.trees.native import library
from jaxlab.trees.table import cuts

MAX_BINS = [2, 3, 15, 16, 64, 254, 255]


@pytest.fixture(params=["kernel", "numpy"], autouse=True)
def way(request, monkeypatch):
    """Run each test with the compiled kernel and without it."""
    if request.param == "numpy":
        monkeypatch.setattr(cuts, "library", lambda: None)
    elif library() is None:
        pytest.skip("no compiled kernels here")


def columns(rng):
    """Make columns of few and many values, even and skewed, in both precisions."""
    yield "normal", rng.normal(size=3001)
    yield "skewed", np.exp(3 * rng.normal(size=2000)).astype(np.float32)
    yield "few", rng.integers(0, 12, 500).astype(np.float64)
    yield "ties", np.round(rng.normal(size=4000), 1) * (rng.random(4000) < 0.4)
    yield "counts", rng.poisson(200, 5000).astype(np.float32)
    yield "as many as bins", rng.permutation(np.arange(255.0))
    yield "one", np.full(7, 3.25)


def searched(found, values):
    return np.searchsorted(found, values, side="left")


@pytest.mark.peer
@pytest.mark.parametrize("max_bins", MAX_BINS)
@pytest.mark.parametrize("weighted", [False, True])
def test_bins_are_those_of_scikit_learn(rng, max_bins, weighted):
    binning = pytest.importorskip(
        "sklearn.ensemble._hist_gradient_boosting.binning", reason="private there"
    )
    for name, values in columns(rng):
        weight = rng.integers(1, 4, len(values)) * 1.0 if weighted else None
        wide = values.astype(np.float64)
        theirs = binning._find_binning_thresholds(wide, max_bins, weight)
        ours = cuts.find_cuts(values, max_bins, weight)
        assert len(ours) == len(theirs), name
        np.testing.assert_array_equal(
            searched(ours, wide), searched(theirs, wide), err_msg=name
        )


@pytest.mark.parametrize("max_bins", MAX_BINS)
def test_whole_weights_are_repeated_rows(rng, max_bins):
    for name, values in columns(rng):
        weight = rng.integers(1, 6, len(values))
        np.testing.assert_array_equal(
            cuts.find_cuts(values, max_bins, weight.astype(np.float64)),
            cuts.find_cuts(np.repeat(values, weight), max_bins),
            err_msg=name,
        )


def test_quantiles_hold_equal_weight(rng):
    values, weight = rng.normal(size=5000), rng.random(5000)
    found = cuts.quantile_cuts(values, 20, weight)
    shares = np.bincount(searched(found, values), weight) / weight.sum()
    assert len(shares) == 20
    # A row is at most 1 / 2500 of the weight, and moves over either edge of a bin.
    np.testing.assert_allclose(shares, 1 / 20, atol=2 / 2500)


def test_every_two_neighbours_are_cut_where_values_are_few(rng):
    values = rng.choice(rng.normal(size=200), 1000)
    found = cuts.find_cuts(values, 255)
    np.testing.assert_array_equal(
        np.unique(values, return_inverse=True)[1], searched(found, values)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cut_parts_neighbours_that_no_number_lies_between(dtype):
    big, tiny = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    one = dtype(1)
    positive = [tiny, one, np.nextafter(one, big), np.nextafter(big, one), big]
    values = np.array([*(-x for x in reversed(positive)), 0, *positive], dtype)
    found = cuts.find_cuts(values, 255)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(searched(found, values), np.arange(len(values)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [1, 3, -2])
def test_distinct_values_are_numpys(rng, dtype, stride):
    values = rng.integers(-30, 30, 9000).astype(dtype)[::stride] / 7
    values[::50] = np.nan
    values[1::50] = -0.0
    expected = np.unique(values[~np.isnan(values)])
    np.testing.assert_array_equal(cuts.distinct_values(values, 60), expected)
    assert cuts.distinct_values(values, len(expected)) is not None
    assert cuts.distinct_values(values, len(expected) - 1) is None


def test_distinct_values_count_the_last_row_too():
    values = np.zeros(300_000)
    values[-1] = 1
    assert cuts.distinct_values(values, 1) is None
    np.testing.assert_array_equal(cuts.distinct_values(values, 2), [0, 1])


def test_float32_cuts_compare_like_the_float64_ones(rng):
    near = rng.normal(size=1000).astype(np.float32)
    exact = near.astype(np.float64) + rng.choice([-1e-12, 0, 1e-12], 1000)
    exact = np.append(exact, [1e300, -1e300, 1e-60, -1e-60, np.inf])
    rounded = cuts.round_down(exact)
    for values in (
        np.append(near, [np.finfo(np.float32).max, 0, 0, 0, 1]).astype(np.float32),
        -np.ones(len(exact), np.float32) * np.finfo(np.float32).max,
        np.full(len(exact), np.finfo(np.float32).smallest_subnormal),
    ):
        np.testing.assert_array_equal(values <= rounded, values <= exact)


def test_a_sample_is_drawn_in_order_and_by_weight(rng, monkeypatch):
    monkeypatch.setattr(cuts, "MAX_SAMPLE", 1000)
    weight = rng.integers(0, 5, 4000).astype(np.float64)
    drawn = cuts.draw_sample(4000, weight, seed=3).drawn
    assert len(drawn) == 1000
    assert (np.diff(drawn) >= 0).all()
    share = np.bincount(weight[drawn].astype(int), minlength=5) / 1000
    expected = np.bincount(weight.astype(int), weight, 5) / weight.sum()
    # Strata vary less than independent draws, of standard deviation 0.016 at most.
    np.testing.assert_allclose(share, expected, atol=0.05)


def test_a_sample_by_whole_weights_is_that_of_repeated_rows(rng, monkeypatch):
    monkeypatch.setattr(cuts, "MAX_SAMPLE", 1000)
    weight = rng.integers(0, 5, 4000)
    rows = np.repeat(np.arange(4000), weight)
    np.testing.assert_array_equal(
        cuts.draw_sample(4000, weight.astype(np.float64), seed=1).drawn,
        rows[cuts.draw_sample(len(rows), None, seed=1).drawn],
    )


def test_a_sample_with_few_values_gives_way_to_all_rows(monkeypatch):
    monkeypatch.setattr(cuts, "MAX_SAMPLE", 5000)
    values = np.full(50_000, np.nan)
    values[::100] = np.arange(500)
    chosen, weight = cuts.draw_sample(50_000, None, seed=0).take(values)
    np.testing.assert_array_equal(chosen, np.arange(500))
    assert weight is None
