"""Finding a table by name or path."""

import gzip
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.tables.checks import MAX_CATEGORIES
from jaxlab.data.tables.find import EMBEDDED, find_table
from tests.damage import check_reader

ROOT = pathlib.Path(__file__).parents[3]
# Where tables as NAME/NAME.csv.gz lie, if this machine has some.
REAL = pathlib.Path(
    os.environ.get("JAXLAB_TABULAR_DIR", ROOT.parent / "shared" / "data" / "tabular")
)
MIXED = "size,color,big,kind\n1,red,true,a\n,blue,false,b\n3,?,true,a\n4.5,red,,b\n"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text):
    """Write text, gzipped if the name says so."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def table_text(*columns):
    """Write columns `c0, c1, ...` as CSV."""
    rows = zip(*columns, strict=True)
    lines = [",".join(f"c{i}" for i in range(len(columns)))]
    return "\n".join([*lines, *(",".join(map(str, row)) for row in rows)]) + "\n"


def joined(table):
    """Give all features and targets, those to train on first."""
    sets = table.train, table.valid, table.test
    features = np.concatenate([rows.features for rows in sets])
    return features, np.concatenate([rows.target for rows in sets])


def message(*args, **options):
    """Give the error that finding a table ends in."""
    with pytest.raises(InputError) as caught:
        find_table(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "breast_cancer",
            "409 train + 46 valid + 114 test rows, 30 features, 2 classes",
        ),
        ("diabetes", "319 train + 35 valid + 88 test rows, 10 features, regression"),
        ("digits", "1294 train + 144 valid + 359 test rows, 64 features, 10 classes"),
        ("iris", "108 train + 12 valid + 30 test rows, 4 features, 3 classes"),
        ("wine", "128 train + 14 valid + 36 test rows, 13 features, 3 classes"),
    ],
)
def test_an_embedded_table_holds_the_rows_that_scikit_learn_gives(name, line):
    import sklearn.datasets

    assert name in EMBEDDED
    table = find_table(name)
    assert str(table) == f"{name}: {line}"
    features, target = joined(table)
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    got, want = np.column_stack([features, target]), np.column_stack([x, y])
    np.testing.assert_array_equal(got[np.lexsort(got.T)], want[np.lexsort(want.T)])
    assert len(table.feature_names) == x.shape[1]
    assert not any(table.is_categorical)


def test_embedded_classes_have_their_names():
    table = find_table("breast_cancer")
    assert (table.task, table.class_names) == ("binary", ("malignant", "benign"))
    assert find_table("digits").class_names == tuple("0123456789")
    assert find_table("iris").task == "multiclass"


def test_files_need_no_scikit_learn():
    write("a.csv", MIXED)
    script = """
import sys
from jaxlab.data.tables.find import find_table
print(find_table("a.csv", target="kind", valid_rate=0.0), "sklearn" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    line = "a.csv: 3 train + 1 test rows, 3 features (1 categorical), 2 classes False"
    assert done.stdout.strip() == line


def test_columns_become_numbers_codes_and_nan():
    write("a/train.csv", MIXED)
    write("a/test.csv", "kind,size,color,big\nb,2,green,false\n")
    table = find_table("a", target="kind", valid_rate=0.0)
    assert table.feature_names == ("size", "color", "big")
    assert table.is_categorical == (False, True, False)
    assert table.categories == ((), ("blue", "green", "red"), ())
    nan = np.nan
    train = [[1, 2, 1], [nan, 0, 0], [3, nan, 1], [4.5, 2, nan]]
    np.testing.assert_array_equal(table.train.features, train)
    np.testing.assert_array_equal(table.test.features, [[2, 1, 0]])
    assert table.train.features.flags.c_contiguous
    assert table.train.features.dtype == np.float64
    assert table.train.target.tolist() == [0, 1, 0, 1]
    assert table.train.target.dtype == np.int32
    assert table.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.csv", "a.csv"),
        ("data/a.csv.gz", "a.csv.gz"),
        ("data/a.csv.gz", "data/a.csv.gz"),
        ("data/sets/a.csv", "sets/a.csv"),
        ("data/a/a.csv", "a"),
        ("data/a/a.csv.gz", "a"),
        ("data/a/train.csv.gz", "a"),
        ("data/iris/iris.csv", "./iris"),
        ("a/a.csv", "a"),
    ],
)
def test_a_table_is_found_as_named_and_below_the_data_folder(file, name):
    write(file, MIXED)
    table = find_table(name, "data", target="kind", valid_rate=0.0)
    assert (table.name, len(table.train), len(table.test)) == (name, 3, 1)


