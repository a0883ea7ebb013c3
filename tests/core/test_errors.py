"""The exception for what a user can mend, and the checks that many files share."""

import pathlib
from typing import Literal

import pytest

from jaxlab.core.errors import InputError, check_choice, local_path, meant
from jaxlab.data.download import data_folder
from jaxlab.data.images.find import find_images
from jaxlab.data.points.two_samples import find_two_samples
from jaxlab.data.tables.find import find_table
from jaxlab.data.text.find import find_pairs, find_text


def test_an_input_error_is_a_value_error_with_its_message_as_text():
    with pytest.raises(ValueError, match=r"^width 3 is odd$") as caught:
        raise InputError("width 3 is odd")
    assert str(caught.value) == "width 3 is odd"


def test_a_close_name_is_asked_for():
    names = ("cifar10", "cifar100", "digits")
    for name, close in (
        ("cifar-10", "cifar10"),
        ("CIFAR10", "cifar10"),
        ("DIGITS", "digits"),
    ):
        assert meant(name, names) == f" (did you mean {close!r}?)"
    assert meant("flowers", names) == ""
    with pytest.raises(InputError, match=r"'Layer' \(did you mean 'layer'\?\) is not"):
        check_choice("norm", "Layer", Literal["layer", "rms"])


@pytest.mark.parametrize(
    ("find", "name", "close"),
    [
        (find_images, "cifar-10", "cifar10"),
        (find_images, "DIGITS", "digits"),
        (find_table, "Breast-Cancer", "breast_cancer"),
        (find_text, "TinyShakespeare", "tinyshakespeare"),
        (find_pairs, "Dates", "dates"),
        (lambda name, _: find_two_samples(name, 8, 0), "Plane", "plane"),
    ],
)
def test_each_kind_of_data_asks_for_a_close_name(find, name, close, tmp_path):
    languages = {"source": "de", "target": "en"} if find is find_pairs else {}
    with pytest.raises(InputError, match=rf"\(did you mean '{close}'\?\)"):
        find(name, str(tmp_path), **languages)


@pytest.mark.parametrize(
    "address", ["gs://bucket/run", "s3://b", "hdfs://host:9000/a", "file:///a", "gs:/b"]
)
def test_an_address_is_no_path(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"run_dir {address!r} is an address"):
        local_path("run_dir", address)
    with pytest.raises(InputError, match=f"data_dir {address!r} is an address"):
        data_folder(address)
    for find in (find_images, find_table):
        with pytest.raises(InputError, match=f"data {address!r} is an address"):
            find(address)
    assert not [*tmp_path.iterdir()]


def test_other_paths_are_taken_as_they_are(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for text, path in (
        ("~/runs", "/home/me/runs"),
        ("runs/a:b", "runs/a:b"),
        ("C:/runs", "C:/runs"),
    ):
        assert local_path("run_dir", text) == pathlib.Path(path)
    with pytest.raises(InputError, match="run_dir '~nobody-here/a' begins with a home"):
        local_path("run_dir", "~nobody-here/a")
