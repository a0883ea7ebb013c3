"""Vocabularies: exact round trips, the same tokens every time, files that load."""

import json
import os
import pathlib
import re
import subprocess
import sys
import unicodedata

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.text.vocabulary import BOS, EOS, PAD, UNK, Vocabulary, train_vocabulary
from jaxlab.data.text.words import split_words
from tests.damage import check_reader

ROOT = pathlib.Path(__file__).parents[3]
TEXTS = ["the cat sat on the mat.", "The dog, the log;\tthe fög!", "12 cats\n\n34 dogs"]
ODD = [
    "",
    "  two  spaces, and at the end ",
    "<pad> <s></s> <eos><unk> [CLS]",
    "naïve e\u0301 日本語 🙂👩‍👩‍👧 \u2028\x00\ufeff",
    "\ttabs\r\nlines\n\n\n",
]
SIZES = {"byte": 0, "char": 0, "word": 0, "bpe": 280}


PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # with a joiner
# A text, and its words; each is one word with the marks of its letters.
SCRIPTS = {
    "Devanagari": ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
    "Tamil": ("வணக்கம், உலகம்", ["வணக்கம்", ",", "உலகம்"]),
    "Hebrew": ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
    "Arabic": ("مَرْحَبًا بِالعَالَم", ["مَرْحَبًا", "بِالعَالَم"]),
    "Persian": (PERSIAN, [PERSIAN]),
    "Thai": ("สวัสดี ครับ", ["สวัสดี", "ครับ"]),
    "NFD": ("e\u0301te\u0301 Mu\u0308ller", ["e\u0301te\u0301", "Mu\u0308ller"]),
    "emoji": ("ok 👩\u200d👩\u200d👧!", ["ok", "👩\u200d👩\u200d👧", "!"]),
}


def trained(kind, **options):
    return train_vocabulary(TEXTS, kind, SIZES[kind], **options)


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_word_ends_at_a_mark(script):
    text, words = SCRIPTS[script]
    vocabulary = train_vocabulary([text], "word", normalization="none")
    assert {*vocabulary.tokens} == {*words}
    assert vocabulary.decode(vocabulary.encode([text])) == [" ".join(words)]


def test_words_of_ascii_and_german_are_those_of_before():
    texts = [*TEXTS, "Zwei junge weiße Männer: don't, 3.14 m²! a_b\x1cc", *ODD[:3]]
    old = re.compile(r"\w+|[^\w\s]")
    for text in texts:
        assert split_words(text) == old.findall(text)


def test_one_character_is_written_in_one_way():
    for kind in ("char", "word"):
        vocabulary = train_vocabulary(["é"], kind)
        assert vocabulary.tokens == ("é",)
        assert vocabulary.encode(["e\u0301"]) == vocabulary.encode(["é"]) == [[4]]
        assert "NFC" in str(vocabulary)
    apart = train_vocabulary(["e\u0301"], "char", normalization="none")
    assert len(apart) == 4 + 2
    assert "as written" in str(apart)
    ligature = train_vocabulary(["ﬁ"], "char", normalization="NFKC")
    assert ligature.tokens == ("f", "i")
    # Lower case comes first: a capital I with a dot is two characters then.
    dotted = trained("char", lowercase=True)
    assert dotted.prepare(["İE\u0301"]) == ["i\u0307é"]
    with pytest.raises(InputError, match=r"'nfc' .did you mean 'NFC'"):
        trained("char", normalization="nfc")


def test_the_special_ids_are_the_first_four():
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@pytest.mark.parametrize("text", ODD)
def test_bytes_and_bpe_give_any_text_back(kind, text):
    vocabulary = trained(kind, normalization="none")
    (ids,) = vocabulary.encode([text])
    assert all(UNK < number < len(vocabulary) for number in ids)
    assert vocabulary.decode([ids]) == [text]
    composed = trained(kind)
    found = composed.decode(composed.encode([text]))
    assert found == [unicodedata.normalize("NFC", text)] == composed.prepare([text])


@pytest.mark.parametrize("kind", ["byte", "char", "bpe"])
def test_texts_that_were_seen_come_back_whole(kind):
    vocabulary = trained(kind)
    ids = vocabulary.encode(TEXTS)
    assert vocabulary.decode(ids) == TEXTS
    assert not {PAD, BOS, EOS, UNK} & {number for row in ids for number in row}


def test_bytes_are_numbered_in_order():
    vocabulary = trained("byte")
    assert len(vocabulary) == 260
    assert vocabulary.encode(["a€"]) == [[4 + byte for byte in "a€".encode()]]


