"""Pairs of texts made ready for an encoder-decoder with one vocabulary."""

import dataclasses

from jaxlab.data.text.buckets import Buckets, bucket_pairs
from jaxlab.data.text.find import Pairs
from jaxlab.data.text.sources import TextPairs
from jaxlab.data.text.vocabulary import Vocabulary, VocabularyKind, train_vocabulary
from jaxlab.data.text.words import Normalization

__all__ = ["EncodedPairs", "encode_pairs"]


@dataclasses.dataclass(frozen=True)
class EncodedPairs:
    """Pairs as ids.

    Attributes:
        texts: What they were.
        vocabulary: Of sources and targets, learned from the training pairs alone.
        train: In buckets by length, without pairs longer than `max_len`.
        valid: The same.
        test: In buckets by length, every pair, cut at `max_len`.
        max_len: Tokens a side, the end included.
    """

    texts: Pairs
    vocabulary: Vocabulary
    train: Buckets
    valid: Buckets
    test: Buckets
    max_len: int

    def __str__(self) -> str:
        lines = [str(self.texts), f"{self.vocabulary}; {self.train}"]
        if self.valid.num_dropped or self.test.num_cut:
            lines.append(
                f"over {self.max_len} tokens a side: {self.valid.num_dropped} valid "
                f"pairs left out, {self.test.num_cut} test pairs cut (--max-len)"
            )
        return "\n".join(lines)

    @property
    def sizes(self) -> dict[str, int]:
        """Pairs by set."""
        sets = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: len(buckets) for name, buckets in sets.items()}


def encode_pairs(
    texts: Pairs,
    kind: VocabularyKind,
    size: int = 0,
    *,
    lowercase: bool = False,
    normalization: Normalization = "NFC",
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
        normalization: Unicode form that all texts are brought to then.
        max_len: See `bucket_pairs`, as the other numbers.
        batch_size: Training pairs of a batch, on average; to validate and test, 256 and
            128.
        num_buckets: Shapes of batches.
        multiple: Batch sizes are multiples of this.
    """
    both = [text for pair in texts.train for text in pair]
    vocabulary = train_vocabulary(
        both, kind, size, lowercase=lowercase, normalization=normalization
    )

    def buckets(pairs: TextPairs, batch_size: int, cut: bool = False) -> Buckets:
        return bucket_pairs(
            *(vocabulary.encode(side) for side in zip(*pairs, strict=True)),
            max_len=max_len,
            batch_size=batch_size,
            num_buckets=num_buckets,
            multiple=multiple,
            cut=cut,
        )

    return EncodedPairs(
        texts,
        vocabulary,
        train=buckets(texts.train, batch_size),
        valid=buckets(texts.valid, 256),
        test=buckets(texts.test, 128, cut=True),
        max_len=max_len,
    )
