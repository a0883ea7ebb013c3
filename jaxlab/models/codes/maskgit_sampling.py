"""Codes drawn from a `MaskGIT`, many at a time; to be called under `jax.jit`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Range, check_number
from jaxlab.core.typing import Array, Bool, Float, Int, Key, Params
from jaxlab.losses.tokens import token_cross_entropy
from jaxlab.models.codes.code_tokens import guide, number_tokens
from jaxlab.models.codes.maskgit import MaskGIT
from jaxlab.models.decode.decoding import filter_logits

__all__ = ["masked_counts", "sample_masked"]


def masked_counts(unknown: np.ndarray | int, steps: int) -> np.ndarray:
    r"""Return how many codes are masked still after each step.

    After a share $r$ of the steps $\lfloor n \cos(\pi r / 2) \rfloor$ of $n$, but at
    least one fewer than before, and at least one until the last step, which leaves
    none.

    Args:
        unknown: Codes that are masked at first, $n$; any shape.
        steps: Steps.

    Returns:
        Counts, steps first.

    Raises:
        InputError: If there is no step.

    Examples:
        >>> masked_counts(64, 8).tolist()
        [62, 59, 53, 45, 35, 24, 12, 0]
    """
    check_number("steps", steps, Range(1), is_whole=True)
    unknown = np.asarray(unknown)
    # In float64: 64 cos(pi / 3) is 32, which float32 may round down to 31.
    shares = np.cos(np.pi / 2 * np.arange(1, steps + 1) / steps)
    left, counts = unknown, []
    for share in shares:
        fewer = np.maximum(1, np.minimum(left - 1, np.floor(unknown * share)))
        left = np.minimum(left, fewer)  # where nothing is masked, nothing is left
        counts.append(left)
    return np.stack([*counts[:-1], np.zeros_like(left)]).astype(np.int32)


def sample_masked(
    network: MaskGIT,
    params: Params,
    labels: Int[Array, " b"],
    codes: Int[Array, "b t"] | None = None,
    known: Bool[Array, "b t"] | None = None,
    *,
    key: Key[Array, ""],
    steps: int = 8,
    guidance: float = 1.0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    choice_temperature: float = 4.5,
) -> Int[Array, "b t"]:
    """Draw the codes of pictures in a fixed number of steps.

    Each step draws all codes that are masked, and keeps those of the highest
    confidence: their log-probability, plus Gumbel noise that fades out linearly. The
    others are masked again, as many as `masked_counts` says. A code once kept stays.

    Args:
        network: The prior.
        params: The network's parameters.
        labels: Classes, or `network.num_classes` for none.
        codes: Pictures of which a part is known; None: nothing is.
        known: Which part; it stays. Given if `codes` are.
        key: Randomness; step t takes `fold_in(key, t)`.
        steps: Calls of the network; 8 to 16 are usual.
        guidance: Scale of classifier-free guidance: 1 samples by class, 0 as if there
            were none, above 1 more of what tells the class.
        temperature: See `filter_logits`; confidence is of the logits before it.
        top_k: See `filter_logits`.
        top_p: See `filter_logits`.
        choice_temperature: Scale of the noise before the first step.

    Returns:
        All codes of each picture. Those drawn from logits that are no numbers, as
        those of a label out of range, are -1, which is no code.

    Raises:
        InputError: If a label or code is out of range, there is no step, `guidance` or
            `choice_temperature` is negative, `codes` come without `known` or in another
            shape, or as `filter_logits`.

    References:
        Chang et al. 2022, https://arxiv.org/abs/2202.04200, section 3.2.
    """
    check_number("guidance", guidance, Range(0))
    check_number("choice_temperature", choice_temperature, Range(0))
    start, known = _start(network, len(labels), codes, known)
    number_tokens(labels, network.num_classes + 1, 0, "label")  # known here alone
    table = jnp.asarray(masked_counts(np.arange(network.length + 1), steps))
    counts = jnp.take(table, (~known).sum(axis=1), axis=1)  # (steps, b)

    def call(*inputs: Array) -> Any:
        return network.apply({"params": params}, *inputs)

    def look(codes: Array, masked: Array) -> Float[Array, "b t v"]:
        if guidance == 1:
            return call(codes, masked, labels)
        nothing = jnp.full_like(labels, network.num_classes)
        both = jnp.concatenate([labels, nothing])
        twice = (jnp.concatenate([array, array]) for array in (codes, masked))
        return guide(call(*twice, both), guidance)

    def draw(now: tuple, step: Array) -> tuple[tuple, None]:
        codes, masked, is_wrong = now
        logits = look(codes, masked)
        code_key, choice_key = jax.random.split(jax.random.fold_in(key, step))
        flat = logits.reshape(-1, network.num_codes)
        kept = filter_logits(flat, temperature, top_k, top_p)
        drawn = jax.random.categorical(code_key, kept).reshape(codes.shape)
        codes = jnp.where(masked, drawn, codes)
        log_probs = -token_cross_entropy(logits, codes)
        scale = choice_temperature * (1 - (step + 1) / steps)
        noisy = log_probs + scale * jax.random.gumbel(choice_key, codes.shape)
        confidence = jnp.where(masked, noisy, jnp.inf)
        place = confidence.argsort(axis=1).argsort(axis=1)
        masked = masked & (place < counts[step][:, None])
        return (codes, masked, is_wrong | jnp.isnan(log_probs).any(axis=1)), None

    now = start, ~known, jnp.zeros(len(labels), bool)
    (drawn, _, is_wrong), _ = jax.lax.scan(draw, now, jnp.arange(steps))
    return jnp.where(is_wrong[:, None] & ~known, -1, drawn)


def _start(
    network: MaskGIT, rows: int, codes: Array | None, known: Array | None
) -> tuple[Int[Array, "b t"], Bool[Array, "b t"]]:
    """Return the codes to begin with, and which of them are known."""
    shape = (rows, network.length)
    if codes is None or known is None:
        if codes is not known:
            raise InputError("codes and known belong together; give both, or neither")
        return jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)
    if codes.shape != shape or known.shape != shape:
        raise InputError(
            f"codes of {codes.shape} and known of {known.shape} must be of {shape}: a "
            "row a label, and as many codes as a picture of the network has"
        )
    start = number_tokens(jnp.where(known, codes, 0), network.num_codes, 0, "code")
    return start.astype(jnp.int32), known
