"""The end of a run that translates: scores, examples, and a picture of attention."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np

from jaxlab.core.typing import Array
from jaxlab.data.text.pairs import EncodedPairs
from jaxlab.data.text.vocabulary import BOS, EOS, PAD
from jaxlab.data.text.words import normalize
from jaxlab.metrics.scores import text_scores
from jaxlab.plots.text import attention_maps
from jaxlab.runs.run_folder import RunFolder

__all__ = ["Report", "report_translations"]

# (source (b, s), targets (b, t)) -> weights (b, t, s); see `models.translation`.
Look: TypeAlias = Callable[[Array, Array], Array | None]


_NUM_MAPS = 4  # pairs whose attention is drawn
_NUM_SAMPLES, _NUM_PRINTED = 20, 3


class Report(NamedTuple):
    """Scores, and what else belongs in the summary."""

    scores: dict[str, float]
    facts: dict[str, Any]


def report_translations(
    run: RunFolder,
    data: EncodedPairs,
    tokens: np.ndarray,
    look: Look,
    facts: Mapping[str, Any],
    lowercase: bool = False,
) -> Report:
    """Score the translations of the test set, and show some of them.

    Writes `translations.txt` (one line a pair), the summary and, where the network has
    attention, `attention.png` to the run folder.

    Args:
        run: The run.
        data: Its pairs.
        tokens: `(n, t)`: what was generated for each test pair.
        look: Gives weights of attention for sources and the decoder's inputs.
        facts: What else belongs in the summary, such as `Fitted.facts`.
        lowercase: Whether case does not count.

    Returns:
        The scores; as facts, beside the given ones, the signature of BLEU and some
        samples.
    """
    texts = data.vocabulary.decode(tokens)
    sources, references = zip(*data.texts.test, strict=True)
    # What is generated is written in the vocabulary's way; the texts may not be.
    references = tuple(normalize(references, data.vocabulary.normalization))
    scores, signature = text_scores(texts, references, lowercase=lowercase)
    run.write_text(
        "translations.txt", "".join(f"{_one_line(text)}\n" for text in texts)
    )
    samples = [
        dict(zip(("source", "output", "reference"), row, strict=True))
        for row in zip(sources, texts, references, strict=True)
    ][:_NUM_SAMPLES]
    for sample in samples[:_NUM_PRINTED]:
        run.say("\n".join(f"{name:<12} {text}" for name, text in sample.items()))
    facts = {**facts, "samples": samples}
    if signature:
        facts["bleu_signature"] = signature
    run.write_summary(scores, facts)
    first = np.arange(min(_NUM_MAPS, len(tokens)))
    source, target = data.test.rows(first)["source"], tokens[first]
    read = np.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    weights = look(jnp.asarray(source), jnp.asarray(read))
    if weights is not None:
        pieces = [
            [data.vocabulary.pieces(_until_end(row)) for row in rows]
            for rows in (source, target)
        ]
        attention_maps(run.path, np.asarray(weights), *pieces)
    return Report(scores, facts)


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _until_end(row: np.ndarray) -> np.ndarray:
    """Cut padding off; the end stays."""
    ends = np.flatnonzero((row == EOS) | (row == PAD))
    if not len(ends):
        return row
    return row[: ends[0] + (row[ends[0]] == EOS)]
