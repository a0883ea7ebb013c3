"""Beam search over any autoregressive model; see `decoding` for its `NextToken`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Int, PyTree
from jaxlab.models.decode.decoding import (
    Decoded,
    NextToken,
    check_rows,
    repeat_rows,
)
from jaxlab.models.decode.rules import Adjust, DecodingRules

__all__ = ["Beams", "beam_search", "length_normalizer"]


class Beams(NamedTuple):
    """The best hypotheses of each row: n-best lists.

    Those that end with eos come first, then those cut off at `max_new`, either by
    score from the best down.

    Attributes:
        tokens: Generated tokens; eos is kept as the last one, pad follows.
        lengths: Tokens of each hypothesis, eos among them.
        log_probs: Sum of the log-probabilities of these tokens under the model.
        scores: `log_probs` over `length_normalizer` of `lengths`; -inf (with length 0)
            where fewer hypotheses have any probability.
    """

    tokens: Int[Array, "b beams t"]
    lengths: Int[Array, "b beams"]
    log_probs: Float[Array, "b beams"]
    scores: Float[Array, "b beams"]

    def best(self) -> Decoded:
        """Give the first hypothesis of each row."""
        return Decoded(self.tokens[:, 0], self.lengths[:, 0], self.log_probs[:, 0])


def length_normalizer(length: Array | int, alpha: float) -> Array:
    """Give ((5 + length) / 6) ** alpha, by which log-probabilities are divided.

    Above 0 `alpha` favours long hypotheses, below 0 short ones.

    References:
        Wu et al. 2016, "Google's Neural Machine Translation System",
        https://arxiv.org/abs/1609.08144, equation 14 (without coverage).
    """
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


class _Progress(NamedTuple):
    """Of `k` beams a row, and the `k` best hypotheses that have ended so far."""

    t: Array
    last: Array  # (b, k), tokens to feed
    state: Any  # rows (b * k)
    tokens: Array  # (b, k, max_new), alive
    log_probs: Array  # (b, k), alive; -inf where there is no such beam
    ended: Beams
    done: Array  # (b,): no alive beam can come into `ended` any more


def beam_search(
    step: NextToken,
    begin: Int[Array, " b"],
    state: PyTree,
    context: PyTree = None,
    *,
    beams: int,
    max_new: int,
    eos: int | Sequence[int],
    pad: int = 0,
    length_penalty: float = 0.6,
    min_new: int = 0,
    forbidden: Sequence[int] = (),
    adjust: Adjust | None = None,
) -> Beams:
    """Search for the sequences of highest score, `beams` prefixes at a time.

    Every step looks at the best `2 * beams` continuations (`(n + 1) * beams` where any
    of n tokens ends a row), of which `beams` always go on. One that ends is a
    hypothesis if it is among the best `beams` (so a single beam with `length_penalty` 0
    is `greedy`). A row is done once it has `beams` hypotheses and no prefix can become
    better than the worst of them; hypotheses cut off at `max_new` fill up what is
    missing.

    Args:
        step: The model; it is fed `b * beams` rows, a row's beams being neighbours.
        begin: The first token to feed: BOS, or the last of a prefilled prompt.
        state: What the step changes; its rows are repeated for the beams, and gathered
            once a step.
        context: What it only reads; its rows are repeated.
        beams: Hypotheses a row.
        max_new: Most tokens to generate, and columns of the result.
        eos: The token that ends a hypothesis, or several; it counts in |Y|.
        pad: What follows eos.
        length_penalty: Alpha of `length_normalizer`, of any sign; 0 compares sums of
            log-probabilities.
        min_new: Tokens before eos may come.
        forbidden: Tokens that never come, such as PAD and BOS.
        adjust: Changes the logits `(b * beams, v)`, given the number of tokens so far.

    Returns:
        `beams` hypotheses a row; `.best()` gives the first of each.

    Raises:
        InputError: As `greedy`, or if there are fewer sequences than `beams`.

    References:
        Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks",
        https://arxiv.org/abs/1409.3215, section 3.2; Wu et al. 2016.
    """
    (b,) = begin.shape
    check_rows(b, state=state, context=context)
    rules = DecodingRules(max_new, eos, pad, min_new, forbidden, adjust)
    rules.check()
    if beams < 1:
        raise InputError(f"beams {beams} is not at least 1")
    if not rules.ends:
        raise InputError("beam search needs an eos, the token that ends a hypothesis")
    width = (len(rules.ends) + 1) * beams
    context = repeat_rows(context, beams)

    def body(now: _Progress) -> _Progress:
        raw, state = step(now.last.reshape(-1), now.state, context)
        _check_beams(beams, raw.shape[-1], rules)
        t = now.t + 1
        logits, allowed = rules.logits(raw, now.t)
        log_probs, parents, last = _continue(logits, allowed, now.log_probs, width)
        tokens = lax.dynamic_update_slice_in_dim(
            _take(now.tokens, parents), last[:, :, None], now.t, axis=2
        )
        ends = rules.is_end(last)
        # A row that is done stays as it is, even where rounding makes scores equal.
        hypotheses = jnp.where(ends & ~now.done[:, None], log_probs, -jnp.inf)
        new = _score(tokens[:, :beams], hypotheses[:, :beams], t, length_penalty)
        ended = _merge(now.ended, new)
        log_probs, alive = lax.top_k(jnp.where(ends, -jnp.inf, log_probs), beams)
        # The best that a prefix can come to: it loses nothing more, and its length
        # is the one that divides most, at one end of what is left.
        shortest = jnp.maximum(t, min_new) + 1
        divisor = jnp.maximum(
            length_normalizer(shortest, length_penalty),
            length_normalizer(max_new, length_penalty),
        )
        return _Progress(
            t,
            _take(last, alive),
            _gather(state, _take(parents, alive)),
            _take(tokens, alive),
            log_probs,
            ended,
            now.done | (log_probs[:, 0] / divisor <= ended.scores[:, -1]),
        )

    def goes_on(now: _Progress) -> Array:
        return (now.t < max_new) & ~now.done.all()

    start = _start(begin, repeat_rows(state, beams), beams, rules)
    end = lax.while_loop(goes_on, body, start)
    return _fill(end, rules, length_penalty)


def _start(begin: Array, state: PyTree, beams: int, rules: DecodingRules) -> _Progress:
    shape = (len(begin), beams)
    tokens = jnp.full((*shape, rules.max_new), rules.pad, jnp.int32)
    none = jnp.full(shape, -jnp.inf, jnp.float32)
    return _Progress(
        jnp.int32(0),
        jnp.broadcast_to(begin.astype(jnp.int32)[:, None], shape),
        state,
        tokens,
        none.at[:, 0].set(0.0),  # all beams are the same prefix as yet
        Beams(tokens, jnp.zeros(shape, jnp.int32), none, none),
        jnp.zeros(len(begin), bool),
    )


def _continue(
    logits: Array, allowed: Array, prefixes: Array, count: int
) -> tuple[Array, Array, Array]:
    """Return log-probability, beam and token of the best `count` continuations."""
    b, beams = prefixes.shape
    width = min(count, logits.shape[-1])
    # Those of each beam first: many short selections are faster than few long ones,
    # and nothing of size (b, beams, v) is made beside the logits.
    best, tokens = lax.top_k(allowed, width)
    log_probs = best - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    # Where nothing may follow, that was inf - inf.
    log_probs = jnp.where(best == -jnp.inf, -jnp.inf, log_probs)
    total = prefixes[:, :, None] + log_probs.reshape(b, beams, width)
    total, index = lax.top_k(total.reshape(b, beams * width), min(count, beams * width))
    return total, index // width, _take(tokens.reshape(b, beams * width), index)


def _take(array: Array, index: Array) -> Array:
    """Take entries (b, i) along the second axis."""
    index = index.reshape(*index.shape, *(1,) * (array.ndim - 2))
    return jnp.take_along_axis(array, index, axis=1)


def _gather(state: PyTree, parents: Array) -> PyTree:
    """Give each beam the rows of the beam it continues."""
    b, beams = parents.shape
    if beams == 1:
        return state
    rows = (jnp.arange(b)[:, None] * beams + parents).reshape(-1)
    return jax.tree.map(lambda leaf: leaf.at[rows].get(mode="promise_in_bounds"), state)


def _score(tokens: Array, log_probs: Array, length: Array, alpha: float) -> Beams:
    lengths = jnp.broadcast_to(length, log_probs.shape)
    return Beams(
        tokens, lengths, log_probs, log_probs / length_normalizer(length, alpha)
    )


def _merge(ended: Beams, new: Beams) -> Beams:
    """Give the best of both, as many as there were; the older of equals first."""
    beams = ended.scores.shape[1]
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), ended, new)
    _, index = lax.top_k(both.scores, beams)
    return jax.tree.map(lambda a: _take(a, index), both)


def _fill(end: _Progress, rules: DecodingRules, alpha: float) -> Beams:
    """Put what was cut off at `max_new` where too few hypotheses ended."""
    beams = end.log_probs.shape[1]
    cut = _score(end.tokens, end.log_probs, jnp.int32(rules.max_new), alpha)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), end.ended, cut)
    count = (end.ended.scores > -jnp.inf).sum(axis=1, keepdims=True)
    place = lax.broadcasted_iota(jnp.int32, end.log_probs.shape, 1)
    index = jnp.where(place < count, place, beams + place - count)
    tokens, lengths, log_probs, scores = jax.tree.map(lambda a: _take(a, index), both)
    exists = scores > -jnp.inf
    return Beams(
        jnp.where(exists[:, :, None], tokens, rules.pad),
        jnp.where(exists, lengths, 0),
        log_probs,
        scores,
    )


def _check_beams(beams: int, v: int, rules: DecodingRules) -> None:
    """Refuse more beams than there are sequences."""
    others = v - len({*rules.forbidden, *rules.ends})
    num_ends = len({*rules.ends} - {*rules.forbidden})
    count = 0
    for length in range(rules.max_new + 1):  # before eos
        if length == rules.max_new:
            count += others**length
        elif length >= rules.min_new:
            count += num_ends * others**length
        if count >= beams:
            return
    raise InputError(
        f"beams {beams} are more than the {count} sequences of up to {rules.max_new} "
        f"tokens; use at most {count}"
    )