def test_the_home_folder_may_be_written_as_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    write("sets/a.tsv", MIXED.replace(",", "\t"))
    assert len(find_table("~/sets/a.tsv", target="kind").train) == 2
    assert len(find_table("a.tsv", "~/sets", target="kind").train) == 2


def test_a_table_that_is_not_there_is_an_error_that_shows_every_way_out():
    text = message("a", "data")
    for word in ("'a'", "a/a.csv", "data/a/a.csv", "data/a/train.csv", *EMBEDDED):
        assert word in text
    assert "data/b.csv" in message("b.csv", "data")
    write("a.parquet", "?")
    assert "must be a .csv" in message("a.parquet")


@pytest.mark.parametrize("target", ["kind", "3", "-1"])
def test_the_target_is_a_name_or_a_position(target):
    write("a.csv", MIXED)
    assert find_table("a.csv", target=target).feature_names == ("size", "color", "big")


def test_a_name_of_digits_counts_before_a_position():
    write("a.csv", "x,0\n1,a\n2,b\n3,a\n4,b\n")
    assert find_table("a.csv", target="0").feature_names == ("x",)


def test_a_target_that_is_not_there_is_an_error_that_lists_the_columns():
    write("a.csv", MIXED)
    everything = "one of size, color, big, kind"
    assert f"needs --target NAME, {everything}" in message("a.csv")
    text = message("a.csv", target="Kinds")
    assert everything in text
    assert "did you mean 'kind'?" in text
    assert everything in message("a.csv", target="4")
    assert "knows its target" in message("iris", target="kind")


def test_dropped_columns_are_no_features():
    write("a.csv", MIXED)
    table = find_table("a.csv", target="kind", drop=("color", "size"))
    assert (table.feature_names, table.categories) == (("big",), ((),))
    assert find_table("iris", drop=("petal width (cm)",)).train.features.shape[1] == 3
    text = message("a.csv", target="kind", drop=("colour",))
    assert "did you mean 'color'?" in text
    assert "no features left" in message(
        "a.csv", target="kind", drop=("color", "size", "big")
    )


@pytest.mark.parametrize(
    ("values", "task", "expected"),
    [
        (range(21), "auto", "regression"),
        (range(20), "auto", "multiclass"),
        ([0.5, 1], "auto", "regression"),
        ([7, 3], "auto", "binary"),
        (["true", "false"], "auto", "binary"),
        (["u", "v", "w"], "auto", "multiclass"),
        ([7, 3], "regression", "regression"),
        ([7, 3], "multiclass", "multiclass"),
        ([0.5, 1], "binary", "binary"),
        (range(21), "multiclass", "multiclass"),
    ],
)
def test_the_task_follows_from_the_target_unless_given(values, task, expected):
    target = [*values] * 4
    write("a.csv", table_text(range(len(target)), target))
    table = find_table("a.csv", target="c1", task=task)
    assert table.task == expected
    features, got = joined(table)
    original = np.array(target)[features[:, 0].astype(int)]
    if expected == "regression":
        assert (table.class_names, got.dtype) == ((), np.float64)
        np.testing.assert_array_equal(got, original)
    else:
        assert got.max() == len(table.class_names) - 1
        if original.dtype.kind in "if":
            names = [float(table.class_names[code]) for code in got]
            np.testing.assert_array_equal(names, original)


