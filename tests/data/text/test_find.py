"""Finding pairs of texts and long texts by name or path."""

import gzip
import os
import pathlib
import re
import tokenize

import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.text import sources as module
from jaxlab.data.text.find import EMBEDDED_PAIRS, EMBEDDED_TEXTS, find_pairs, find_text
from tests.damage import check_reader

ROOT = pathlib.Path(__file__).parents[3]
# Where text/multi30k/raw and text/tinyshakespeare lie, if this machine has them.
REAL = pathlib.Path(os.environ.get("JAXLAB_TEXT_DIR", ROOT.parent / "shared" / "data"))
PARTS = {"train": 40, "val": 3, "test": 2}


@pytest.fixture(autouse=True)
def workplace(monkeypatch, tmp_path):
    """Work in an empty folder, where no server can be reached."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))

    def refuse(url, path):
        if path.is_file():
            return path
        raise OSError("no network")

    monkeypatch.setattr(module, "download", refuse)
    return tmp_path


def write(path, text):
    """Write text, gzipped if the name says so."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_pairs(folder, suffix="", names=("train", "val", "test")):
    """Write a set of numbered lines."""
    for name, count in zip(names, PARTS.values(), strict=True):
        for ending in ("de", "en"):
            lines = [f"{ending} {name} {i}\n" for i in range(count)]
            write(f"{folder}/{name}.{ending}{suffix}", "".join(lines))


