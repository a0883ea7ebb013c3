"""Cross-entropy of classes, from hard or soft labels."""

import jax
import jax.numpy as jnp
import optax

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float

__all__ = ["label_cross_entropy"]


def label_cross_entropy(
    logits: Float[Array, "b v"], labels: Array, smoothing: float = 0.0
) -> Float[Array, " b"]:
    r"""Return $-\sum_v q_v \log p_v$ of each row, with the labels' $q$ smoothed.

    Args:
        logits: Scores of the classes, before the softmax.
        labels: Numbers of the classes, int `(b,)`, or a distribution over them, float
            `(b, v)`, as mixtures of images have.
        smoothing: Share of each distribution that is spread over all classes (Szegedy
            et al. 2016, https://arxiv.org/abs/1512.00567), in [0, 1).

    Raises:
        InputError: If the smoothing is out of range, or a distribution does not have
            the shape of the logits.
    """
    if not 0 <= smoothing < 1:
        raise InputError(f"label smoothing {smoothing} must lie in [0, 1)")
    if jnp.issubdtype(labels.dtype, jnp.integer):
        if not smoothing:
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        labels = jax.nn.one_hot(labels, logits.shape[-1])
    if labels.shape != logits.shape:
        raise InputError(
            f"soft labels of shape {labels.shape} do not fit logits of {logits.shape}"
        )
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(labels, smoothing))
