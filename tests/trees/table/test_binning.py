"""Bins beside searchsorted and scikit-learn; the kernel beside NumPy, byte by byte."""

import jax
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees.native import library
from jaxlab.trees.table import codes, cuts
from jaxlab.trees.table.binning import fit_binner, split_threshold, transform


@pytest.fixture
def table(rng):
    """Make features of few and many values, missing ones, one constant, one empty."""
    X = rng.normal(size=(1000, 6))
    X[:, 1] = rng.integers(0, 20, 1000)
    X[:, 2] = np.exp(5 * X[:, 2])
    X[:, 3] = 2.5
    X[:, 4] = np.nan
    X[rng.random(1000) < 0.1, 5] = np.nan
    return X


@pytest.fixture
def without_kernel(monkeypatch):
    """Give a way to take the compiled kernel out."""

    def take_out():
        monkeypatch.setattr(cuts, "library", lambda: None)
        monkeypatch.setattr(codes, "library", lambda: None)

    return take_out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bin_counts_the_cuts_below(table, dtype):
    X = table.astype(dtype)
    binner = fit_binner(X)
    found = transform(binner, X)
    for j in range(X.shape[1]):
        naive = np.searchsorted(binner.cuts[j], X[:, j].astype(np.float64), side="left")
        naive[np.isnan(X[:, j])] = binner.num_bins - 1
        np.testing.assert_array_equal(found[:, j], naive)


@pytest.mark.parametrize("max_bins", [2, 15, 16, 17, 128, 255])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_kernel_and_numpy_give_the_same_bytes(
    table, without_kernel, max_bins, dtype, order
):
    if library() is None:
        pytest.skip("no compiled kernels here")
    X = np.tile(np.nan_to_num(table) if dtype == np.int32 else table, (20, 1))
    X = np.minimum(X, 1e9).astype(dtype, order)
    fitted = fit_binner(X, max_bins=max_bins)
    found = transform(fitted, X)
    without_kernel()
    again = fit_binner(X, max_bins=max_bins)
    np.testing.assert_array_equal(fitted.cuts, again.cuts)
    np.testing.assert_array_equal(found, transform(again, X))


def test_float32_rows_fall_into_the_bins_of_float64_cuts(rng):
    X = np.round(rng.normal(size=(4000, 3)), 2)
    binner = fit_binner(X)
    narrow = X.astype(np.float32)
    np.testing.assert_array_equal(
        transform(binner, narrow), transform(binner, narrow.astype(np.float64))
    )


@pytest.mark.peer
@pytest.mark.parametrize("max_bins", [7, 63, 255])
def test_bins_are_those_of_scikit_learn(table, max_bins):
    peer = pytest.importorskip(
        "sklearn.ensemble._hist_gradient_boosting.binning", reason="private there"
    )
    X = np.delete(table, 4, axis=1)  # scikit-learn cannot bin what is all missing
    theirs = peer._BinMapper(n_bins=max_bins + 1).fit(X)
    binner = fit_binner(X, max_bins=max_bins)
    np.testing.assert_array_equal(binner.num_values, theirs.n_bins_non_missing_)
    missing = binner.num_bins - 1
    expected = theirs.transform(X)
    np.testing.assert_array_equal(
        transform(binner, X), np.where(expected == max_bins, missing, expected)
    )


def test_the_number_of_bins_is_one_of_few(rng):
    for values, num_bins in [(2, 17), (16, 17), (17, 33), (65, 129), (129, 256)]:
        X = rng.permutation(np.arange(float(values)))[:, None]
        binner = fit_binner(X)
        assert (binner.num_values[0], binner.num_bins) == (values, num_bins)
        assert binner.cuts.shape == (1, num_bins - 2)
    many = rng.normal(size=(1000, 1))
    assert fit_binner(many).num_bins == 256
    assert fit_binner(many, max_bins=16).num_bins == 17


