"""Sequences of token ids as padded arrays: pairs of them, and windows of a text."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.data.text.vocabulary import BOS, EOS, PAD

__all__ = ["PairSource", "TokenWindows", "pair_source"]


@dataclasses.dataclass(frozen=True)
class PairSource:
    """Pairs of sequences, padded to one width each; a `Source`.

    Attributes:
        source: int32, `(n, s)`: tokens, `EOS`, then `PAD`.
        target: int32, `(n, t + 1)`: `BOS`, tokens, `EOS`, then `PAD`. A model reads
            `target[:, :-1]` and predicts `target[:, 1:]` where that is not `PAD`.
    """

    source: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Read pairs by number: `{"source": (b, s), "target": (b, t + 1)}`."""
        return {"source": self.source[index], "target": self.target[index]}

    @property
    def num_tokens(self) -> int:
        """Tokens of sources and targets, begin and end included, padding not."""
        return int((self.source != PAD).sum() + (self.target != PAD).sum())

    @property
    def padding_rate(self) -> float:
        """Share of the two arrays that is padding."""
        return 1 - self.num_tokens / (self.source.size + self.target.size)


def pair_source(
    source_ids: Sequence[Sequence[int]], target_ids: Sequence[Sequence[int]]
) -> PairSource:
    """Add begin and end to pairs of ids, and pad all to the longest.

    Keeps every pair, in order: what an evaluation needs.

    Raises:
        InputError: If there are not as many targets as sources, or none.
    """
    if len(source_ids) != len(target_ids) or not len(source_ids):
        raise InputError(
            f"{len(source_ids)} sources and {len(target_ids)} targets are no pairs; "
            "there must be as many of both, and at least one"
        )
    return PairSource(_padded(source_ids, []), _padded(target_ids, [BOS]))


def _padded(rows: Sequence[Sequence[int]], begin: list[int]) -> np.ndarray:
    lengths = np.array([len(row) for row in rows]) + len(begin) + 1
    padded = np.full((len(rows), lengths.max()), PAD, np.int32)
    tokens = [token for row in rows for token in (*begin, *row, EOS)]
    # True at the tokens of each row: filled row by row, as they are listed.
    padded[np.arange(lengths.max()) < lengths[:, None]] = tokens
    return padded


@dataclasses.dataclass(frozen=True)
class TokenWindows:
    """Windows of one long text, for language models; a `Source`.

    Row i holds `tokens[i * stride : i * stride + length + 1]`: a model reads all but
    the last token and predicts all but the first.

    Attributes:
        tokens: Integers, `(n,)`, none of them `PAD`.
        length: Tokens that are predicted a window, t.
        stride: From the begin of a window to that of the next, at most `length` where
            no token is to be left out; 1 gives every window there is, which is meant
            for `streamed_batches`.
        is_complete: False, to train: full windows only, so that up to `stride` tokens
            at the end are left out. True, to evaluate: the last window is padded, and
            rows bring `weights`, such that every token but the first has weight 1
            exactly once. With a stride below the length each but the first window
            predicts only its last `stride` tokens, seeing `length - stride` before.
    """

    tokens: np.ndarray
    length: int
    stride: int
    is_complete: bool = False

    def __post_init__(self) -> None:
        if self.length < 1 or self.stride < 1:
            raise InputError(
                f"windows of length {self.length} and stride {self.stride}: both must "
                "be at least 1"
            )
        if self.is_complete and self.stride > self.length:
            raise InputError(
                f"stride {self.stride} leaves out tokens between windows of length "
                f"{self.length}; to evaluate all, it must be at most the length"
            )
        needed = 2 if self.is_complete else self.length + 1
        if len(self.tokens) < needed:
            raise InputError(
                f"a text of {len(self.tokens)} tokens is too short for windows of "
                f"length {self.length}, which take {needed}; give more text or a "
                "smaller length"
            )

    def __len__(self) -> int:
        beyond = len(self.tokens) - 1 - self.length
        if self.is_complete:
            return 1 + max(-(-beyond // self.stride), 0)
        return 1 + beyond // self.stride

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Read windows by number.

        Returns:
            `{"tokens": int32 (b, length + 1)}`; if `is_complete` also `{"weights":
            float32 (b, length)}`, of the predicted tokens.
        """
        index = np.asarray(index)
        place = index[:, None] * self.stride + np.arange(self.length + 1)
        is_inside = place < len(self.tokens)
        tokens = self.tokens[np.minimum(place, len(self.tokens) - 1)]
        rows = {"tokens": np.where(is_inside, tokens, PAD).astype(np.int32)}
        if self.is_complete:
            is_new = np.arange(self.length) >= self.length - self.stride
            is_first = (index == 0)[:, None]
            rows["weights"] = (is_inside[:, 1:] & (is_new | is_first)).astype(
                np.float32
            )
        return rows
