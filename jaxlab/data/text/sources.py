"""Where texts come from: files, downloads, the standard library of Python."""

import codecs
import gzip
import hashlib
import pathlib
import sysconfig
import zlib

from jaxlab.core.errors import InputError, local_path, meant
from jaxlab.data.download import download

__all__ = ["TextPairs", "load_pairs", "load_text"]

TextPairs = list[tuple[str, str]]

_MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
_MULTI30K_FILES = ("train", "val", "test_2016_flickr")
_SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
    "input.txt"
)
_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
# The longer ones first: one begins with another.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_VALID_NAMES = ("valid", "val", "dev", "validation")
_TEST_NAMES = ("test", "test_2016_flickr")
# Single files, 1.5 MB, that Python has had for long and will have for long.
_MODULES = (
    "argparse ast calendar codecs configparser difflib doctest enum fractions "
    "functools heapq inspect ipaddress optparse pickle random shutil smtplib "
    "statistics subprocess tarfile tempfile textwrap threading traceback typing weakref"
)


def load_pairs(
    name: str, root: pathlib.Path, source: str, target: str, instead: str
) -> tuple[TextPairs, TextPairs | None, TextPairs | None]:
    """Load the files that `find_pairs` describes.

    Args:
        name: `multi30k` or a folder.
        root: Where sets lie.
        source: Ending of the files to translate from.
        target: Ending of the files to translate to.
        instead: What an error offers instead.

    Returns:
        Pairs to train on; to validate with and to test with, None where no file is.
    """
    folder = _pairs_folder(name, root, source, target, instead)
    train = _read_pairs(folder, ("train",), source, target)
    assert train is not None
    return (
        train,
        _read_pairs(folder, _VALID_NAMES, source, target),
        _read_pairs(folder, _TEST_NAMES, source, target),
    )


def _pairs_folder(
    name: str, root: pathlib.Path, source: str, target: str, instead: str
) -> pathlib.Path:
    """Find the folder of the training files, downloading it if it is Multi30k."""
    places = [root / "text" / name, root / name]
    needed: tuple[tuple[str, ...], ...] = (("train",),)
    if name == "multi30k":
        # Also the folder itself, and a clone of the official repository. All files, so
        # that nothing takes the place of the official test set.
        places += [root, root / name / "data" / "task1", root / "data" / "task1"]
        needed = (("train",), _VALID_NAMES, _TEST_NAMES)
    else:
        places.insert(0, local_path("data", name))
    tried = []
    for folder in [folder for place in places for folder in (place / "raw", place)]:
        lacks = [
            f"{stems[0]}.{ending}"
            for stems in needed
            for ending in (source, target)
            if not any(_file(folder, f"{stem}.{ending}") for stem in stems)
        ]
        if not lacks:
            return folder
        some = len(lacks) < 2 * len(needed)
        tried.append(f"{folder} (without {', '.join(lacks)})" if some else str(folder))
    missing = (
        f"pairs {name!r} were not found: train.{source} and train.{target} (or .gz) "
        f"are not in {', '.join(dict.fromkeys(tried))}"
    )
    if name != "multi30k":
        raise InputError(
            f"{missing}; give the path of a folder with both, or --data-dir, or "
            f"{instead}"
        )
    folder = root / "text" / name / "raw"
    try:
        for stem in _MULTI30K_FILES:
            for ending in (source, target):
                file = f"{stem}.{ending}.gz"
                download(f"{_MULTI30K}/{file}", folder / file)
    except OSError as error:
        raise InputError(
            f"{missing}, and they cannot be downloaded ({error}); put the files of "
            f"{_MULTI30K} into {folder}, or use {instead}"
        ) from None
    return folder


