"""Vocabularies: texts to token ids and back, by bytes, characters, words or BPE.

The first four ids of every vocabulary are special: padding, begin, end, unknown.
"""

import collections
import dataclasses
import functools
import json
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from jaxlab.core.errors import InputError, check_choice
from jaxlab.core.files.replaced import replaced
from jaxlab.core.pytree import fingerprint_json
from jaxlab.data.text.byte_pairs import byte_level, train_byte_pairs
from jaxlab.data.text.words import Normalization, normalize, split_words

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "UNK",
    "Vocabulary",
    "VocabularyKind",
    "train_vocabulary",
]

PAD, BOS, EOS, UNK = 0, 1, 2, 3
_SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
_FIRST = 4  # id of the first token that is text
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_FORMAT = "jaxlab vocabulary 2"
# Files of before: no normalisation, no checksum, and words that end at every mark.
_OLD_FORMAT = "jaxlab vocabulary 1"
_OLD_FIELDS = {"kind", "tokens", "merges", "lowercase"}
_OLD_WORD = re.compile(r"\w+|[^\w\s]")

VocabularyKind: TypeAlias = Literal["byte", "char", "word", "bpe"]
_SMALLEST = {"byte": 260, "char": 5, "word": 5, "bpe": 260}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens by id.

    `decode(encode(texts))` gives the texts back as `prepare` made them: for `byte` and
    `bpe` any, for `char` those of known characters. Words lose their spaces, and are
    joined by one.

    Attributes:
        kind: `byte` (of UTF-8), `char`, `word` (see `split_words`) or `bpe`
            (byte-level, so that nothing is unknown).
        tokens: The tokens from id 4 on; of `bpe`, and of `byte`, written in characters
            that stand for bytes.
        merges: Of `bpe`, the pairs of tokens that are merged, first ones first.
        lowercase: Whether texts are lower-cased before all else.
        normalization: How characters are written then, see `normalize`.
        cuts_marks: Whether words end at marks, as in files of the first version.
    """

    kind: VocabularyKind
    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()
    lowercase: bool = False
    normalization: Normalization = "NFC"
    cuts_marks: bool = False

    def __len__(self) -> int:
        return _FIRST + len(self.tokens)

    def __str__(self) -> str:
        lower = ", lower case" if self.lowercase else ""
        form = "as written" if self.normalization == "none" else self.normalization
        return f"{len(self)} {self.kind} tokens{lower}, {form}"

    def prepare(self, texts: Iterable[str]) -> list[str]:
        """Write texts as they are encoded: lower-cased and normalised, where asked."""
        return normalize(_listed(texts), self.normalization, lowercase=self.lowercase)

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Give the ids of each text, without begin and end."""
        texts = self.prepare(texts)
        if self.kind == "byte":
            return [[byte + _FIRST for byte in text.encode()] for text in texts]
        if self.kind == "bpe":
            found = self._bpe.encode_batch(texts, add_special_tokens=False)
            return [[number + _FIRST for number in one.ids] for one in found]
        ids, split = self._ids, _SPLITS[self.kind]
        split = _OLD_WORD.findall if self.cuts_marks else split
        return [[ids.get(token, UNK) for token in split(text)] for text in texts]

    def decode(self, ids: Any) -> list[str]:
        """Give the text of each row of ids.

        Padding, begin and end are dropped; an unknown token is shown as U+FFFD, and so
        are bytes that are no UTF-8.

        Args:
            ids: Rows of ids: lists, or an array `(b, t)`.

        Raises:
            InputError: If an id is not of this vocabulary.
        """
        # A JAX array is copied from its device once, not row by row.
        rows = np.asarray(ids) if hasattr(ids, "shape") else ids
        return [self._joined(self._checked(np.asarray(row, int))) for row in rows]

    def pieces(self, ids: Any) -> list[str]:
        """Give the text of each single id, for the labels of pictures.

        Args:
            ids: `(t,)`; special ones are written `<pad>`, `<bos>`, `<eos>`, `<unk>`.
        """
        return [
            _SPECIALS[number] if number < _FIRST else self._joined([number])
            for number in self._checked(np.asarray(ids, int))
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one JSON file; it is there whole or not at all."""
        path = pathlib.Path(path)
        fields = dataclasses.asdict(self)
        checksum = fingerprint_json(fields)
        content = {"format": _FORMAT, "checksum": checksum, **fields}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as part, part.open("w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            InputError: If the file is absent or damaged, or no vocabulary.
        """
        try:
            content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
            content = _current(content)
            content["tokens"] = tuple(content["tokens"])
            content["merges"] = tuple(
                (left, right) for left, right in content["merges"]
            )
            found = cls(**content)
            _check(found)
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(
                f"vocabulary {path} cannot be read ({error}); give a file that "
                "Vocabulary.save wrote, or train a new one"
            ) from None
        return found

    def _checked(self, row: np.ndarray) -> list[int]:
        row = row.reshape(-1)
        if row.size and not 0 <= row.min() <= row.max() < len(self):
            odd = row[(row < 0) | (row >= len(self))][0]
            raise InputError(
                f"id {odd} is none of the {len(self)} of this vocabulary; decode with "
                "the one that the model was trained with"
            )
        return row.tolist()

    def _joined(self, ids: list[int]) -> str:
        if self.kind == "byte":
            known = bytes(number - _FIRST for number in ids if number >= _FIRST)
            return known.decode(errors="replace")
        if self.kind == "bpe":
            return self._bpe.decode([n - _FIRST for n in ids if n >= _FIRST])
        shown = (
            _UNKNOWN if number == UNK else self.tokens[number - _FIRST]
            for number in ids
            if number >= UNK
        )
        return (" " if self.kind == "word" else "").join(shown)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: _FIRST + i for i, token in enumerate(self.tokens)}

    @functools.cached_property
    def _bpe(self) -> Any:
        """The library's tokenizer, which knows no special tokens: `<pad>` is text."""
        from tokenizers import models

        ranks = {token: i for i, token in enumerate(self.tokens)}
        return byte_level(models.BPE(vocab=ranks, merges=list(self.merges)))


