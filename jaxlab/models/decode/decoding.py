"""Decoding of autoregressive models: greedy, sampled, guided; see also `beam_search`.

A model is a `NextToken`: it is fed one token a row, and gives the logits of the next.
All loops run on the device (`lax.while_loop`) and give fixed shapes. Call them under
`jax.jit`, parameters being an argument:

    @jax.jit
    def translate(params, source):
        context, state = prepare(params, source)
        step = functools.partial(apply_step, params)
        begin = jnp.full(len(source), BOS)
        return greedy(step, begin, state, context, max_new=50, eos=EOS)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Int, Key, PyTree
from jaxlab.models.decode.rules import Adjust, DecodingRules, Ends

__all__ = [
    "Decoded",
    "NextToken",
    "check_rows",
    "filter_logits",
    "greedy",
    "guided",
    "pair_rows",
    "repeat_rows",
    "sample",
]

# (token (b,), state, context) -> (logits (b, v), state)
NextToken: TypeAlias = Callable[[Array, Any, Any], tuple[Array, Any]]


class Decoded(NamedTuple):
    """What was generated.

    Attributes:
        tokens: Generated tokens; eos is kept as the last one, pad follows.
        lengths: Tokens of each row, eos among them.
        log_probs: Sum of the log-probabilities of these tokens under the model: before
            temperature, filters and `forbidden`, after `adjust`.
    """

    tokens: Int[Array, "b t"]
    lengths: Int[Array, " b"]
    log_probs: Float[Array, " b"]


def greedy(
    step: NextToken,
    begin: Int[Array, " b"],
    state: PyTree,
    context: PyTree = None,
    *,
    max_new: int,
    eos: Ends = None,
    pad: int = 0,
    min_new: int = 0,
    forbidden: Sequence[int] = (),
    adjust: Adjust | None = None,
) -> Decoded:
    """Take the likeliest token at every step (the first of equals).

    Args:
        step: The model; its logits may be of half precision.
        begin: The first token to feed: BOS, or the last of a prefilled prompt.
        state: What the step changes (caches, carries, positions); all leaves have rows
            first. Rows that ended go on changing theirs, which nobody reads.
        context: What it only reads (memory of the encoder, masks), rows first.
        max_new: Most tokens to generate, and columns of the result.
        eos: The token that ends a row, or several of which any does; without one all
            rows have `max_new` tokens.
        pad: What follows eos.
        min_new: Tokens before eos may come.
        forbidden: Tokens that never come, such as PAD and BOS.
        adjust: Changes the logits `(b, v)`, given the number of tokens so far.

    Returns:
        Tokens `(b, max_new)`, lengths and log-probabilities. A row's result does not
        depend on when the others end.

    Raises:
        InputError: If `max_new`, `min_new` or a token is out of range, or a leaf lacks
            its row axis.
    """
    rules = DecodingRules(max_new, eos, pad, min_new, forbidden, adjust)
    return _decode(lambda a, t: _likeliest(a), step, begin, state, context, rules)


def sample(
    step: NextToken,
    begin: Int[Array, " b"],
    state: PyTree,
    context: PyTree = None,
    *,
    key: Key[Array, ""],
    max_new: int,
    eos: Ends = None,
    pad: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_new: int = 0,
    forbidden: Sequence[int] = (),
    adjust: Adjust | None = None,
) -> Decoded:
    """Draw every token from the distribution of the model, filtered.

    Token t is drawn with `fold_in(key, t)` by `filter_logits(logits, temperature,
    top_k, top_p)`; the other arguments are those of `greedy`. For several samples of
    one prompt repeat its rows (`repeat_rows`).

    Returns:
        As `greedy`; `log_probs` are the model's, before temperature and filters.

    Raises:
        InputError: As `greedy` and `filter_logits`.
    """

    def draw(logits: Array, t: Array) -> Array:
        logits = filter_logits(logits, temperature, top_k, top_p)
        noise = jax.random.gumbel(jax.random.fold_in(key, t), logits.shape)
        # What `jax.random.categorical` does; once, and not in both of the reductions.
        return _likeliest(lax.optimization_barrier(logits + noise))

    rules = DecodingRules(max_new, eos, pad, min_new, forbidden, adjust)
    return _decode(draw, step, begin, state, context, rules)


class _Progress(NamedTuple):
    t: Array
    last: Array  # tokens to feed
    state: Any
    decoded: Decoded
    finished: Array


def _decode(
    choose: Callable[[Array, Array], Array],
    step: NextToken,
    begin: Array,
    state: PyTree,
    context: PyTree,
    rules: DecodingRules,
) -> Decoded:
    """Generate until every row ended; `choose` picks tokens `(b,)` of logits at t."""
    (b,) = begin.shape
    check_rows(b, state=state, context=context)
    rules.check()

    def body(now: _Progress) -> _Progress:
        t, so_far = now.t, now.decoded
        raw, state = step(now.last, now.state, context)
        logits, allowed = rules.logits(raw, t)
        token = choose(allowed, t)
        chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
        log_probs = chosen - jax.nn.logsumexp(logits, axis=-1)
        token = jnp.where(now.finished, rules.pad, token)
        ends = ~now.finished & rules.is_end(token)
        decoded = Decoded(
            lax.dynamic_update_slice_in_dim(so_far.tokens, token[:, None], t, axis=1),
            jnp.where(ends, t + 1, so_far.lengths),
            so_far.log_probs + jnp.where(now.finished, 0.0, log_probs),
        )
        return _Progress(t + 1, token, state, decoded, now.finished | ends)

    def goes_on(now: _Progress) -> Array:
        return (now.t < rules.max_new) & ~now.finished.all()

    empty = Decoded(
        jnp.full((b, rules.max_new), rules.pad, jnp.int32),
        jnp.full(b, rules.max_new, jnp.int32),
        jnp.zeros(b, jnp.float32),
    )
    begin = begin.astype(jnp.int32)
    start = _Progress(jnp.int32(0), begin, state, empty, jnp.zeros(b, bool))
    return lax.while_loop(goes_on, body, start).decoded


def filter_logits(
    logits: Float[Array, "b v"],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Float[Array, "b v"]:
    """Divide logits by a temperature, then keep the top k, then the nucleus of those.

    Args:
        logits: Of the next token.
        temperature: Below 1 the likely get likelier; 0 keeps the likeliest alone.
        top_k: Keep the k likeliest tokens and all that equal the last of them; 0 keeps
            all.
        top_p: Keep the fewest tokens, the likeliest first, that have this probability
            together: the token that crosses it is kept. Among equals the later ids
            are kept first.

    Returns:
        Logits in which what is not kept is -inf.

    Raises:
        InputError: If `temperature` or `top_k` is negative, or `top_p` not in (0, 1].

    References:
        Fan et al. 2018, "Hierarchical Neural Story Generation" (top k),
        https://arxiv.org/abs/1805.04833; Holtzman et al. 2020, "The Curious Case of
        Neural Text Degeneration" (nucleus), https://arxiv.org/abs/1904.09751.
    """
    if not temperature >= 0:
        raise InputError(f"temperature {temperature} is not 0 (greedy) or above")
    if top_k < 0:
        raise InputError(f"top_k {top_k} is not 0 (all tokens) or above")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p {top_p} is not in (0, 1]; 1 keeps all tokens")
    if temperature == 0:
        ids = lax.broadcasted_iota(jnp.int32, logits.shape, 1)
        return jnp.where(ids == _likeliest(logits)[:, None], logits, -jnp.inf)
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        smallest = lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    if top_p < 1:
        kept = _nucleus(jax.nn.softmax(logits.astype(jnp.float32), axis=-1), top_p)
        logits = jnp.where(kept, logits, -jnp.inf)
    return logits


def _nucleus(probs: Array, top_p: float) -> Array:
    """Tell which tokens are kept.

    The smallest probability of them is found by halving the range of floats, which
    are ordered as their bits are: 30 sums, far cheaper than to sort a vocabulary.
    """
    bits = lax.bitcast_convert_type(probs, jnp.int32)
    spare = 1 - top_p

    def below(least: Array) -> Array:
        return jnp.where(bits < least, probs, 0.0).sum(axis=-1, keepdims=True)

    def halve(_: Array, span: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = span
        middle = (low + high) // 2
        fits = below(middle) <= spare  # all below can be dropped
        return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

    over = bits.max(axis=-1, keepdims=True) + 1
    least, _ = lax.fori_loop(0, 30, halve, (jnp.zeros_like(over), over))
    equal = bits == least
    one = lax.bitcast_convert_type(least, jnp.float32)
    dropped = jnp.floor((spare - below(least)) / one)
    dropped = jnp.minimum(dropped, equal.sum(axis=-1, keepdims=True) - 1)
    return (bits > least) | (equal & (jnp.cumsum(equal, axis=-1) > dropped))


def _likeliest(logits: Array) -> Array:
    """Argmax as two plain reductions, which XLA vectorises on a CPU."""
    v = logits.shape[-1]
    ids = lax.broadcasted_iota(jnp.int32, logits.shape, 1)
    largest = logits.max(axis=-1, keepdims=True)
    # Of NaN alone there is no largest; the last token keeps ids in the vocabulary.
    return jnp.where(logits == largest, ids, v - 1).min(axis=-1)


def check_rows(b: int, **trees: PyTree) -> None:
    """Refuse trees of which a leaf does not have b rows.

    Raises:
        InputError: Naming the leaf.
    """
    for path, leaf in jax.tree.leaves_with_path(trees):
        if jnp.shape(leaf)[:1] != (b,):
            raise InputError(
                f"{jax.tree_util.keystr(path, simple=True, separator='/')} has the "
                f"shape {jnp.shape(leaf)}; its first axis must be the {b} rows"
            )


def guided(step: NextToken, scale: float) -> NextToken:
    """Make the step of classifier-free guidance, `uncond + scale (cond - uncond)`.

    State and context are those of the conditional and the unconditional rows together,
    as `pair_rows` makes them; the model is called once for both. Scale 1 is the
    conditional model, 0 the unconditional one, above 1 the condition counts more.
    `log_probs` are those of the guided logits. Greedy, samples and beams work
    unchanged:

        step = guided(step, 3.0)
        sample(step, begin, pair_rows(state, empty_state), ...)

    References:
        Ho & Salimans 2022, "Classifier-Free Diffusion Guidance", equation 6 with
        scale = 1 + w, https://arxiv.org/abs/2207.12598.
    """

    def both(token: Array, state: PyTree, context: PyTree) -> tuple[Array, PyTree]:
        # (b, 2, ...) read as (2b, ...): no copy, so caches stay where they are.
        flat_state, flat_context = (
            jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)
            for tree in (state, context)
        )
        logits, flat_state = step(jnp.repeat(token, 2), flat_state, flat_context)
        logits = logits.astype(jnp.float32).reshape(-1, 2, logits.shape[-1])
        cond, uncond = logits[:, 0], logits[:, 1]
        mixed = uncond + scale * (cond - uncond)
        # What the model forbids by -inf would be inf - inf.
        mixed = jnp.where(jnp.isfinite(cond) & jnp.isfinite(uncond), mixed, cond)
        return mixed, jax.tree.map(
            lambda leaf: leaf.reshape(-1, 2, *leaf.shape[1:]), flat_state
        )

    return both


def pair_rows(conditional: PyTree, unconditional: PyTree) -> PyTree:
    """Join states (or contexts) for `guided`: leaves (b, ...) become (b, 2, ...)."""
    return jax.tree.map(
        lambda *leaves: jnp.stack(leaves, axis=1), conditional, unconditional
    )


def repeat_rows(tree: PyTree, count: int) -> PyTree:
    """Repeat each row, so that a row's copies are neighbours."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), tree)
