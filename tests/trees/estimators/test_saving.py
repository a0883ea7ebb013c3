"""Models as files: whole and sound, or refused in one line."""

import json
import os
import pathlib
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees import XGBoostClassifier, XGBoostRegressor
from tests.damage import check_reader

ROOT = pathlib.Path(__file__).parents[3]
RNG = np.random.default_rng(0)
X = np.column_stack([RNG.normal(size=90), RNG.integers(0, 5, 90)])
Y = np.array(["low", "mid", "top"])[RNG.integers(0, 3, 90)]


@pytest.fixture(scope="module")
def model():
    """Fit a small model of three classes, with a column of categories."""
    kind = XGBoostClassifier(n_estimators=2, max_depth=2, categorical_features=[1])
    return kind.fit(X, Y)


@pytest.fixture
def saved(model, tmp_path):
    """Write it."""
    path = tmp_path / "model.npz"
    model.save_model(path)
    return path


def rewritten(path, change):
    """Change what a file holds: its arrays by name, and its text as JSON."""
    with np.load(path) as file:
        arrays = dict(file)
    text = json.loads(str(arrays.pop("text")))
    change(arrays, text)
    np.savez(path, text=np.array(json.dumps(text)), **arrays)


def message(path, kind=XGBoostClassifier):
    """Give the one line that reading a file ends in."""
    empty = kind()
    with pytest.raises(InputError) as caught:
        empty.load_model(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert vars(empty) == vars(kind())  # nothing was taken over
    return str(caught.value)


@pytest.mark.fuzz
def test_damaged_models_are_refused_or_read_right(model, saved):
    expected = model.predict_proba(X)

    def is_right(read):
        return np.array_equal(read.predict_proba(X), expected)

    assert check_reader(
        lambda path: XGBoostClassifier().load_model(path), saved, is_right
    )


def test_a_flipped_bit_is_found_in_each_part(saved):
    whole = saved.read_bytes()
    with np.load(saved) as file:
        for name in file.files:
            place = whole.index(f"{name}.npy".encode())
            copy = bytearray(whole)
            copy[place + len(name) + 140] ^= 1  # past the header of the array
            saved.write_bytes(copy)
            assert "not a whole one" in message(saved)


def test_a_part_that_says_that_it_is_shorter_is_found(model, saved):
    # `np.load` reads what the shape says, and not as far as the checksum.
    rewritten(saved, lambda a, t: a.update({"nodes/gain": np.zeros((6, 9999), "f4")}))
    whole = saved.read_bytes()
    saved.write_bytes(whole.replace(b"(6, 9999)", b"(6, 7)   "))
    assert "not a whole one" in message(saved)


def put(name, change):
    """Change one array."""
    return lambda arrays, text: arrays.update({name: change(arrays[name])})


def tell(**fields):
    """Change the text."""
    return lambda arrays, text: text.update(fields)


def with_value(where, value):
    """Put a value into an array, at its first place or that of the first split."""

    def change(array):
        array = array.copy()
        array[where] = value
        return array

    return change


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (put("nodes/left", with_value((0, 0), 10**6)), "children that are no nodes"),
        (put("nodes/left", with_value((0, 1), 1)), "children that are no nodes"),
        (put("nodes/left", with_value((0, 0), -1)), "children that are no nodes"),
        (put("nodes/feature", with_value((0, 0), 2)), "features that there are not"),
        (put("nodes/feature", with_value((0, 0), -1)), "features that there are not"),
        (put("nodes/bin", with_value((0, 0), 300)), "bins that there are not"),
        (put("nodes/value", with_value((0, 0), np.nan)), "leaves that are not finite"),
        (put("nodes/gain", lambda a: a[:, :-1]), "nodes/gain is float32"),
        (put("nodes/left", lambda a: a.astype(np.int64)), "nodes/left is int64"),
        (put("nodes/left_bins", lambda a: a[..., :7]), "nodes/left_bins is uint32"),
        (put("start", lambda a: a[:2]), "2 outputs"),
        (put("start", lambda a: a[:0]), "a start of float32 (0,)"),
        (put("start", with_value(0, np.inf)), "a start that is not finite"),
        (put("binner/cuts", lambda a: a[:, ::-1]), "cuts that do not increase"),
        (put("binner/cuts", lambda a: a.astype(np.float32)), "another shape or type"),
        (put("binner/num_values", with_value(1, 4)), "other numbers of values"),
        (put("fitted/classes_", lambda a: a[:2]), "2 classes of 3 outputs"),
        (tell(num_bins=18), "another shape or type"),
        (tell(num_bins=2), "2 features in 2 bins"),
        (tell(categories=[None]), "another shape or type"),
        (tell(feature_names=["a"]), "features of other numbers"),
        (
            tell(settings={"trees": 3}),
            "settings that a XGBoostClassifier has not: trees",
        ),
        (tell(version=2), "holds a XGBoostClassifier (version 2), not a"),
        (tell(fitted=[]), "no model of save_model that this version reads"),
        (tell(settings={"n_estimators": {}}), "that this version reads"),
        (lambda arrays, text: arrays.pop("nodes/bin"), "that this version reads"),
        (lambda arrays, text: arrays.pop("start"), "that this version reads"),
        (lambda arrays, text: text.pop("class"), "that this version reads"),
    ],
)
def test_a_model_that_is_not_sound_is_refused(saved, change, error):
    rewritten(saved, change)
    assert error in message(saved)


def test_a_file_of_something_else_is_refused(saved, tmp_path):
    assert "holds a XGBoostClassifier (version 1)" in message(saved, XGBoostRegressor)
    other = tmp_path / "other.npz"
    np.savez(other, x=np.zeros(3))
    assert "no model of save_model that this version reads" in message(other)
    np.savez(other, text=np.array([{}], object))
    assert "is no model of save_model" in message(other)
    other.unlink()
    other.mkdir()
    assert "is no model of save_model" in message(other)


def test_a_file_that_cannot_be_written_is_one_line(model, tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nowhere" / "model.npz", tmp_path / "folder"):
        with pytest.raises(InputError, match=f"{path.name} cannot be written"):
            model.save_model(path)
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other rights")
def test_models_may_be_read_by_whom_the_user_lets(model, tmp_path):
    before = os.umask(0o022)
    try:
        model.save_model(tmp_path / "model.npz")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.npz").stat().st_mode) == 0o644


def test_a_kill_while_writing_leaves_the_file_of_before(saved):
    before = saved.read_bytes()
    script = """
import os, signal, sys
import numpy as np
from jaxlab.trees.estimators.model_files import write_arrays

def half(file, **arrays):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

np.savez = half
write_arrays(sys.argv[1], {})
"""
    done = subprocess.run([sys.executable, "-c", script, saved], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert saved.read_bytes() == before