def test_characters_and_words_are_ranked_by_count_then_code_point():
    vocabulary = train_vocabulary(["bbaadc"], "char")
    assert vocabulary.tokens == ("a", "b", "c", "d")
    assert vocabulary.encode(["dxa"]) == [[7, UNK, 4]]
    words = train_vocabulary(["b a, b a-c"], "word")
    assert words.tokens == ("a", "b", ",", "-", "c")
    assert words.decode(words.encode(["a-c  b"])) == ["a - c b"]


def test_size_and_min_count_keep_the_frequent_ones():
    assert train_vocabulary(["aaabbc"], "char", 6).tokens == ("a", "b")
    assert train_vocabulary(["aaabbc"], "char", min_count=2).tokens == ("a", "b")
    assert len(train_vocabulary(["ab"], "char", 1000)) == 6


def test_bpe_merges_the_most_frequent_pair_first_and_fills_its_size():
    vocabulary = train_vocabulary(["ab ab abc abc x"] * 3, "bpe", 262)
    assert vocabulary.merges == (("a", "b"), ("Ġ", "ab"))
    assert len(vocabulary) == 262
    assert list(map(len, vocabulary.encode(["ab", " ab", "abc"]))) == [1, 1, 2]


def test_no_pair_that_comes_too_rarely_is_merged():
    rare = train_vocabulary(["ab ab cd"], "bpe", 300, min_count=2)
    assert rare.merges == (("a", "b"),)


def test_lower_case_holds_for_training_and_for_encoding():
    for kind in SIZES:
        vocabulary = trained(kind, lowercase=True)
        assert vocabulary.encode(["The CAT"]) == vocabulary.encode(["the cat"])
        assert vocabulary.decode(vocabulary.encode(["The CAT"])) == ["the cat"]
        assert not any(token == "T" for token in vocabulary.tokens) or kind != "char"


@pytest.mark.parametrize("kind", SIZES)
def test_decoding_drops_padding_begin_and_end(kind):
    vocabulary = trained(kind)
    (ids,) = vocabulary.encode(["the cat"])
    rows = np.array([[BOS, *ids, EOS, PAD, PAD]])
    assert vocabulary.decode(rows) == ["the cat"]
    assert vocabulary.decode(jnp.asarray(rows, jnp.int32)) == ["the cat"]
    assert vocabulary.decode([[]]) == [""]


def test_what_is_unknown_is_shown():
    assert trained("char").decode(trained("char").encode(["cat€"])) == ["cat\ufffd"]
    assert trained("word").decode(trained("word").encode(["the bat"])) == ["the \ufffd"]


def test_half_a_character_of_several_bytes_is_shown_too():
    for kind in ("byte", "bpe"):
        vocabulary = trained(kind)
        ids = vocabulary.encode(["€"])[0]
        assert vocabulary.decode([ids[:2]])[0].strip("\ufffd") == ""
        assert vocabulary.decode([ids]) == ["€"]


def test_pieces_label_each_id():
    words = trained("word")
    ids = [BOS, *words.encode(["the cat"])[0], UNK, EOS, PAD]
    assert words.pieces(ids) == ["<bos>", "the", "cat", "<unk>", "<eos>", "<pad>"]
    bpe = trained("bpe")
    assert "".join(bpe.pieces(bpe.encode(["the cat"])[0])) == "the cat"