def message(find, *args, **options):
    """Give the error that finding ends in."""
    with pytest.raises(InputError) as caught:
        find(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", EMBEDDED_PAIRS)
def test_embedded_pairs_need_no_files(name):
    pairs = find_pairs(name)
    assert pairs.name == name
    assert len(pairs.test) == 2000
    assert str(pairs) == (
        f"{name}: {len(pairs.train)} + 2000 + 2000 pairs (train, valid, test)"
    )
    assert find_pairs(name, seed=1).test != pairs.test


@pytest.mark.parametrize(
    ("folder", "name", "data_dir"),
    [
        ("data/text/multi30k/raw", "multi30k", "data"),
        ("data/text/multi30k", "multi30k", "data"),
        ("data/multi30k/raw", "multi30k", "data"),
        ("data/multi30k", "multi30k", "data"),
        ("data", "multi30k", "data"),
        ("data/raw", "multi30k", "data"),
        ("data/data/task1/raw", "multi30k", "data"),
        ("default/text/multi30k/raw", "multi30k", ""),
        ("own", "own", ""),
        ("own", "./own", ""),
        ("dates", "./dates", ""),
        ("data/own", "own", "data"),
        ("data/text/own", "own", "data"),
        ("data/text/own/raw", "own", "data"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_is_found_as_named_and_below_the_data_folder(
    folder, name, data_dir, suffix
):
    write_pairs(folder, suffix)
    pairs = find_pairs(name, data_dir, source="de", target="en")
    assert pairs.train == [(f"de train {i}", f"en train {i}") for i in range(40)]
    assert pairs.valid == [(f"de val {i}", f"en val {i}") for i in range(3)]
    assert pairs.test == [(f"de test {i}", f"en test {i}") for i in range(2)]
    turned = find_pairs(name, data_dir, source="en", target="de")
    assert turned.test == [(target, source) for source, target in pairs.test]


@pytest.mark.parametrize("valid", ["valid", "val", "dev", "validation"])
@pytest.mark.parametrize("test", ["test", "test_2016_flickr"])
def test_the_held_out_files_have_their_usual_names(valid, test):
    write_pairs("own", names=("train", valid, test))
    pairs = find_pairs("own", source="de", target="en")
    assert (len(pairs.train), len(pairs.valid), len(pairs.test)) == (40, 3, 2)


def test_lines_are_held_out_where_files_are_absent():
    write_pairs("own")
    for file in pathlib.Path("own").glob("[vt][ae][ls]*"):
        file.unlink()
    pairs = find_pairs("own", source="de", target="en")
    assert [source for source, _ in pairs.valid] == ["de train 19", "de train 39"]
    assert [source for source, _ in pairs.test] == ["de train 9", "de train 29"]
    assert len(pairs.train) == 36
    assert not {*pairs.train} & {*pairs.valid, *pairs.test}


def test_only_line_feeds_end_a_line():
    lines = "\ufeffa\u2028b\x0bc\r\n  d\x85e \n\nf"
    write("own/train.de", lines + "\n" + 20 * "x\n")
    write("own/train.en", lines + "\n" + 20 * "x\n")
    train = find_pairs("own", source="de", target="en").train
    assert [source for source, _ in train[:3]] == ["a\u2028b\x0bc", "d\x85e", "f"]


def test_pairs_with_an_empty_side_are_left_out_and_counted():
    write_pairs("own")
    write("own/train.de", "".join(f"{'' if i in (3, 7) else i}\n" for i in range(40)))
    write("own/train.en", "".join(f"{'  ' if i in (7, 9) else i}\n" for i in range(40)))
    write("own/test.en", "\nb\n")
    pairs = find_pairs("own", source="de", target="en")
    assert len(pairs.train) == 37
    assert pairs.train[3] == ("4", "4")
    assert pairs.num_empty == (3, 0, 1)
    assert str(pairs) == (
        "own: 37 + 3 + 1 pairs (train, valid, test); 3 + 0 + 1 left out, with an empty "
        "side"
    )
    write("own/val.de", "\n\n\n")
    said = message(find_pairs, "own", source="de", target="en")
    assert "of which neither side is empty" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("größer\n".encode("utf-16"), "iconv -f UTF-16 -t UTF-8"),
        ("größer\n".encode("utf-32"), "iconv -f UTF-32 -t UTF-8"),
        ("larger\n".encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8"),
        ("größer\n".encode("latin-1"), "iconv -f LATIN1 -t UTF-8"),
        (b"a\0b\n", "it has characters NUL"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_other_encodings_are_named_with_the_way_out(content, said, suffix):
    write_pairs("own")
    pathlib.Path("own/train.de").unlink()
    write(f"own/train.de{suffix}", content * 40)
    found = message(find_pairs, "own", source="de", target="en")
    assert found.startswith(f"text own/train.de{suffix} cannot be read")
    assert said in found
    assert "\n" not in found
    write(f"a.txt{suffix}", content * 40)
    assert said in message(find_text, f"a.txt{suffix}")


def test_texts_of_windows_are_those_of_others():
    lines = "".join(f"line {i}\n" for i in range(40))
    write("a.txt", b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode())
    write("b.txt", lines)
    one, two = find_text("a.txt"), find_text("b.txt")
    assert (one.train, one.valid, one.test) == (two.train, two.valid, two.test)


@pytest.mark.fuzz
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_pairs_are_refused_or_read_as_pairs(suffix):
    write_pairs("own", suffix)
    whole = find_pairs("own", source="de", target="en")

    def is_right(pairs):
        # Letters may be others: no checksum guards a text. Gzip has one.
        sides = [side for pair in pairs.train for side in pair]
        is_text = all(side and "\n" not in side for side in sides)
        return is_text and (pairs == whole or not suffix)

    def read(file):
        return find_pairs("own", source="de", target="en")

    assert check_reader(read, pathlib.Path(f"own/train.de{suffix}"), is_right) > 20


@pytest.mark.fuzz
def test_a_damaged_text_is_refused_or_read_as_a_text():
    write("a.txt", "Fünf größere Bögen.\n" * 9)

    def is_right(text):
        return "\0" not in text.train + text.valid + text.test

    file = pathlib.Path("a.txt")
    assert check_reader(lambda file: find_text(str(file)), file, is_right) > 20


def test_an_absent_folder_is_named_with_all_places():
    said = message(find_pairs, "own", "data", source="de", target="en")
    for place in ("own/raw", "own", "data/text/own/raw", "data/text/own", "data/own"):
        assert re.search(rf"[ ,]{place}[,;]", said)
    assert "train.de and train.en (or .gz)" in said
    assert "dates, copy, reverse, sort, which need no files" in said


def test_half_a_set_is_no_set():
    write("own/train.de", "a\n")
    said = message(find_pairs, "own", source="de", target="en")
    assert "own (without train.en)" in said
    write_pairs("own")
    pathlib.Path("own/test.en").unlink()
    said = message(find_pairs, "own", source="de", target="en")
    assert "there is test.de but no test.en (or .gz) beside it" in said


def test_no_other_set_takes_the_place_of_multi30k():
    write_pairs("data/multi30k")
    for file in pathlib.Path("data/multi30k").glob("test.*"):
        file.unlink()
    said = message(find_pairs, "multi30k", "data", source="de", target="en")
    assert "data/multi30k (without test.de, test.en)" in said
    assert "cannot be downloaded (no network)" in said
    assert "task1/raw into data/text/multi30k/raw" in said
    write_pairs("data/other")
    said = message(find_pairs, "another", "data", source="de", target="en")
    assert "'another' were not found" in said


def test_multi30k_is_downloaded_where_it_will_be_found(monkeypatch):
    asked = []

    def serve(url, path):
        asked.append(url)
        stem, ending = path.name.split(".")[:2]
        write(path, "".join(f"{ending} {stem} {i}\n" for i in range(5)))
        return path

    monkeypatch.setattr(module, "download", serve)
    pairs = find_pairs("multi30k", "data", source="de", target="en")
    assert pairs.test[4] == ("de test_2016_flickr 4", "en test_2016_flickr 4")
    assert len(asked) == 6
    start = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
    assert all(url.startswith(start) and url.endswith("n.gz") for url in asked[1::2])
    assert find_pairs("multi30k", "data", source="de", target="en") == pairs
    assert len(asked) == 6


def test_both_numbers_of_lines_are_named():
    write_pairs("own")
    write("own/val.en", "one\ntwo\n")
    said = message(find_pairs, "own", source="de", target="en")
    assert said.startswith("pairs own/val.de has 3 lines and own/val.en 2;")


@pytest.mark.parametrize(
    ("source", "target"), [("", ""), ("de", ""), ("", "en"), ("de", "de")]
)
def test_files_need_two_languages(source, target):
    said = message(find_pairs, "own", source=source, target=target)
    assert "need the endings of two languages" in said


def test_damaged_files_are_named():
    write_pairs("own")
    write("own/train.de", b"\xff\xfe")
    said = message(find_pairs, "own", source="de", target="en")
    assert said.startswith("text own/train.de cannot be read")
    whole = gzip.compress(b"many words\n" * 1000)
    pathlib.Path("own/train.de").unlink()
    for broken in (whole[:-20], b"no gzip", whole[:30] + b"xxxx" + whole[34:]):
        pathlib.Path("own/train.de.gz").write_bytes(broken)
        said = message(find_pairs, "own", source="de", target="en")
        assert said.startswith("text own/train.de.gz cannot be read")


def test_too_few_lines_to_hold_out_are_refused():
    for ending in ("de", "en"):
        write(f"own/train.{ending}", "a\n" * 19)
    said = message(find_pairs, "own", source="de", target="en")
    assert "19 lines to train on, 0 to validate with" in said


def test_the_source_of_python_is_a_text():
    assert EMBEDDED_TEXTS == ("python",)
    text = find_text("python")
    assert text == find_text("python")
    whole = text.train + text.valid + text.test
    assert len(whole) > 10**6
    assert whole.count("\ndef ") > 300
    file = pathlib.Path(tokenize.__file__).with_name("textwrap.py")
    assert file.read_text() in whole


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("place", ["", "data/", "data/text/"])
def test_a_text_is_cut_by_position(name, place):
    content = "".join(chr(ord("a") + i % 26) for i in range(1001))
    write(place + name, content)
    text = find_text(name, "data")
    assert text.train + text.valid + text.test == content
    assert (len(text.train), len(text.valid), len(text.test)) == (900, 50, 51)
    assert str(text) == f"{name}: 900 + 50 + 51 characters (train, valid, test)"


def test_texts_that_are_not_there_are_not_replaced():
    write("data/b.txt", "b" * 100)
    said = message(find_text, "a.txt", "data")
    assert "a.txt, data/a.txt, data/text/a.txt" in said
    said = message(find_text, "a", "data")
    assert "must be tinyshakespeare, a .txt or .txt.gz file, or python" in said
    write("a.txt", "x" * 10)
    assert "10 characters; it must have 20 or more" in message(find_text, "a.txt")


@pytest.mark.parametrize(
    "file",
    [
        "text/tinyshakespeare/input.txt",
        "tinyshakespeare/input.txt",
        "tinyshakespeare/input.txt.gz",
        "input.txt",
        "tinyshakespeare.txt",
    ],
)
def test_tinyshakespeare_is_found_and_verified(file, monkeypatch):
    write(f"data/{file}", "another text, not that of Shakespeare")
    said = message(find_text, "tinyshakespeare", "data")
    assert f"data/{file} is damaged or not the official file" in said
    digest = re.search("SHA-256 ([0-9a-f]+)", said)[1]
    monkeypatch.setattr(module, "_SHAKESPEARE_SHA256", digest)
    text = find_text("tinyshakespeare", "data")
    assert (text.train + text.valid + text.test).startswith("another text")


def test_absent_tinyshakespeare_says_where_to_put_it():
    said = message(find_text, "tinyshakespeare", "data")
    assert "cannot be downloaded (no network)" in said
    assert "at data/text/tinyshakespeare/input.txt, or use python" in said


def test_the_official_multi30k():
    if not (REAL / "text" / "multi30k").is_dir():
        pytest.skip(f"no Multi30k in {REAL / 'text'} (JAXLAB_TEXT_DIR)")
    pairs = find_pairs("multi30k", str(REAL), source="de", target="en")
    assert (len(pairs.train), len(pairs.valid), len(pairs.test)) == (29000, 1014, 1000)
    assert pairs.train[0] == (
        "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
        "Two young, White males are outside near many bushes.",
    )
    assert all(source and target for source, target in pairs.train + pairs.test)


def test_the_official_tinyshakespeare():
    if not (REAL / "text" / "tinyshakespeare").is_dir():
        pytest.skip(f"no tinyshakespeare in {REAL / 'text'} (JAXLAB_TEXT_DIR)")
    text = find_text("tinyshakespeare", str(REAL))
    assert len(text.train) + len(text.valid) + len(text.test) == 1_115_394
    assert text.train.startswith("First Citizen:\nBefore we proceed any further")