_SPLITS: dict[str, Any] = {"char": list, "word": split_words}


def _listed(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError(f"{texts[:20]!r} must be a list of texts, not one text")
    return list(texts)


def train_vocabulary(
    texts: Iterable[str],
    kind: str,
    size: int = 0,
    *,
    lowercase: bool = False,
    normalization: str = "NFC",
    min_count: int = 1,
) -> Vocabulary:
    """Make a vocabulary of texts; the same texts give the same one.

    Args:
        texts: To learn from; not used by `byte`.
        kind: `byte`, `char`, `word` or `bpe`.
        size: The most tokens, the 4 special ones and, of `byte` and `bpe`, the 256
            bytes included; 0 (not for `bpe`): no limit. The more frequent stay, of
            equally frequent ones the first in the order of code points.
        lowercase: Lower-case texts first.
        normalization: Write characters in one way then, see `normalize`.
        min_count: Characters, words and pairs to merge that come less often are left
            out.

    Raises:
        InputError: If the kind is unknown, the size too small for it, or there is
            nothing to learn from.
    """
    if kind not in get_args(VocabularyKind):
        allowed = ", ".join(get_args(VocabularyKind))
        raise InputError(f"vocabulary {kind!r} must be one of {allowed}")
    if size < _SMALLEST[kind] and (size != 0 or kind == "bpe"):
        unlimited = "" if kind == "bpe" else ", or 0 for no limit"
        raise InputError(
            f"vocabulary size {size} is too small for {kind}: it must be at least "
            f"{_SMALLEST[kind]}{unlimited}"
        )
    if min_count < 1:
        raise InputError(f"min_count {min_count} must be 1 or more")
    check_choice("normalization", normalization, Normalization)
    form = cast(Normalization, normalization)
    make = functools.partial(
        Vocabulary,
        cast(VocabularyKind, kind),
        lowercase=lowercase,
        normalization=form,
    )
    if kind == "byte":
        return make(tuple(map(chr, range(256))))
    texts = normalize(_listed(texts), form, lowercase=lowercase)
    if not any(texts):
        raise InputError(
            f"vocabulary {kind}: there is no text to learn it from; give some, or use "
            "byte"
        )
    if kind == "bpe":
        return make(*train_byte_pairs(texts, size - _FIRST, min_count))
    return make(_most_frequent(texts, kind, size, min_count))


def _most_frequent(
    texts: list[str], kind: str, size: int, min_count: int
) -> tuple[str, ...]:
    counts: collections.Counter[str] = collections.Counter()
    for text in texts:
        counts.update(_SPLITS[kind](text))
    ranked = sorted(
        (token for token, count in counts.items() if count >= min_count),
        key=lambda token: (-counts[token], token),
    )
    if not ranked:
        raise InputError(
            f"vocabulary {kind}: no {kind} comes {min_count} times; lower min_count"
        )
    return tuple(ranked[: size - _FIRST] if size else ranked)


def _current(content: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a file of either format, or raise ValueError."""
    content = dict(content)
    found = content.pop("format", None)
    if found == _OLD_FORMAT:
        if content.keys() != _OLD_FIELDS:
            raise ValueError(f"fields {', '.join(content)}")
        is_words = content["kind"] == "word"
        return {**content, "normalization": "none", "cuts_marks": is_words}
    if found != _FORMAT:
        raise ValueError(f"format {str(found)[:40]!r}")
    if content.pop("checksum", None) != fingerprint_json(content):
        raise ValueError("its checksum is that of another content")
    return content


def _check(found: Vocabulary) -> None:
    """Raise ValueError if the fields do not fit together."""
    texts = [*found.tokens, *(part for pair in found.merges for part in pair)]
    if found.kind not in _SMALLEST or not isinstance(found.lowercase, bool):
        raise ValueError(f"kind {found.kind!r}, lowercase {found.lowercase!r}")
    check_choice("normalization", found.normalization, Normalization)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("tokens that are no texts")
    if len(set(found.tokens)) < len(found.tokens) or len(found) < _SMALLEST[found.kind]:
        raise ValueError(f"{len(found.tokens)} tokens, too few or not all different")
    if not {*found.tokens}.issuperset(texts):
        raise ValueError("merges of tokens that are none")
