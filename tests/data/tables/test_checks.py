"""Values that would be taken for others, found through `find_table`."""

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.tables.find import find_table


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def message(tmp_path, text, **options):
    """Give the error that a file of this text ends in."""
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        find_table("a.csv", target="y", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows(cells, target="uv"):
    """Write a column beside a target of classes in turn."""
    lines = [f"{cell},{target[i % 2]}" for i, cell in enumerate(cells)]
    return "\n".join(["x,y", *lines])


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        (["1", "inf", "3", "-inf"], "a.csv, lines 3, 5: 'x' is infinite, or too large"),
        (["1", "2", "1e400", "3"], "a.csv, lines 4: 'x' is infinite, or too large"),
        (["1", '"2,5"', "3", "4"], "a.csv, lines 3: '2,5' in column 'x' is no number"),
        (['"1,200"', '"1,300"', "3", "4"], "lines 2: '1,200' in column 'x'"),
        (["1", "20%", "3", "4"], "lines 3: '20%' in column 'x'"),
        (["$1", "$2", "", "$4.50"], "lines 2: '$1' in column 'x'"),
        ([*range(2, 41), "n.a."], "lines 41: 'n.a.' among the numbers of column 'x'"),
        ([*range(2, 31), *["none"] * 9], "lines 31, 32, 33, 34, 35, 36, 37, 38, 39: '"),
        ([2**53, 2**53 + 1, 7], "lines 2, 3: 'x' has whole numbers beyond 2^53"),
    ],
)
def test_a_feature_that_would_be_taken_for_another_is_refused(folder, cells, error):
    text = message(folder, rows(cells))
    assert error in text
    assert "--drop x" in text


def test_dropped_columns_may_hold_anything(folder):
    (folder / "a.csv").write_text('x,z,y\n1,inf,u\n2,"1,5",v\n3,4,u\n4,5,v\n')
    assert find_table("a.csv", target="y", drop=("z",)).feature_names == ("x",)


@pytest.mark.parametrize(
    ("cells", "categories", "values"),
    [
        (["0", "1", "3+", "1"], ("0", "1", "3+"), [0, 1, 2, 1]),
        (["1", "2", "3", "crew"], ("1", "2", "3", "crew"), [0, 1, 2, 3]),
        (["1", "1.0", "a", "1"], ("1", "1.0", "a"), [0, 1, 2, 0]),
        (["", "NA", "", ""], (), [np.nan] * 4),
        (["TRUE", "false", "", "1"], (), [1, 0, np.nan, 1]),
        (['"a\nb"', "a", "a", "a"], ("a", "a\nb"), [1, 0, 0, 0]),
    ],
)
def test_odd_columns_are_what_they_are(folder, cells, categories, values):
    (folder / "a.csv").write_text(rows(cells))
    table = find_table("a.csv", target="y", valid_rate=0.0)
    assert table.categories == (categories,)
    found = np.concatenate([table.train.features, table.test.features])[:, 0]
    np.testing.assert_array_equal(np.sort(found), np.sort(np.array(values, float)))


@pytest.mark.parametrize(
    ("target", "options", "error"),
    [
        (["5.5"] * 9, {}, "the target 'y' is 5.5 in all rows, so there is nothing to"),
        (["1"] * 9, {"task": "regression"}, "'y' is 1 in all rows"),
        (
            ["1,5", "2,5"],
            {},
            "lines 2, 4, 6, 8, 10: '1,5' in column 'y' is no number as it",
        ),
        (
            [*map(str, range(20)), "n.a."],
            {},
            "lines 22: 'n.a.' among the numbers of column 'y'",
        ),
        (
            ["9007199254740993", "9007199254740992", "3"],
            {},
            "lines 2, 3, 5, 6, 8, 9: the target 'y' has classes that are numbers beyon",
        ),
        (["1", "", "1e400"], {}, "lines 3, 4, 6, 7, 9, 10: the target 'y' is missing"),
    ],
)
def test_a_target_that_cannot_be_told_apart_is_refused(folder, target, options, error):
    lines = [f'{i},"{target[i % len(target)]}"' for i in range(max(9, len(target)))]
    assert error in message(folder, "\n".join(["x,y", *lines]), **options)


def test_classes_are_equal_as_numbers_are(folder):
    (folder / "a.csv").write_text("x,y\n1,1\n2,1.0\n3,01\n4,2\n5,2e0\n6,2\n")
    table = find_table("a.csv", target="y")
    assert (table.task, table.class_names) == ("binary", ("1", "2"))


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_class_that_only_held_out_rows_have_is_refused(folder, part):
    (folder / "a").mkdir()
    (folder / "a" / "train.csv").write_text(rows(range(30)))
    (folder / "a" / f"{part}.csv").write_text("x,y\n1,u\n2,w\n3,w\n")
    with pytest.raises(InputError) as caught:
        find_table("a", target="y")
    error = f"table a/{part}.csv, lines 3, 4: class 'w' of the target 'y' is in no"
    assert error in str(caught.value)
    assert "these 2 rows" in str(caught.value)


def test_a_class_of_one_row_is_trained_on(folder):
    lines = [f"{i},{'abc'[min(i, 2)]}" for i in range(12)]
    (folder / "a.csv").write_text("\n".join(["x,y", *lines]))
    for seed in range(20):
        table = find_table("a.csv", target="y", seed=seed, valid_rate=0.4)
        assert set(table.train.target) == {0, 1, 2}
        assert table.sets == {"train": 6, "valid": 4, "test": 2}
