"""Tests of `jaxlab.core.printed_table`."""

from jaxlab.core.printed_table import table_lines


def test_columns_stand_below_each_other():
    rows = [{"name": "a", "score": 0.123456}, {"name": "long", "score": 12}]
    assert table_lines(rows) == [
        "  name    score",
        "  a      0.1235",
        "  long       12",
    ]
