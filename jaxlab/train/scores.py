"""Scores of what was predicted for the rows of a table."""

from collections.abc import Sequence

import numpy as np

__all__ = ["table_scores"]


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
