"""Text sets: pairs of texts, and long texts; what they are, and finding one by name."""

import dataclasses

from jaxlab.core.errors import InputError, meant
from jaxlab.data.download import data_folder
from jaxlab.data.text.sources import TextPairs, load_pairs, load_text
from jaxlab.data.text.tasks import TASKS

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

_HOLD_OUT_EVERY = 20  # lines


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Texts and what they are to be turned into.

    Attributes:
        name: As given on the command line.
        train: (source, target) to learn from.
        valid: To watch while training.
        test: To report.
        num_empty: Pairs that were left out of each, since a side of them is empty.
    """

    name: str
    train: TextPairs
    valid: TextPairs
    test: TextPairs
    num_empty: tuple[int, ...] = (0, 0, 0)

    def __str__(self) -> str:
        parts = f"{len(self.train)} + {len(self.valid)} + {len(self.test)}"
        out = f"; {' + '.join(map(str, self.num_empty))} left out, with an empty side"
        return (
            f"{self.name}: {parts} pairs (train, valid, test)"
            f"{out if any(self.num_empty) else ''}"
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
    and is trained on no more. Pairs with an empty side are left out, and counted.

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
    root = data_folder(data_dir)
    close = meant(name, (*EMBEDDED_PAIRS, "multi30k"))
    instead = f"one of {', '.join(EMBEDDED_PAIRS)}, which need no files{close}"
    train, valid, test = load_pairs(name, root, source, target, instead)
    kept = list(range(len(train)))
    if valid is None:
        valid, kept = _held_out(train, kept, _HOLD_OUT_EVERY - 1)
    if test is None:
        test, kept = _held_out(train, kept, _HOLD_OUT_EVERY // 2 - 1)
    parts = [[train[i] for i in kept], valid, test]
    whole = [[pair for pair in part if all(pair)] for part in parts]
    if not all(whole):
        raise InputError(
            f"pairs {name} have {len(train)} lines to train on, {len(valid)} to "
            f"validate with and {len(test)} to test with; give more, of which neither "
            "side is empty"
        )
    left_out = [len(part) - len(some) for part, some in zip(parts, whole, strict=True)]
    train, valid, test = whole
    return Pairs(name, train, valid, test, tuple(left_out))


def _held_out(
    train: TextPairs, kept: list[int], offset: int
) -> tuple[TextPairs, list[int]]:
    """Take every 20th line out of those to train on."""
    out = set(range(offset, len(train), _HOLD_OUT_EVERY))
    return [train[i] for i in sorted(out)], [i for i in kept if i not in out]


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
    root = data_folder(data_dir)
    text = load_text(name, root)
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    if first == second:
        raise InputError(
            f"text {name} has {len(text)} characters; it must have 20 or more, of "
            "which 5 % are to validate with"
        )
    return Text(name, text[:first], text[first:second], text[second:])
