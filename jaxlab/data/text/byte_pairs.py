"""Byte-level BPE (Sennrich et al. 2016, Radford et al. 2019), by `tokenizers`."""

import json
from typing import Any

__all__ = ["byte_level", "train_byte_pairs"]


def byte_level(model: Any) -> Any:
    """Return the library's tokenizer around a model, of bytes, without specials."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_byte_pairs(
    texts: list[str], size: int, min_count: int
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Learn which pairs of tokens to merge.

    Args:
        texts: To learn from.
        size: Tokens, the 256 bytes among them.
        min_count: Pairs that come less often are not merged.

    Returns:
        The tokens, and the pairs, first ones first.
    """
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size,
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