@pytest.mark.parametrize(
    ("target", "task", "error"),
    [
        ("aaaa", "auto", "has 1 different values (as 'a')"),
        ("1111", "auto", "has 1 different values (as '1')"),
        ("abca", "binary", "task binary needs two classes"),
        ("abab", "regression", "cannot be regressed"),
        ("1212", "other", "task 'other' must be one of auto, regression"),
    ],
)
def test_a_target_that_does_not_fit_the_task_is_an_error(target, task, error):
    write("a.csv", table_text(range(4), target))
    assert error in message("a.csv", target="c1", task=task)


def test_training_rows_of_one_class_are_an_error():
    write("a/train.csv", table_text(range(3), "uuu"))
    write("a/test.csv", table_text(range(2), "uv"))
    assert "all 2 training rows are of class 'u'" in message("a", target="c1")


def test_a_missing_target_is_an_error_that_names_the_lines():
    write("a/train.csv", "x,y\n1,2\n\n3,4\n5,6\n")
    write("a/test.csv", "x,y\n1,?\n3,4\n5,inf\n")
    text = message("a", target="y")
    assert "a/test.csv, lines 2, 4: the target 'y' is missing or infinite" in text
    write("b.csv", table_text(range(30), [""] * 30))
    assert "lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 20 more" in message(
        "b.csv", target="c1"
    )


def test_a_test_file_with_other_columns_is_an_error_that_names_them():
    write("a/train.csv", "x,y,z\n1,2,3\n")
    write("a/test.csv", "x,z,v\n1,2,3\n")
    assert "only one of them has v, y" in message("a", target="y")


def test_as_many_categories_as_bins_are_kept_and_more_are_an_error():
    names = [f"n{i:03}" for i in range(MAX_CATEGORIES)]
    write("a.csv", table_text(names, range(255)))
    table = find_table("a.csv", target="c1")
    assert table.categories == (tuple(names),)
    assert joined(table)[0].max() == MAX_CATEGORIES - 1
    write("b.csv", table_text([*names, "one more"], range(256), range(256)))
    text = message("b.csv", target="c2")
    assert "column 'c0' has 256 categories" in text
    assert "--drop c0" in text
    table = find_table("b.csv", target="c2", drop=("c0",))
    assert table.feature_names == ("c1",)


def test_held_out_rows_are_the_same_each_time_and_others_by_another_seed():
    write("a.csv", table_text(range(100), np.arange(100) / 2))
    splits = [find_table("a.csv", target="c1", seed=seed) for seed in (0, 0, 1)]
    held = [table.test.features[:, 0].tolist() for table in splits]
    assert held[0] == held[1] != held[2]
    assert held[0] == sorted(held[0])
    assert len(held[0]) == 20
    assert np.unique(joined(splits[0])[0]).tolist() == list(range(100))


def test_held_out_rows_are_drawn_evenly():
    write("a.csv", table_text(range(10), np.arange(10) / 2))
    times = np.zeros(10)
    for seed in range(400):
        table = find_table("a.csv", target="c1", seed=seed)
        times[table.test.features[:, 0].astype(int)] += 1
    # 400 draws at rate 0.2 deviate by 8; five deviations.
    assert np.abs(times - 80).max() < 40


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_of_each_class_its_share_is_held_out_up_to_one_row(rng, rate):
    counts = {"a": 37, "b": 5, "c": 158}
    target = rng.permutation(np.repeat(list(counts), list(counts.values())))
    write("a.csv", table_text(range(200), target))
    table = find_table("a.csv", target="c1", test_rate=rate)
    assert len(table.test) == round(200 * rate)
    held = np.bincount(table.test.target, minlength=3)
    assert np.abs(held - rate * np.array(list(counts.values()))).max() < 1


@pytest.mark.parametrize("rare", "az")
def test_a_rare_first_or_last_class_is_kept_to_learn_from(rare):
    write("a.csv", table_text(range(50), [rare, *"bc" * 24, "b"]))
    table = find_table("a.csv", target="c1")
    assert table.class_names[table.train.target[0]] == rare
    assert len(table.test) == 10


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_test_rate_out_of_range_is_an_error(rate):
    assert "must be over 0 and below 1" in message("iris", test_rate=rate)


