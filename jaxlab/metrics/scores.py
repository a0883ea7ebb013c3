"""Scores of predictions: of the rows of a table, and of texts."""

from collections.abc import Sequence

import numpy as np

__all__ = ["table_scores", "text_scores"]


def table_scores(
    target: np.ndarray, predicted: np.ndarray, class_names: Sequence[str] = ()
) -> dict[str, float]:
    """Score predictions.

    Args:
        target: Numbers, or classes from 0.
        predicted: Numbers, `(n,)`; or of classes their probabilities, `(n, classes)`.
        class_names: Of classes; empty for numbers.

    Returns:
        Of numbers `rmse` and `mae` (in the target's unit) and `r2` (the share of the
        variance explained; 0 for the mean of the target, 1 at best). Of classes `loss`
        (cross-entropy in nats), `accuracy` (from 0 to 1) and, of two, `auc` (area under
        the ROC curve, ties count half; 0.5 at chance).
    """
    from sklearn import metrics  # takes a second to import

    if not class_names:
        found = {
            "rmse": metrics.root_mean_squared_error(target, predicted),
            "mae": metrics.mean_absolute_error(target, predicted),
        }
        if len(target) > 1:
            found["r2"] = metrics.r2_score(target, predicted)
    else:
        labels = range(len(class_names))
        found = {
            "loss": metrics.log_loss(target, predicted, labels=labels),
            "accuracy": metrics.accuracy_score(target, predicted.argmax(1)),
        }
        if len(class_names) == 2 and len(np.unique(target)) == 2:
            found["auc"] = metrics.roc_auc_score(target, predicted[:, 1])
    return {name: float(value) for name, value in found.items()}


def text_scores(
    predicted: Sequence[str], references: Sequence[str], *, lowercase: bool = False
) -> tuple[dict[str, float], str]:
    """Score texts that were generated.

    Args:
        predicted: Detokenised texts.
        references: One for each.
        lowercase: Compare without regard to case.

    Returns:
        `exact` (share of texts that are right as a whole), `bleu` (of words; where a
        reference has four or more) and `chrf` (of characters), both of the whole set
        and from 0 to 100; and sacrebleu's signature, without which BLEU means nothing.

    References:
        Post 2018, "A Call for Clarity in Reporting BLEU Scores",
        https://arxiv.org/abs/1804.08771.
    """
    from sacrebleu.metrics import BLEU, CHRF

    if lowercase:
        predicted = [text.lower() for text in predicted]
        references = [text.lower() for text in references]
    bleu, chrf = BLEU(lowercase=lowercase), CHRF(lowercase=lowercase)
    right = [a == b for a, b in zip(predicted, references, strict=True)]
    found, signature = {"exact": float(np.mean(right))}, ""
    if any(len(text.split()) >= 4 for text in references):
        found["bleu"] = bleu.corpus_score(predicted, [references]).score
        signature = str(bleu.get_signature())
    found["chrf"] = chrf.corpus_score(predicted, [references]).score
    return found, signature