def _file(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    files = [folder / name, folder / f"{name}.gz"]
    return next((file for file in files if file.is_file()), None)


def _read_pairs(
    folder: pathlib.Path, stems: tuple[str, ...], source: str, target: str
) -> list[tuple[str, str]] | None:
    """Read the first of the names that is there in both languages."""
    for stem in stems:
        files = [_file(folder, f"{stem}.{ending}") for ending in (source, target)]
        if not any(files):
            continue
        if files[0] is None or files[1] is None:
            have, lack = (source, target) if files[0] else (target, source)
            raise InputError(
                f"pairs {folder}: there is {stem}.{have} but no {stem}.{lack} (or .gz) "
                "beside it; add it, or take the other away"
            )
        sources, targets = (_lines(file) for file in (files[0], files[1]))
        if len(sources) != len(targets):
            raise InputError(
                f"pairs {files[0]} has {len(sources)} lines and {files[1]} "
                f"{len(targets)}; line i of one must be the translation of line i of "
                "the other"
            )
        return list(zip(sources, targets, strict=True))
    return None


def _lines(path: pathlib.Path) -> list[str]:
    # Not splitlines: it ends lines at separators of Unicode too.
    lines = _read(path).split("\n")
    return [line.strip() for line in (lines if lines[-1] else lines[:-1])]


def _read(path: pathlib.Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"text {path} cannot be read ({error}); it must be UTF-8, gzipped if it "
            "ends in .gz"
        ) from None
    return _decoded(data, path)


def _decoded(data: bytes, path: pathlib.Path) -> str:
    """Read UTF-8; say of what else it looks like how to make it that."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    why = f"it begins with the mark of {encoding}"
    if not encoding:
        try:
            # Of Windows' files neither the mark at the begin nor the line ends are
            # text.
            text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            why, encoding = str(error), "LATIN1"
        else:
            if "\0" not in text:
                return text
            why, encoding = "it has characters NUL", "UTF-16LE"
    raise InputError(
        f"text {path} cannot be read ({why}); it must be UTF-8: if it is {encoding}, "
        f"convert it by iconv -f {encoding} -t UTF-8"
    )


def load_text(name: str, root: pathlib.Path) -> str:
    """Load the text that `find_text` describes, whole."""
    if name == "python":
        return _python_source()
    if name == "tinyshakespeare":
        return _shakespeare(root)
    return _read(_text_file(name, root))


def _text_file(name: str, root: pathlib.Path) -> pathlib.Path:
    paths = [local_path("data", name), root / name, root / "text" / name]
    tried = ", ".join(map(str, dict.fromkeys(paths)))
    if not name.endswith((".txt", ".txt.gz")):
        close = meant(name, ("tinyshakespeare", "python"))
        raise InputError(
            f"text {name!r}{close} must be tinyshakespeare, a .txt or .txt.gz file, or "
            "python, which needs no file"
        )
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise InputError(
            f"text {name!r} was not found as {tried}; give the path of a file, or "
            "--data-dir, or python, which needs no file"
        )
    return found


def _shakespeare(root: pathlib.Path) -> str:
    name = "tinyshakespeare"
    places = [root / "text" / name, root / name, root]
    paths = [
        path
        for place in places
        for path in (place / "input.txt", place / f"{name}.txt", place / "input.txt.gz")
    ]
    path = next((path for path in paths if path.is_file()), paths[0])
    try:
        download(_SHAKESPEARE, path)
    except OSError as error:
        tried = ", ".join(map(str, paths))
        raise InputError(
            f"text {name} was not found as {tried}, and cannot be downloaded "
            f"({error}); put {_SHAKESPEARE} at {path}, or use python, which needs no "
            "file"
        ) from None
    text = _read(path)
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != _SHAKESPEARE_SHA256:
        raise InputError(
            f"{path} is damaged or not the official file: SHA-256 {found}, must be "
            f"{_SHAKESPEARE_SHA256}; delete it and fetch it again from {_SHAKESPEARE}"
        )
    return text


def _python_source() -> str:
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    files = [folder / f"{module}.py" for module in _MODULES.split()]
    if absent := next((file for file in files if not file.is_file()), None):
        raise InputError(
            f"text python: this Python keeps no source at {absent}; give a .txt file"
        )
    return "\n".join(_read(file) for file in files)