def test_both_parts_have_a_row_whatever_the_rate():
    write("a.csv", table_text(range(2), [0.5, 1.5]))
    for rate in (0.01, 0.99):
        table = find_table("a.csv", target="c1", test_rate=rate, valid_rate=0.0)
        assert (len(table.train), len(table.test)) == (1, 1)
    write("b.csv", "x,y\n1,2.5\n")
    text = message("b.csv", target="y")
    assert "table b.csv has one row to train on, and none to hold out" in text
    assert "or --valid-rate 0" in message("a.csv", target="c1")


def test_an_npz_file_is_split_or_brings_its_held_out_rows(rng):
    x, y = rng.standard_normal((10, 3), np.float32), np.array(["u", "v"] * 5)
    x[0, 0] = np.nan
    np.savez("a.npz", x=x, y=y, feature_names=["p", "q", "r"])
    table = find_table("a.npz")
    assert str(table) == "a.npz: 7 train + 1 valid + 2 test rows, 3 features, 2 classes"
    assert (table.feature_names, table.class_names) == (("p", "q", "r"), ("u", "v"))
    assert table.train.features.dtype == np.float32
    target = rng.standard_normal((10, 1))
    np.savez(
        "b.npz", x_train=x[:7], y_train=target[:7], x_test=x[7:], y_test=target[7:]
    )
    table = find_table("b.npz", valid_rate=0.0)
    assert table.feature_names == ("column_0", "column_1", "column_2")
    np.testing.assert_array_equal(table.train.features, x[:7])
    np.testing.assert_array_equal(table.test.features, x[7:])
    np.testing.assert_array_equal(table.test.target, target[7:, 0])
    np.savez("c.npz", x=np.eye(4, dtype=int), y=np.array([True, False] * 2))
    assert find_table("c.npz").train.features.dtype == np.float64


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"y": None}, "it must hold x and y"),
        ({"x_train": np.zeros((2, 2))}, "it must hold x and y"),
        ({"x": np.zeros(4)}, r"float64 \(4,\)"),
        ({"x": np.zeros((4, 0))}, r"float64 \(4, 0\)"),
        ({"x": np.full((4, 2), "a")}, "features are <U1"),
        ({"y": np.zeros(3)}, "for 4 rows"),
        ({"y": np.array([0, 1, np.nan, 1])}, r"\(y\), rows 2: the target"),
        ({"feature_names": ["a"]}, "2 features and feature_names a"),
        ({"feature_names": ["a", "a"]}, "a name of its own"),
        ({"feature_names": "a"}, "2 features and feature_names a"),
        ({"feature_names": [["a"], ["b"]]}, "a name of its own"),
        ({"x": np.full((4, 2), 2**53 + 1)}, "'column_0' has whole numbers beyond"),
        ({"x": np.zeros((1, 2)), "y": np.array(1)}, "1 different values"),
    ],
)
def test_an_npz_file_of_other_arrays_is_an_error(changes, error):
    arrays = {"x": np.zeros((4, 2)), "y": np.array([0, 1, 0, 1]), **changes}
    np.savez("a.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(InputError, match=error):
        find_table("a.npz")


@pytest.mark.parametrize(
    ("name", "target", "line"),
    [
        (
            "adult",
            "income",
            "29305 train + 3256 valid + 16281 test rows, 14 features (8 categorical)",
        ),
        (
            "diamonds",
            "price",
            "38837 train + 4315 valid + 10788 test rows, 9 features (3 categorical), r",
        ),
        (
            "titanic",
            "survived",
            "642 train + 71 valid + 178 test rows, 14 features (7 categorical), 2",
        ),
        (
            "dna",
            "LABEL",
            "2294 train + 255 valid + 637 test rows, 180 features, 3 classes",
        ),
        (
            "wine_quality",
            "quality",
            "4678 train + 520 valid + 1299 test rows, 12 features (1 categorical), 7",
        ),
        (
            "abalone",
            "rings",
            "3008 train + 334 valid + 835 test rows, 8 features (1 categorical), re",
        ),
    ],
)
def test_real_tables_are_read_as_their_descriptions_say(name, target, line):
    if not (REAL / name).is_dir():
        pytest.skip(f"no tables in {REAL}; set JAXLAB_TABULAR_DIR")
    table = find_table(name, str(REAL), target=target)
    assert str(table).startswith(f"{name}: {line}")


def test_valid_rows_are_drawn_from_those_not_tested_on():
    write("a.csv", table_text(range(100), np.repeat(np.arange(5), 20)))
    table = find_table("a.csv", target="c1", test_rate=0.2, valid_rate=0.25)
    assert table.sets == {"train": 60, "valid": 20, "test": 20}
    assert np.bincount(table.valid.target).tolist() == [4] * 5
    assert sorted(joined(table)[0][:, 0]) == list(range(100))
    others = find_table("a.csv", target="c1", test_rate=0.2, valid_rate=0.0)
    assert others.sets == {"train": 80, "valid": 0, "test": 20}
    np.testing.assert_array_equal(others.test.features, table.test.features)
    assert "valid_rate 1.0 must be below 1" in message("iris", valid_rate=1.0)


@pytest.mark.parametrize("stem", ["valid", "val", "Validation", "dev", "eval"])
def test_valid_rows_may_have_a_file_of_their_own(stem):
    write("a/Train.csv", table_text(range(10), "uv" * 5))
    write(f"a/{stem}.tsv", table_text([20, 21], "uv").replace(",", "\t"))
    write("a/testing.csv.gz", table_text([30], "u"))
    table = find_table("a", target="c1")
    assert table.sets == {"train": 10, "valid": 2, "test": 1}
    assert table.valid.features[:, 0].tolist() == [20, 21]
    assert table.test.features[:, 0].tolist() == [30]
    # With --valid-rate 0 all rows but those of the test are trained on.
    everything = find_table("a", target="c1", valid_rate=0.0)
    assert everything.train.features[:, 0].tolist() == [*range(10), 20, 21]
    assert everything.sets["valid"] == 0


def test_valid_rows_of_an_npz_file_are_read(rng):
    x, y = rng.standard_normal((9, 2)), np.arange(9.0) / 2
    parts = {"train": slice(6), "valid": slice(6, 8), "test": slice(8, 9)}
    arrays = {
        f"{letter}_{part}": array[at]
        for part, at in parts.items()
        for letter, array in {"x": x, "y": y}.items()
    }
    np.savez("a.npz", **arrays)
    table = find_table("a.npz")
    assert table.sets == {"train": 6, "valid": 2, "test": 1}
    np.testing.assert_array_equal(table.valid.features, x[6:8])
    np.savez("a.npz", **arrays, weight=y)
    assert "holds weight, x_test" in message("a.npz")


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (["train.csv", "train.tsv"], "has train.csv and train.tsv, of which one must"),
        (
            ["a.csv", "train.csv"],
            "has train.csv and a.csv, of which one must be its tr",
        ),
        (["train.csv", "val.csv", "dev.csv"], "one must be its valid rows"),
        (["test.csv"], "'a' was not found as a/a.csv, a/train.csv"),
    ],
)
def test_a_folder_that_may_be_read_in_several_ways_is_refused(files, error):
    for file in files:
        write(f"a/{file}", MIXED)
    assert error in message("a", target="kind")


def test_files_that_are_no_splits_are_left_alone():
    write("a/train.csv", MIXED)
    write("a/sample_submission.csv", "id,kind\n1,a\n")
    assert sum(find_table("a", target="kind").sets.values()) == 4


@pytest.mark.fuzz
def test_a_damaged_npz_file_is_refused_or_read_right(tmp_path, rng):
    file = tmp_path / "a.npz"
    x, y = rng.standard_normal((30, 3)), rng.integers(0, 2, 30)
    np.savez(file, x=x, y=y)
    expected = joined(find_table(str(file)))

    def is_right(table):
        return all(map(np.array_equal, joined(table), expected))

    assert check_reader(lambda path: find_table(str(path)), file, is_right)
