"""Delimited text as typed columns."""

import csv
import gzip
import io

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.tables.columns import listed, read_delimited, typed_column


def write(path, text, encoding="utf-8"):
    """Write text, gzipped if the name says so."""
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2.5", "3e2", " 4 ", "+.5"], [1, -2.5, 300, 4, 0.5]),
        (["1", "", "?", "NA", "NaN", "nan", "null", "None"], [1] + 7 * [np.nan]),
        (["true", "False", "TRUE", "", "2"], [1, 0, 1, np.nan, 2]),
        (["", "  "], [np.nan, np.nan]),
    ],
)
def test_a_column_of_numbers_keeps_them_and_has_no_categories(cells, values):
    column = typed_column("a", cells)
    assert column.categories == ()
    assert column.values.dtype == np.float64
    np.testing.assert_array_equal(column.values, np.array(values, np.float64))


@pytest.mark.parametrize("odd", ["x", "1_000", "1,5", "12a", "na"])
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


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz"])
def test_a_file_is_read_as_the_csv_module_wrote_it(tmp_path, name):
    rows = [["x", "y z", "ü"], ["1", 'say "a, b"\tc', "2\n3"], ["4", "", "é"]]
    text = io.StringIO()
    csv.writer(text, delimiter="\t" if "tsv" in name else ",").writerows(rows)
    data = read_delimited(write(tmp_path / name, text.getvalue()))
    assert data.names == ("x", "y z", "ü")
    assert data.rows == rows[1:]
    assert data.cells("y z") == ['say "a, b"\tc', ""]
    assert data.lines == [3, 4]


def test_byte_order_marks_blanks_and_empty_lines_are_no_content(tmp_path):
    file = write(tmp_path / "a.csv", "\ufeffa, b ,\r\n\r\n1, 2,3\r\n\r\n")
    data = read_delimited(file)
    assert data.names == ("a", "b", "column_2")
    assert data.rows == [["1", "2", "3"]]
    assert data.lines == [3]


def test_a_file_whose_first_line_is_numbers_has_no_header(tmp_path):
    data = read_delimited(write(tmp_path / "a.csv", "1,2\n3,4\n"))
    assert data.names == ("column_0", "column_1")
    assert data.rows == [["1", "2"], ["3", "4"]]
    assert data.lines == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("\n\n", "has no rows"),
        ("a,b\n", "has no rows"),
        ("a,b\n1,2\n\n3\n", "line 4: 1 cells, but the first line has 2"),
        ('a,b\n"1\n2",3\n4,5,6\n', "line 4: 3 cells"),
        ("a;b\n1;2\n", "has one column, 'a;b'"),
        ("a,b,a\n1,2,3\n", "a column 'a' twice"),
        ('a,b\n1,"2\n3,4\n', "cannot be read: unexpected end of data"),
        ("a,b\n1,x" + "y" * 200_000, "cannot be read: field larger"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_where(tmp_path, text, message):
    file = write(tmp_path / "a.csv", text)
    with pytest.raises(InputError) as caught:
        read_delimited(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_what_is_not_text_or_not_gzip_cannot_be_read(tmp_path):
    latin = write(tmp_path / "a.csv", "a,b\n1,é\n", "latin-1")
    with pytest.raises(InputError, match="cannot be read: 'utf-8'"):
        read_delimited(latin)
    whole = write(tmp_path / "b.csv.gz", "a,b\n" + "1,2\n" * 999)
    whole.write_bytes(whole.read_bytes()[:-12])
    (tmp_path / "c.csv.gz").write_text("a,b\n1,2\n")
    for name in ("b.csv.gz", "c.csv.gz", "absent.csv"):
        with pytest.raises(InputError, match=r"cannot be read"):
            read_delimited(tmp_path / name)


def test_a_long_list_is_cut():
    assert listed([1, 2, 3]) == "1, 2, 3"
    assert listed([1, 2, 3], 2) == "1, 2 and 1 more"
