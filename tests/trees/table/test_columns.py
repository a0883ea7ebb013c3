"""Every kind of table reads as the same numbers; what cannot be read says why."""

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees.table import columns
from jaxlab.trees.table.binning import fit_binner, transform
from jaxlab.trees.table.columns import read_table


@pytest.fixture
def matrix(rng):
    """Make small whole numbers, which every type can hold."""
    return rng.integers(0, 100, (300, 5)).astype(np.float64)


def bins(X, **options):
    binner = fit_binner(X, max_bins=30, **options)
    return transform(binner, X)


@pytest.mark.parametrize(
    "dtype",
    ["f2", "f4", "f8", "i1", "u2", "i8", "u8", "O", ">f8", ">f4", ">i4", "longdouble"],
)
def test_types_of_number_read_alike(matrix, dtype):
    np.testing.assert_array_equal(bins(matrix.astype(dtype)), bins(matrix))


def test_orders_and_strides_read_alike(matrix):
    expected = bins(matrix)
    for view in (
        np.asfortranarray(matrix),
        np.repeat(np.repeat(matrix, 2, 0), 3, 1)[::2, ::3],
        np.ascontiguousarray(matrix[::-1, ::-1])[::-1, ::-1],
        matrix.tolist(),
    ):
        np.testing.assert_array_equal(bins(view), expected)


def test_numbers_that_are_not_aligned_are_read(matrix):
    packed = np.zeros(len(matrix), [("a", "u1"), ("b", "<f8", 5)])
    packed["b"] = matrix
    assert not packed["b"].flags.aligned
    np.testing.assert_array_equal(bins(packed["b"]), bins(matrix))


def test_booleans_are_zero_and_one(rng):
    X = rng.random((50, 3)) < 0.5
    np.testing.assert_array_equal(bins(X), X)


def test_none_is_missing_among_objects():
    X = np.array([[1.0], [None], [2]], object)
    assert bins(X).ravel().tolist() == [0, 16, 1]


def test_jax_arrays_are_read(matrix):
    jnp = pytest.importorskip("jax.numpy")
    for dtype in (jnp.float32, jnp.bfloat16):
        np.testing.assert_array_equal(bins(jnp.asarray(matrix, dtype)), bins(matrix))


def test_blocks_of_rows_give_the_same_bins(matrix, monkeypatch):
    expected = bins(matrix)
    monkeypatch.setattr(columns, "_BLOCK_VALUES", 64 * 5)
    np.testing.assert_array_equal(bins(matrix.astype(int)), expected)


@pytest.mark.parametrize("form", ["csr_array", "csc_matrix", "coo_array", "lil_array"])
def test_sparse_zeros_are_zeros(rng, form, monkeypatch):
    sparse = pytest.importorskip("scipy.sparse")
    X = rng.normal(size=(400, 6)) * (rng.random((400, 6)) < 0.2)
    X[3, 2] = np.nan
    monkeypatch.setattr(columns, "_BLOCK_VALUES", 64 * 6)
    np.testing.assert_array_equal(bins(getattr(sparse, form)(X)), bins(X))


def test_sparse_entries_that_come_twice_are_added():
    sparse = pytest.importorskip("scipy.sparse")
    X = sparse.csc_array((np.ones(3), [0, 0, 1], [0, 3]), shape=(3, 1))
    np.testing.assert_array_equal(bins(X), [[2], [1], [0]])


def test_frames_read_column_by_column(matrix):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(matrix, columns=list("abcde"))
    mixed = frame.astype(
        {"a": "Int64", "b": "float32", "c": "Float64", "d": "int16", "e": "UInt8"}
    )
    np.testing.assert_array_equal(bins(frame), bins(matrix))
    np.testing.assert_array_equal(bins(mixed), bins(matrix))


def test_missing_values_of_frames_are_missing():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "int": pandas.array([1, None, 3], "Int64"),
            "float": pandas.array([1.5, 2.5, None], "Float32"),
            "bool": pandas.array([True, False, None], "boolean"),
            "plain": [True, False, True],
            "sparse": pandas.arrays.SparseArray([0.0, 1.0, np.nan]),
        }
    )
    expected = [[0, 0, 1, 1, 0], [16, 1, 0, 0, 1], [1, 16, 16, 1, 16]]
    np.testing.assert_array_equal(bins(frame), expected)


def test_texts_in_frames_say_how_to_become_categories():
    pandas = pytest.importorskip("pandas")
    for dtype in ("str", object):
        frame = pandas.DataFrame({"x": [1.0, 2], "town": ["Ulm", "Bonn"]})
        frame["town"] = frame["town"].astype(dtype)
        with pytest.raises(InputError, match=r"town.*astype\(\"category\"\)"):
            fit_binner(frame)


def test_names_are_kept_if_all_are_texts(matrix):
    pandas = pytest.importorskip("pandas")
    named = pandas.DataFrame(matrix, columns=list("abcde"))
    assert read_table(named).names == tuple("abcde")
    assert read_table(pandas.DataFrame(matrix)).names == ()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(5), "Reshape your data"),
        (np.zeros((2, 2, 2)), "Reshape your data"),
        (3.0, "Reshape your data"),
        (np.zeros((0, 3)), "0 sample"),
        (np.zeros((3, 0)), r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1"),
        (np.zeros((3, 1), complex), "Complex data not supported"),
        (np.array([["a"], ["b"]]), "category"),
        (np.array([["a"], [1.0]], object), "category"),
        (np.zeros((2, 1), "datetime64[s]"), "numbers"),
        (np.ma.masked_array(np.zeros((2, 1)), [[True], [False]]), "filled"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(X, message):
    with pytest.raises(InputError, match=message):
        fit_binner(X)
