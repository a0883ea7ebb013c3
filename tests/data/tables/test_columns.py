"""Cells of text as typed columns."""

import io

import numpy as np
import pytest

from jaxlab.data.tables.columns import listed, looks_like_a_number, typed_column


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2.5", "3e2", " 4 ", "+.5"], [1, -2.5, 300, 4, 0.5]),
        (["1", "", "?", "NA", "NaN", "nan", "null", "None"], [1] + 7 * [np.nan]),
        (["1", "N/A", "n/a", "#N/A", "<NA>", "NULL", "-nan"], [1] + 6 * [np.nan]),
        (["true", "False", "TRUE", "", "2"], [1, 0, 1, np.nan, 2]),
        (["", "  "], [np.nan, np.nan]),
        (["1", "1.0", "01", "1e0"], [1, 1, 1, 1]),
        (["inf", "1e400", "-1e400"], [np.inf, np.inf, -np.inf]),
        ([str(2**63), str(-(2**63))], [2.0**63, -(2.0**63)]),
    ],
)
def test_a_column_of_numbers_keeps_them_and_has_no_categories(cells, values):
    column = typed_column("a", cells)
    assert column.categories == ()
    assert column.values.dtype == np.float64
    np.testing.assert_array_equal(column.values, np.array(values, np.float64))


@pytest.mark.parametrize("odd", ["x", "1_000", "1,5", "12a", "na", "2020-01-31"])
def test_one_cell_that_is_no_number_makes_all_cells_categories(odd):
    column = typed_column("a", ["2", odd, "?", "10", f" {odd}", "2"])
    assert column.categories == tuple(sorted(["2", "10", odd]))
    texts = [column.categories[int(i)] for i in np.delete(column.values, 2)]
    assert texts == ["2", odd, "10", odd, "2"]
    assert np.isnan(column.values[2])


def test_every_double_survives_being_written(rng):
    numbers = rng.standard_normal(500) * 10.0 ** rng.integers(-300, 300, 500)
    column = typed_column("a", [repr(number) for number in numbers.tolist()])
    np.testing.assert_array_equal(column.values, numbers)


def test_a_long_list_is_cut():
    assert listed([1, 2, 3]) == "1, 2, 3"
    assert listed([1, 2, 3], 2) == "1, 2 and 1 more"


@pytest.mark.parametrize(
    "text", ["1,5", "1,234.5", "$20", "7%", "-7.5 %", "3 €", "1;2", "2 000", "2 000,5"]
)
def test_numbers_with_commas_and_signs_look_like_numbers(text):
    assert looks_like_a_number(text)


@pytest.mark.parametrize(
    "text", ["1.5", "2e3", "3+", "1.2.3", "2020-01-31", "A1,5", ""]
)
def test_numbers_and_names_do_not_look_like_numbers(text):
    assert not looks_like_a_number(text)


@pytest.mark.parametrize(
    ("cells", "is_rounded"),
    [
        (["9007199254740993"], True),
        (["-9007199254740993", "1"], True),
        (["9007199254740992", "9223372036854775808"], False),
        (["0.1234567890123456789", "1e300", "nan"], False),
        (["9007199254740993", "a"], False),
    ],
)
def test_whole_numbers_that_float64_rounds_are_told(cells, is_rounded):
    assert typed_column("a", cells).is_rounded == is_rounded


@pytest.mark.peer
def test_missing_cells_and_numbers_are_those_of_pandas():
    pandas = pytest.importorskip("pandas")
    from pandas._libs import parsers

    cells = [*parsers.STR_NA_VALUES, "1", "-2.5e-3", "+.5", "inf", "1e400"]
    column = typed_column("a", cells)
    text = "\n".join(["a", *(f'"{cell}"' for cell in cells)])
    read = pandas.read_csv(io.StringIO(text), skip_blank_lines=False)["a"]
    np.testing.assert_array_equal(column.values, read.to_numpy(np.float64))
