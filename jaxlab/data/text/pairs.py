"""Pairs of texts made ready for an encoder-decoder with one vocabulary."""

import dataclasses

from jaxlab.data.text.buckets import Buckets, bucket_pairs
from jaxlab.data.text.find import Pairs
from jaxlab.data.text.sequences import PairSource, pair_source
from jaxlab.data.text.vocabulary import Vocabulary, VocabularyKind, train_vocabulary

__all__ = ["EncodedPairs", "encode_pairs"]


@dataclasses.dataclass(frozen=True)
class EncodedPairs:
    """Pairs as ids.

    Attributes:
        texts: What they were.
        vocabulary: Of sources and targets, learned from the training pairs alone.
        train: In buckets by length.
        valid: Every pair, in order.
        test: Every pair, in order.
    """

    texts: Pairs
    vocabulary: Vocabulary
    train: Buckets
    valid: PairSource
    test: PairSource

    @property
    def sources(self) -> tuple[PairSource, ...]:
        """All pairs: those of each bucket, to validate with, and to test with."""
        return *(bucket.pairs for bucket in self.train.buckets), self.valid, self.test

    def __str__(self) -> str:
        return f"{self.texts}\n{self.vocabulary}; {self.train}"


def encode_pairs(
    texts: Pairs,
    kind: VocabularyKind,
    size: int = 0,
    *,
    lowercase: bool = False,
    max_len: int,
    batch_size: int,
    num_buckets: int = 4,
    multiple: int = 1,
) -> EncodedPairs:
    """Learn a vocabulary and turn all pairs to ids.

    Args:
        texts: The pairs.
        kind: See `train_vocabulary`, as `size` and `lowercase`.
        size: Tokens at most.
        lowercase: Lower-case all texts first.
        max_len: See `bucket_pairs`, as the other numbers.
        batch_size: Training pairs of a batch, on average.
        num_buckets: Shapes of batches.
        multiple: Batch sizes are multiples of this.
    """
    both = [text for pair in texts.train for text in pair]
    vocabulary = train_vocabulary(both, kind, size, lowercase=lowercase)

    def ids(pairs: list[tuple[str, str]]) -> list[list[list[int]]]:
        return [vocabulary.encode(side) for side in zip(*pairs, strict=True)]

    train = bucket_pairs(
        *ids(texts.train),
        max_len=max_len,
        batch_size=batch_size,
        num_buckets=num_buckets,
        multiple=multiple,
    )
    valid, test = (pair_source(*ids(pairs)) for pairs in (texts.valid, texts.test))
    return EncodedPairs(texts, vocabulary, train, valid, test)