@pytest.mark.parametrize("kind", SIZES)
def test_a_saved_vocabulary_is_the_same_one(kind, tmp_path):
    vocabulary = trained(kind, lowercase=True)
    path = tmp_path / "run" / "vocabulary.json"
    vocabulary.save(path)
    vocabulary.save(path)  # over the old one
    loaded = Vocabulary.load(path)
    assert loaded == vocabulary
    assert loaded.encode(TEXTS) == vocabulary.encode(TEXTS)
    assert [file.name for file in path.parent.iterdir()] == ["vocabulary.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.json"
    trained("char").save(path)
    monkeypatch.setattr(json, "dump", lambda *a, **b: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained("word").save(path)
    assert Vocabulary.load(path) == trained("char")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_bpe_does_not_depend_on_the_process_or_its_threads():
    script = f"""
from jaxlab.data.text.vocabulary import train_vocabulary
texts = [open(file).read() for file in {[str(ROOT / "README.md"), __file__]!r}]
print(*train_vocabulary(texts, "bpe", 600).tokens)
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for settings in (
            {"TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "1"},
            {"RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "2"},
            {"RAYON_NUM_THREADS": "4", "PYTHONHASHSEED": "3"},
        )
    }
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 596


@pytest.mark.parametrize(
    ("kind", "size", "options", "said"),
    [
        ("wordpiece", 0, {}, "must be one of byte, char, word, bpe"),
        ("bpe", 0, {}, "size 0 is too small for bpe: it must be at least 260"),
        ("bpe", 259, {}, "at least 260"),
        ("byte", 100, {}, "at least 260, or 0 for no limit"),
        ("char", 4, {}, "at least 5"),
        ("word", -1, {}, "at least 5"),
        ("word", 0, {"min_count": 0}, "min_count 0 must be 1 or more"),
        ("word", 0, {"min_count": 9}, "no word comes 9 times"),
    ],
)
def test_what_cannot_be_trained_is_said(kind, size, options, said):
    with pytest.raises(InputError, match=said):
        train_vocabulary(TEXTS, kind, size, **options)


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
@pytest.mark.parametrize("texts", [[], [""]])
def test_nothing_cannot_be_learnt_from(kind, texts):
    with pytest.raises(InputError, match="there is no text to learn it from"):
        train_vocabulary(texts, kind, SIZES[kind])


def test_a_single_text_is_no_list_of_texts():
    with pytest.raises(InputError, match="must be a list of texts"):
        train_vocabulary("abc", "char")
    with pytest.raises(InputError, match="must be a list of texts"):
        trained("char").encode("abc")


@pytest.mark.parametrize("number", [-1, 260])
def test_an_id_of_another_vocabulary_is_refused(number):
    with pytest.raises(InputError, match=f"id {number} is none of the 260"):
        trained("byte").decode([[4, number]])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": "another"}',
        '{"format": "jaxlab vocabulary 1", "kind": "char"}',
        '{"kind": "char", "tokens": ["a"], "merges": [], "lowercase": false}',
        *(
            json.dumps(
                {
                    "format": "jaxlab vocabulary 1",
                    "kind": "char",
                    "tokens": ["a", "b"],
                    "merges": [],
                    "lowercase": False,
                    **change,
                }
            )
            for change in (
                {"kind": "syllable"},
                {"kind": "bpe"},
                {"tokens": ["a", "a"]},
                {"tokens": []},
                {"tokens": [1, 2]},
                {"tokens": None},
                {"merges": [["a"]]},
                {"merges": [["a", "c"]]},
                {"lowercase": "yes"},
                {"more": 1},
            )
        ),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(content, tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"vocabulary .*json cannot be read"):
        Vocabulary.load(path)


@pytest.mark.parametrize("kind", SIZES)
def test_a_file_of_the_first_version_encodes_as_it_did(kind, tmp_path):
    path = tmp_path / "vocabulary.json"
    text, old = "नमस्ते", re.compile(r"\w+|[^\w\s]")
    now = trained(kind, normalization="none")
    tokens = [*now.tokens] if kind == "bpe" else [*now.tokens, *old.findall(text)]
    content = {
        "format": "jaxlab vocabulary 1",
        "kind": kind,
        "tokens": tokens if kind != "byte" else [*now.tokens],
        "merges": [list(pair) for pair in now.merges],
        "lowercase": False,
    }
    path.write_text(json.dumps(content))
    loaded = Vocabulary.load(path)
    assert loaded.encode(TEXTS) == now.encode(TEXTS)
    assert loaded.prepare(["e\u0301"]) == ["e\u0301"]
    if kind == "word":
        assert loaded.decode(loaded.encode([text])) == [" ".join(old.findall(text))]
    else:
        assert loaded.encode([ODD[3]]) == now.encode([ODD[3]])
    loaded.save(path)
    assert Vocabulary.load(path) == loaded


def test_a_changed_token_is_noticed(tmp_path):
    path = tmp_path / "vocabulary.json"
    trained("word").save(path)
    text = path.read_text()
    path.write_text(text.replace("the", "thy", 1))
    with pytest.raises(InputError, match="its checksum is that of another content"):
        Vocabulary.load(path)


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", SIZES)
def test_damaged_files_are_refused_or_read_right(kind, tmp_path):
    path, whole = tmp_path / "vocabulary.json", trained(kind)
    whole.save(path)
    assert check_reader(Vocabulary.load, path, lambda found: found == whole) > 40


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json cannot be read"):
        Vocabulary.load(tmp_path / "absent.json")


def test_only_bpe_loads_the_library_that_it_needs():
    script = """
import sys
from jaxlab.data.text.vocabulary import train_vocabulary
for kind in ("byte", "char", "word"):
    train_vocabulary(["ab"], kind).encode(["a"])
print("tokenizers" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
