"""Cross-entropy of predicted tokens, smoothed or not, without counting padding."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Bool, Float, Int

__all__ = ["token_cross_entropy", "token_sums", "weighted_mean"]


def token_cross_entropy(
    logits: Float[Array, "*b v"], labels: Int[Array, "*b"], smoothing: float = 0.0
) -> Float[Array, "*b"]:
    r"""Give the cross-entropy of each token, in nats.

    With smoothing $\epsilon$ the target has $1 - \epsilon$ on the label and
    $\epsilon / V$ on every token, the label among them, as in torch (tensor2tensor
    spreads $\epsilon$ over the others alone and subtracts a constant). No one-hot array
    is made, and the gradient is no scatter.

    Args:
        logits: Unnormalised log-probabilities, float32.
        labels: Numbers below V.
        smoothing: $\epsilon$, in [0, 1).

    Raises:
        InputError: If the smoothing is out of range.

    References:
        Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7.
    """
    if not 0 <= smoothing < 1:
        raise InputError(f"label smoothing {smoothing} must lie in [0, 1)")
    target = (1 - smoothing) * _at_labels(logits, labels)
    if smoothing:
        target += smoothing * logits.mean(-1)
    # Summed before the subtraction: the targets add up to one.
    return jax.nn.logsumexp(logits, axis=-1) - target


@jax.custom_jvp
def _at_labels(logits: Array, labels: Array) -> Array:
    """Read one logit of each token: all others need not be looked at."""
    return jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]


@_at_labels.defjvp
def _at_labels_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Any]
) -> tuple[Array, Array]:
    """Multiply the tangents by ones at the labels, so that the transpose is no scatter.

    It fuses with the softmax in the gradient.
    """
    logits, labels = primals
    tokens = jax.lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1)
    is_label = tokens == labels[..., None]
    tangent = jnp.where(is_label, tangents[0], 0).sum(-1)
    return _at_labels(logits, labels), tangent


def weighted_mean(
    values: Float[Array, "*b"], weights: Float[Array, "*b"] | Bool[Array, "*b"]
) -> Float[Array, ""]:
    """Average over the tokens that count, at least one."""
    weights = weights.astype(values.dtype)
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1)


def token_sums(
    logits: Float[Array, "b t v"],
    labels: Int[Array, "b t"],
    weights: Float[Array, "b t"] | Bool[Array, "b t"],
) -> dict[str, Float[Array, " b"]]:
    """Sum over the tokens of each row that count, for exact means over a data set.

    Returns:
        `loss` (nats), `token_accuracy` (tokens that are the likeliest one) and `tokens`
        (their number); see `jaxlab.train.evaluate.token_means`.
    """
    weights = weights.astype(jnp.float32)
    losses = token_cross_entropy(logits, labels)
    hits = logits.argmax(-1) == labels
    values = {"loss": losses, "token_accuracy": hits, "tokens": jnp.ones_like(losses)}
    return {name: (value * weights).sum(1) for name, value in values.items()}