def test_constant_and_missing_features_have_one_bin_and_none(table):
    binner = fit_binner(table)
    assert binner.num_values[3:5].tolist() == [1, 0]
    assert np.isinf(binner.cuts[3:5]).all()
    found = transform(binner, table)
    assert (found[:, 3] == 0).all()
    assert (found[:, 4] == binner.num_bins - 1).all()


def test_a_threshold_sends_its_bin_and_those_below_left(table):
    binner = fit_binner(table, max_bins=40)
    found = transform(binner, table)
    for feature in (0, 1, 5):
        for bin in range(binner.num_values[feature] - 1):
            left = table[:, feature] <= split_threshold(binner, feature, bin)
            np.testing.assert_array_equal(left, found[:, feature] <= bin)
    last = int(binner.num_values[0]) - 1
    assert split_threshold(binner, 0, last) == np.inf
    assert split_threshold(binner, 0, binner.num_bins - 2) == np.inf


def test_whole_weights_are_repeated_rows_and_weight_zero_is_no_row(table, rng):
    weight = rng.integers(0, 4, len(table))
    by_weight = fit_binner(table, weight=weight, max_bins=50)
    by_rows = fit_binner(np.repeat(table, weight, axis=0), max_bins=50)
    np.testing.assert_array_equal(by_weight.cuts, by_rows.cuts)
    equal = fit_binner(table, weight=np.full(len(table), 0.1), max_bins=50)
    np.testing.assert_array_equal(
        equal.cuts, fit_binner(table, max_bins=50).cuts, "a common factor is none"
    )


def test_cuts_of_a_sample_are_near_those_of_all_rows(rng, monkeypatch):
    monkeypatch.setattr(cuts, "MAX_SAMPLE", 20_000)
    X = rng.random((60_000, 2))
    X[:, 1] = 0
    X[-1, 1] = 1  # no sample finds it, but few values are found in all rows
    binner = fit_binner(X, max_bins=10)
    # Strata leave less error than independent draws, of sd 0.5 / sqrt(20,000) = 0.004.
    np.testing.assert_allclose(binner.cuts[0, :9], np.arange(1, 10) / 10, atol=0.01)
    assert binner.cuts[1, 0] == 0.5
    again = fit_binner(X, max_bins=10)
    np.testing.assert_array_equal(binner.cuts, again.cuts)


def test_codes_lie_where_jax_takes_them_without_a_copy(table):
    binner = fit_binner(table)
    found = transform(binner, table, pad_rows_to=1024)
    assert found.shape == (1024, 6)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.ctypes.data % 64 == 0
    assert (found[1000:] == 0).all()
    np.testing.assert_array_equal(found[:1000], transform(binner, table))
    if jax.default_backend() == "cpu":
        shared = jax.device_put(found, jax.devices()[0], may_alias=True)
        assert shared.unsafe_buffer_pointer() == found.ctypes.data


def test_a_binner_is_a_pytree_that_keeps_float64(table):
    binner = fit_binner(table)
    again = jax.tree.map(lambda leaf: leaf, binner)
    assert again.cuts.dtype == np.float64
    assert (again.num_bins, again.categories) == (binner.num_bins, binner.categories)
    hash(jax.tree.structure(binner))


