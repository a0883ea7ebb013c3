"""Text sets: pairs of texts, and long texts; what they are, and finding one by name."""

import dataclasses
import gzip
import hashlib
import pathlib
import sysconfig
import zlib

from jaxlab.core.errors import InputError
from jaxlab.data.download import download
from jaxlab.data.images import default_data_dir
from jaxlab.data.text_tasks import TASKS

__all__ = [
    "EMBEDDED_PAIRS",
    "EMBEDDED_TEXTS",
    "Pairs",
    "Text",
    "find_pairs",
    "find_text",
]

EMBEDDED_PAIRS = tuple(TASKS)  # made on the fly
EMBEDDED_TEXTS = ("python",)

_MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
_MULTI30K_FILES = ("train", "val", "test_2016_flickr")
_SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
    "input.txt"
)
_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_VALID_NAMES = ("valid", "val", "dev", "validation")
_TEST_NAMES = ("test", "test_2016_flickr")
_HOLD_OUT_EVERY = 20  # lines

# Single files, 1.5 MB, that Python has had for long and will have for long.
_MODULES = (
    "argparse ast calendar codecs configparser difflib doctest enum fractions "
    "functools heapq inspect ipaddress optparse pickle random shutil smtplib "
    "statistics subprocess tarfile tempfile textwrap threading traceback typing weakref"
)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Texts and what they are to be turned into.

    Attributes:
        name: As given on the command line.
        train: (source, target) to learn from.
        valid: To watch while training.
        test: To report.
    """

    name: str
    train: list[tuple[str, str]]
    valid: list[tuple[str, str]]
    test: list[tuple[str, str]]

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.train)} + {len(self.valid)} + {len(self.test)} "
            "pairs (train, valid, test)"
        )


@dataclasses.dataclass(frozen=True)
class Text:
    """One long text, cut in three.

    Attributes:
        name: As given on the command line.
        train: The first 90 % of the characters.
        valid: The next 5 %.
        test: The last 5 %.
    """

    name: str
    train: str
    valid: str
    test: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.train)} + {len(self.valid)} + {len(self.test)} "
            "characters (train, valid, test)"
        )


def find_pairs(
    name: str,
    data_dir: str = "",
    *,
    source: str = "",
    target: str = "",
    seed: int = 0,
) -> Pairs:
    """Find pairs of texts; never other ones in their stead.

    A folder holds `train.SOURCE` and `train.TARGET`, one text a line, and perhaps
    `valid` (or `val`, `dev`, `validation`) and `test` (or `test_2016_flickr`) likewise;
    each may be `.gz`. Of what is absent, every 20th line to train on takes the place,
    and is trained on no more.

    Args:
        name: One of `EMBEDDED_PAIRS`, made on the fly (write `./NAME` for a folder of
            that name): `dates` (as people write them, to ISO dates), `copy`, `reverse`,
            `sort` (of letters); `multi30k` (Elliott et al. 2016; downloaded if it is
            not below `data_dir`); or a folder, as it is or below `data_dir`.
        data_dir: Where sets lie; by default `$TFDS_DATA_DIR` or TFDS's folder.
        source: Ending of the files to translate from, as `de`; of files only.
        target: Ending of the files to translate to, as `en`; of files only.
        seed: Of what is made on the fly; of those only.

    Raises:
        InputError: If a file is not there, or damaged, or has another number of lines
            than that of the other language.
    """
    if name in TASKS:
        return Pairs(name, *TASKS[name](seed))
    if not source or not target or source == target:
        raise InputError(
            f"pairs {name!r} need the endings of two languages, as --source de "
            f"--target en, not {source!r} and {target!r}"
        )
    root = pathlib.Path(data_dir).expanduser() if data_dir else default_data_dir()
    folder = _pairs_folder(name, root, source, target)
    train = _read_pairs(folder, ("train",), source, target)
    valid = _read_pairs(folder, _VALID_NAMES, source, target)
    test = _read_pairs(folder, _TEST_NAMES, source, target)
    assert train is not None
    kept = list(range(len(train)))
    if valid is None:
        valid, kept = _held_out(train, kept, _HOLD_OUT_EVERY - 1)
    if test is None:
        test, kept = _held_out(train, kept, _HOLD_OUT_EVERY // 2 - 1)
    if not valid or not test:
        raise InputError(
            f"pairs {folder} have {len(train)} lines to train on, {len(valid)} to "
            f"validate with and {len(test)} to test with; give more"
        )
    return Pairs(name, [train[i] for i in kept], valid, test)


def _pairs_folder(
    name: str, root: pathlib.Path, source: str, target: str
) -> pathlib.Path:
    """Find the folder of the training files, downloading it if it is Multi30k."""
    places = [root / "text" / name, root / name]
    if name == "multi30k":
        # Also the folder itself, and a clone of the official repository.
        places += [root, root / name / "data" / "task1", root / "data" / "task1"]
    else:
        places.insert(0, pathlib.Path(name).expanduser())
    folders = [folder for place in places for folder in (place / "raw", place)]
    tried = []
    for folder in folders:
        files = [_file(folder, f"train.{ending}") for ending in (source, target)]
        if all(files):
            return folder
        tried += [f"{folder}/train.{source}"] if not files[0] else []
        tried += [f"{folder}/train.{target}"] if not files[1] and files[0] else []
    missing = f"pairs {name!r} were not found as {', '.join(tried)} (or .gz)"
    if name != "multi30k":
        raise InputError(
            f"{missing}; give the path of a folder with both, or --data-dir, or one of "
            f"{', '.join(EMBEDDED_PAIRS)}, which need no files"
        )
    folder = root / "text" / name / "raw"
    try:
        for stem in _MULTI30K_FILES:
            for ending in (source, target):
                file = f"{stem}.{ending}.gz"
                download(f"{_MULTI30K}/{file}", folder / file)
    except OSError as error:
        raise InputError(
            f"{missing}, and cannot be downloaded ({error}); put the files of "
            f"{_MULTI30K} into {folder}, or use one of {', '.join(EMBEDDED_PAIRS)}, "
            "which need no files"
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


def _held_out(
    train: list[tuple[str, str]], kept: list[int], offset: int
) -> tuple[list[tuple[str, str]], list[int]]:
    """Take every 20th line out of those to train on."""
    out = set(range(offset, len(train), _HOLD_OUT_EVERY))
    return [train[i] for i in sorted(out)], [i for i in kept if i not in out]


def _lines(path: pathlib.Path) -> list[str]:
    # Not splitlines: it ends lines at separators of Unicode too.
    lines = _read(path).split("\n")
    return [line.strip() for line in (lines if lines[-1] else lines[:-1])]


def _read(path: pathlib.Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        # Of Windows' files neither the mark at the begin nor the line ends are text.
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(
            f"text {path} cannot be read ({error}); it must be UTF-8, gzipped if it "
            "ends in .gz"
        ) from None


def find_text(name: str, data_dir: str = "") -> Text:
    """Find a long text; never another one in its stead.

    Args:
        name: `python` (the source of 27 modules of the running Python's standard
            library, always there, so it differs a little from version to version);
            `tinyshakespeare` (Karpathy 2015; downloaded if it is not below `data_dir`);
            or a `.txt` or `.txt.gz` file, as it is or below `data_dir`.
        data_dir: Where texts lie; by default `$TFDS_DATA_DIR` or TFDS's folder.

    Returns:
        The text, cut by position in 90, 5 and 5 %.

    Raises:
        InputError: If the text is not there, or damaged, or shorter than 20 characters.
    """
    root = pathlib.Path(data_dir).expanduser() if data_dir else default_data_dir()
    if name == "python":
        text = _python_source()
    elif name == "tinyshakespeare":
        text = _shakespeare(root)
    else:
        text = _read(_text_file(name, root))
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    if first == second:
        raise InputError(
            f"text {name} has {len(text)} characters; it must have 20 or more, of "
            "which 5 % are to validate with"
        )
    return Text(name, text[:first], text[first:second], text[second:])


def _text_file(name: str, root: pathlib.Path) -> pathlib.Path:
    paths = [pathlib.Path(name).expanduser(), root / name, root / "text" / name]
    tried = ", ".join(map(str, dict.fromkeys(paths)))
    if not name.endswith((".txt", ".txt.gz")):
        raise InputError(
            f"text {name!r} must be tinyshakespeare, a .txt or .txt.gz file, or "
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
            f"({error}); put {_SHAKESPEARE} at {path}, or use python, which needs no file"
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
