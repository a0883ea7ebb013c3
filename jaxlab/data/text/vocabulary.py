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
import tempfile
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from jaxlab.core.errors import InputError

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
_WORD = re.compile(r"\w+|[^\w\s]")
_FORMAT = "jaxlab vocabulary 1"

VocabularyKind: TypeAlias = Literal["byte", "char", "word", "bpe"]
_SMALLEST = {"byte": 260, "char": 5, "word": 5, "bpe": 260}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens by id.

    `decode(encode(texts))` gives the texts back (lower-cased, if `lowercase`): for
    `byte` and `bpe` any, for `char` those of known characters. Words lose their
    spaces, and are joined by one.

    Attributes:
        kind: `byte` (of UTF-8), `char`, `word` (runs of letters and digits; any other
            character that is no space is a word too) or `bpe` (byte-level, so that
            nothing is unknown; Sennrich et al. 2016, Radford et al. 2019).
        tokens: The tokens from id 4 on; of `bpe`, and of `byte`, written in characters
            that stand for bytes.
        merges: Of `bpe`, the pairs of tokens that are merged, first ones first.
        lowercase: Whether texts are lower-cased before all else.
    """

    kind: VocabularyKind
    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()
    lowercase: bool = False

    def __len__(self) -> int:
        return _FIRST + len(self.tokens)

    def __str__(self) -> str:
        lower = ", lower case" if self.lowercase else ""
        return f"{len(self)} {self.kind} tokens{lower}"

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Give the ids of each text, without begin and end."""
        texts = [text.lower() if self.lowercase else text for text in _listed(texts)]
        if self.kind == "byte":
            return [[byte + _FIRST for byte in text.encode()] for text in texts]
        if self.kind == "bpe":
            found = self._bpe.encode_batch(texts, add_special_tokens=False)
            return [[number + _FIRST for number in one.ids] for one in found]
        ids, split = self._ids, _SPLITS[self.kind]
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
        content = {"format": _FORMAT, **dataclasses.asdict(self)}
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, ensure_ascii=False)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            InputError: If the file is absent, or no vocabulary.
        """
        try:
            content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT:
                raise ValueError("format")
            content["tokens"] = tuple(content["tokens"])
            content["merges"] = tuple(
                (left, right) for left, right in content["merges"]
            )
            found = cls(**content)
            _check(found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
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
        return _byte_level(models.BPE(vocab=ranks, merges=list(self.merges)))


_SPLITS: dict[str, Any] = {"char": list, "word": _WORD.findall}


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
    chosen = cast(VocabularyKind, kind)
    if kind == "byte":
        return Vocabulary(chosen, tuple(map(chr, range(256))), lowercase=lowercase)
    texts = [text.lower() if lowercase else text for text in _listed(texts)]
    if not any(texts):
        raise InputError(
            f"vocabulary {kind}: there is no text to learn it from; give some, or use "
            "byte"
        )
    if kind == "bpe":
        return Vocabulary(chosen, *_trained_bpe(texts, size, min_count), lowercase)
    tokens = _most_frequent(texts, kind, size, min_count)
    return Vocabulary(chosen, tokens, lowercase=lowercase)


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


def _byte_level(model: Any) -> Any:
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _trained_bpe(
    texts: list[str], size: int, min_count: int
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size - _FIRST,
        min_frequency=min_count,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    ids = tokenizer.get_vocab()
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return (
        tuple(sorted(ids, key=ids.__getitem__)),
        tuple((left, right) for left, right in merges),
    )


def _check(found: Vocabulary) -> None:
    """Raise ValueError if the fields do not fit together."""
    texts = [*found.tokens, *(part for pair in found.merges for part in pair)]
    if found.kind not in _SMALLEST or not isinstance(found.lowercase, bool):
        raise ValueError(f"kind {found.kind!r}, lowercase {found.lowercase!r}")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("tokens that are no texts")
    if len(set(found.tokens)) < len(found.tokens) or len(found) < _SMALLEST[found.kind]:
        raise ValueError(f"{len(found.tokens)} tokens, too few or not all different")
    if not {*found.tokens}.issuperset(texts):
        raise ValueError("merges of tokens that are none")
