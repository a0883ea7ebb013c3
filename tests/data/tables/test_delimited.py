"""Delimited text as rows of cells."""

import csv
import gzip
import io

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.tables.delimited import read_delimited
from tests.damage import check_reader


def write(path, text, encoding="utf-8"):
    """Write text, gzipped if the name says so."""
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


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


def test_first_lines_of_numbers_and_holes_are_rows_and_of_years_are_names(tmp_path):
    data = read_delimited(write(tmp_path / "a.csv", "1,,NA\n3,4,5\n"))
    assert data.names == ("column_0", "column_1", "column_2")
    assert data.rows == [["1", "", "NA"], ["3", "4", "5"]]
    data = read_delimited(write(tmp_path / "b.csv", "town,2019,2020\nUlm,1,2019\n"))
    assert data.names == ("town", "2019", "2020")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("\n\n", "has no rows"),
        ("a,b\n", "has no rows"),
        ("a\n1\n", "has one column, 'a'"),
        ("5.1,setosa\n4,other\n", "the first line (5.1) may be names or a row"),
        ("39,Private\n50,Private\n", "line 1: the first line (Private) may be"),
        ("p,x\ne,x\np,s\n", "the first line (p) may be names or a row"),
        (",0,1\n0,5,6\n", "line 1: the first line (0, 1, ...) may be names or a row"),
        ("a,b\n1,2\na,b\n3,4\n", "line 3 is the first line again; remove it"),
        ("a,b\n1,2\n3,\0\0\n", "line 3: holds a zero byte"),
        ("a,b\n1,2\n\n3\n", "line 4: 1 cells, but the first line has 2"),
        ('a,b\n"1\n2",3\n4,5,6\n', "line 4: 3 cells"),
        ("a;b\n1,5;2\n", "has one column, 'a;b'; its first line has semicolons"),
        ("a, b;c\n1,5;2\n1,7;3\n", "as many semicolons in each line"),
        ("0,5;0,7\n1,5;2,5\n", "as many semicolons in each line"),
        ("a\tb\n1\t2\n", "its first line has tabs; write it with commas"),
        ("a,b,a\n1,2,3\n", "a column 'a' twice"),
        ('a,b\n1,"2\n3,4\n', "line 3: cannot be read: unexpected end"),
        ("a,b\n1,x" + "y" * 200_000, "line 2: cannot be read: field larger"),
        ('a,b\n1,"x"y\n', "line 2: cannot be read: ',' expected after"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_where(tmp_path, text, message):
    file = write(tmp_path / "a.csv", text)
    with pytest.raises(InputError) as caught:
        read_delimited(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.fuzz
def test_damaged_files_are_refused_or_read_right(tmp_path):
    rng = np.random.default_rng(0)
    rows = [[f"{x!r}", rng.choice(["Ulm", 'Bad "K", x'])] for x in rng.random(40)]
    text = io.StringIO()
    csv.writer(text).writerows([["size", "town, it"], *rows])

    def is_right(data):
        return data.rows == rows and data.names == ("size", "town, it")

    packed = write(tmp_path / "a.csv.gz", text.getvalue())
    assert check_reader(read_delimited, packed, is_right)

    # A digit for another cannot be seen, but no cell may move.
    def is_whole(data):
        return all(len(row) == len(data.names) == 2 for row in data.rows)

    plain = write(tmp_path / "a.csv", text.getvalue())
    assert check_reader(read_delimited, plain, is_whole)


def test_what_is_not_text_or_not_gzip_cannot_be_read(tmp_path):
    latin = write(tmp_path / "a.csv", "a,b\n1,é\n", "latin-1")
    with pytest.raises(InputError, match="line 2: cannot be read: byte 0xe9 is not"):
        read_delimited(latin)
    wide = write(tmp_path / "w.csv", "a,b\n1,2\n", "utf-16")
    with pytest.raises(InputError, match="it is UTF-16; save it as UTF-8"):
        read_delimited(wide)
    whole = write(tmp_path / "b.csv.gz", "a,b\n" + "1,2\n" * 999)
    whole.write_bytes(whole.read_bytes()[:-12])
    (tmp_path / "c.csv.gz").write_text("a,b\n1,2\n")
    for name in ("b.csv.gz", "c.csv.gz", "absent.csv"):
        with pytest.raises(InputError, match=r"cannot be read"):
            read_delimited(tmp_path / name)