def test_codes_of_categories_are_kept_apart(rng):
    X = rng.integers(0, 9, (200, 2)) * 10.0
    X[5, 1] = np.nan
    for categorical in (1, [1], [False, True], np.array([1])):
        binner = fit_binner(X, categorical=categorical)
        assert binner.categories == (None, tuple(range(0, 90, 10)))
        assert binner.is_categorical.tolist() == [False, True]
        assert binner.num_values.tolist() == [9, 9]
        found = transform(binner, X)
        naive = np.where(np.isnan(X[:, 1]), binner.num_bins - 1, X[:, 1] // 10)
        np.testing.assert_array_equal(found[:, 1], naive)
    unseen = transform(binner, np.array([[0, 15], [0, 1e6], [0, -1], [0, np.inf]]))
    assert (unseen[:, 1] == binner.num_bins - 1).all()


def test_categories_of_frames_keep_their_order_whatever_comes_later():
    pandas = pytest.importorskip("pandas")
    towns = pandas.Categorical(["Ulm", "Bonn", None], ["Ulm", "Bonn", "Kiel"])
    frame = pandas.DataFrame({"town": towns, "size": [1.0, 2, 3]})
    binner = fit_binner(frame)
    assert binner.categories == (("Ulm", "Bonn", "Kiel"), None)
    assert transform(binner, frame)[:, 0].tolist() == [0, 1, 16]
    later = pandas.DataFrame({"town": ["Kiel", "Rom", "Bonn"], "size": [1.0, 2, 3]})
    assert transform(binner, later)[:, 0].tolist() == [2, 16, 1]
    later["town"] = later["town"].astype("category")
    assert transform(binner, later)[:, 0].tolist() == [2, 16, 1]


def test_columns_of_text_become_categories_when_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.0, 2, 3], "town": ["Ulm", None, "Bonn"]})
    frame["code"] = pandas.array([7, 5, None], "Int64")
    binner = fit_binner(frame, categorical=["town", 2])
    assert binner.categories == (None, ("Bonn", "Ulm"), (5, 7))
    assert transform(binner, frame)[:, 1:].tolist() == [[1, 1], [16, 0], [0, 16]]


def test_features_have_to_be_those_of_the_fit(table):
    binner = fit_binner(table)
    with pytest.raises(InputError, match="X has 5 features, but Binner is expecting 6"):
        transform(binner, table[:, :5])
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table, columns=list("abcdef"))
    binner = fit_binner(frame)
    assert binner.feature_names == tuple("abcdef")
    np.testing.assert_array_equal(transform(binner, table), transform(binner, frame))
    with pytest.raises(InputError, match="column 0 of X is 'b', but was 'a'"):
        transform(binner, frame[list("bacdef")])


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_values_are_refused_by_column_and_row(
    table, without_kernel, kernel, value, dtype
):
    if not kernel:
        without_kernel()
    X = table.astype(dtype)
    binner = fit_binner(X)
    X[777, 2] = value
    for use in (lambda: fit_binner(X), lambda: transform(binner, X)):
        with pytest.raises(InputError, match=f"column 2 of X is {value} in row 777"):
            use()


def test_too_many_categories_are_refused():
    codes_of_category = np.arange(256.0)[:, None]
    fit_binner(codes_of_category[:255], categorical=[0])
    with pytest.raises(InputError, match="over 255 categories"):
        fit_binner(codes_of_category, categorical=[0])
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": np.arange(300)}).astype("category")
    with pytest.raises(InputError, match=r"'id'.*300 categories.*merge"):
        fit_binner(frame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bins": 1}, "max_bins 1"),
        ({"max_bins": 256}, "max_bins 256"),
        ({"weight": np.ones(3)}, "1000 rows"),
        ({"weight": np.zeros(1000)}, "positive"),
        ({"weight": -np.ones(1000)}, "not negative"),
        ({"weight": np.full(1000, np.nan)}, "finite"),
        ({"categorical": [6]}, "categorical 6"),
        ({"categorical": "abc"}, "categorical 'abc'"),
        ({"categorical": [True, False]}, "mask of 6"),
    ],
)
def test_arguments_out_of_range_are_refused(table, options, message):
    with pytest.raises(InputError, match=message):
        fit_binner(table, **options)


def test_a_result_that_does_not_fit_is_refused(table, monkeypatch):
    binner = fit_binner(table)
    with pytest.raises(InputError, match="pad_rows_to 999"):
        transform(binner, table, pad_rows_to=999)
    monkeypatch.setattr(codes, "_SURELY_FREE", 0)
    monkeypatch.setattr(codes, "_free_memory", lambda: 5000.0)
    with pytest.raises(InputError, match="1000 rows x 6 features"):
        transform(binner, table)
