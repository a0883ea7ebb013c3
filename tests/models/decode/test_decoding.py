"""Decoding, with tables and small recurrences as models."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.models.decode.decoding import (
    filter_logits,
    greedy,
    guided,
    pair_rows,
    repeat_rows,
    sample,
)

# Sums of a few float32 numbers, in another order.
ORDER_OF_SUMS = 1e-5
# Frequencies of 40,000 draws: a standard deviation is .0025 at most, and this is four.
FREQUENCY = 1e-2
EOS = 2


def table_step(token, state, context):
    """Give logits by the last two tokens, from each row's own table (v, v, v)."""
    rows = jnp.arange(len(token))
    logits = context[rows, state["previous"], token]
    return logits, {"previous": token, "position": state["position"] + 1}


def start_state(b):
    return {"previous": jnp.ones(b, jnp.int32), "position": jnp.zeros(b, jnp.int32)}


def naive_greedy(table, max_new, eos, banned=lambda t: ()):
    """Follow one row's table token by token."""
    previous, token, tokens, total = 1, 1, [], 0.0
    for t in range(max_new):
        logits = table[previous, token].astype(np.float64)
        log_probs = logits - np.log(np.exp(logits).sum())
        order = [i for i in np.argsort(-logits) if i not in banned(t)]
        previous, token = token, int(order[0])
        tokens.append(token)
        total += log_probs[token]
        if token in (eos if isinstance(eos, tuple) else (eos,)):
            break
    return tokens, total


@pytest.fixture
def tables(rng):
    """Give 30 tables of four tokens, one a row."""
    return jnp.asarray(2 * rng.normal(size=(30, 4, 4, 4)), jnp.float32)


def run(method, tables, step=table_step, **options):
    begin = jnp.ones(len(tables), jnp.int32)

    @jax.jit
    def decode(tables):
        return method(step, begin, start_state(len(tables)), tables, **options)

    return jax.tree.map(np.asarray, decode(tables))


def assert_rows_are(decoded, expected, pad=0):
    for row, (tokens, log_prob) in enumerate(expected):
        n = len(tokens)
        assert decoded.lengths[row] == n
        assert decoded.tokens[row, :n].tolist() == tokens
        assert (decoded.tokens[row, n:] == pad).all()
        np.testing.assert_allclose(
            decoded.log_probs[row], log_prob, rtol=ORDER_OF_SUMS, atol=ORDER_OF_SUMS
        )


@pytest.mark.parametrize("pad", [3, EOS])
def test_greedy_is_a_naive_loop_with_eos_kept_and_pad_after(tables, pad):
    got = run(greedy, tables, max_new=6, eos=EOS, pad=pad)
    expected = [naive_greedy(table, 6, EOS) for table in np.asarray(tables)]
    assert {len(tokens) for tokens, _ in expected} >= {1, 2, 6}
    assert_rows_are(got, expected, pad=pad)


@pytest.mark.parametrize("min_new", [0, 2])
def test_any_of_several_tokens_ends_a_row(tables, min_new):
    got = run(greedy, tables, max_new=6, eos=[EOS, 3], min_new=min_new)
    expected = [
        naive_greedy(t, 6, (EOS, 3), lambda t: (EOS, 3) if t < min_new else ())
        for t in np.asarray(tables)
    ]
    assert {tokens[-1] for tokens, _ in expected} >= {EOS, 3}
    assert_rows_are(got, expected)


def test_without_eos_all_rows_are_full(tables):
    got = run(greedy, tables, max_new=6)
    assert_rows_are(got, [naive_greedy(t, 6, None) for t in np.asarray(tables)])


@pytest.mark.parametrize(
    ("options", "banned"),
    [
        ({"min_new": 3}, lambda t: (EOS,) if t < 3 else ()),
        ({"forbidden": (0, 1)}, lambda t: (0, 1)),
        ({"forbidden": [3], "min_new": 1}, lambda t: (3, EOS) if t < 1 else (3,)),
    ],
)
def test_what_is_forbidden_does_not_come_and_costs_nothing(tables, options, banned):
    got = run(greedy, tables, max_new=5, eos=EOS, **options)
    expected = [naive_greedy(t, 5, EOS, banned) for t in np.asarray(tables)]
    assert_rows_are(got, expected)


def test_adjust_changes_the_model_by_step(tables):
    def adjust(logits, t):  # token t comes at step t, with log-probability 0
        ids = jnp.arange(4)[None]
        return jnp.where(ids == t, logits, -jnp.inf)

    got = run(greedy, tables, max_new=4, eos=EOS, adjust=adjust)
    np.testing.assert_array_equal(got.tokens, [[0, 1, 2, 0]] * 30)
    np.testing.assert_array_equal(got.log_probs, np.zeros(30))


def test_a_row_does_not_depend_on_when_the_others_end(tables, key):
    options = {"max_new": 6, "eos": EOS}
    together = run(greedy, tables, **options)
    drawn = run(sample, tables, key=key, **options)
    never = jnp.asarray([0.0, 0.0, -1e9, 0.0])  # no other row ends
    alone = tables.at[1:].add(never[None, None, None])
    assert run(greedy, alone, **options).lengths[1:].min() == 6
    for row in range(6):
        others = jnp.roll(tables, -row, axis=0).at[1:].add(never[None, None, None])
        got = run(greedy, others, **options)
        np.testing.assert_array_equal(got.tokens[0], together.tokens[row])
    got = run(sample, alone, key=key, **options)
    for ours, theirs in zip(got, drawn, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])


@pytest.mark.parametrize("eos", [EOS, None])
def test_the_loop_ends_with_the_last_row(eos):
    calls = []

    def step(token, state, context):  # row i ends after i + 1 tokens
        jax.debug.callback(lambda: calls.append(1))
        ends = state == jnp.arange(3)
        logits = jnp.where(ends[:, None], jnp.eye(4)[EOS][None], jnp.eye(4)[:1])
        return logits, state + 1

    begin = jnp.ones(3, jnp.int32)
    got = jax.jit(lambda s: greedy(step, begin, s, max_new=9, eos=eos))(begin * 0)
    jax.effects_barrier()
    assert len(calls) == (9 if eos is None else 3)
    assert got.lengths.tolist() == ([9, 9, 9] if eos is None else [1, 2, 3])


def test_samples_are_those_of_a_loop_with_folded_keys(tables, key):
    filters = {"temperature": 0.7, "top_k": 3, "top_p": 0.9}
    got = run(sample, tables, key=key, max_new=4, **filters)
    token, state = jnp.ones(30, jnp.int32), start_state(30)
    for t in range(4):
        logits, state = table_step(token, state, tables)
        logits = filter_logits(logits, **filters)
        token = jax.random.categorical(jax.random.fold_in(key, t), logits)
        np.testing.assert_array_equal(got.tokens[:, t], token)


def test_log_probs_of_samples_are_the_models(tables, key):
    got = run(sample, tables, key=key, max_new=4, temperature=0.5, top_k=2, eos=EOS)
    for row, table in enumerate(np.asarray(tables, np.float64)):
        previous, token, total = 1, 1, 0.0
        for following in got.tokens[row, : got.lengths[row]]:
            logits = table[previous, token]
            total += logits[following] - np.log(np.exp(logits).sum())
            previous, token = token, following
        np.testing.assert_allclose(got.log_probs[row], total, rtol=ORDER_OF_SUMS)


@pytest.mark.parametrize(
    "filters",
    [{}, {"temperature": 2.0}, {"temperature": 0.5, "top_k": 3}, {"top_p": 0.8}],
)
def test_frequencies_are_the_filtered_probabilities(rng, key, filters):
    logits = jnp.asarray(rng.normal(size=(1, 5)), jnp.float32)
    many = jnp.zeros(40_000, jnp.int32)

    def step(token, state, context):
        return jnp.broadcast_to(context[:1], (len(token), 5)), state

    context = jnp.broadcast_to(logits, (40_000, 5))
    got = sample(step, many, None, context, key=key, max_new=1, **filters)
    frequencies = np.bincount(got.tokens[:, 0], minlength=5) / 40_000
    expected = jax.nn.softmax(filter_logits(logits, **filters))[0]
    np.testing.assert_allclose(frequencies, expected, atol=FREQUENCY)


def test_temperature_zero_and_one_token_are_greedy(tables, key):
    best = run(greedy, tables, max_new=5, eos=EOS)
    for filters in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}):
        got = run(sample, tables, key=key, max_new=5, eos=EOS, **filters)
        for ours, theirs in zip(got, best, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_half_precision_logits_are_made_float32(tables):
    def half_step(token, state, context):
        logits, state = table_step(token, state, context)
        return logits.astype(jnp.bfloat16), state

    rounded = tables.astype(jnp.bfloat16).astype(jnp.float32)
    got = run(greedy, tables, half_step, max_new=5, eos=EOS)
    assert got.log_probs.dtype == np.float32
    expected = [naive_greedy(table, 5, EOS) for table in np.asarray(rounded)]
    assert_rows_are(got, expected)


def test_another_batch_of_the_same_shape_compiles_nothing(tables, key, compilations):
    begin = jnp.ones(30, jnp.int32)
    other = tables + 1
    keys = jax.random.split(key)

    @jax.jit
    def decode(tables, key):
        return sample(
            table_step, begin, start_state(30), tables, key=key, max_new=5, eos=EOS
        )

    first = decode(tables, keys[0])
    with compilations() as names:
        second = decode(other, keys[1])
    assert names == []
    assert not np.array_equal(first.tokens, second.tokens)


def test_caches_are_written_in_place():
    shape = (4, 512, 8)

    def step(token, state, context):
        new = jax.nn.one_hot(token, 8)[:, None]
        cache = jax.lax.dynamic_update_slice_in_dim(
            state["cache"], new, state["position"][0], axis=1
        )
        return cache.sum(axis=1), {"cache": cache, "position": state["position"] + 1}

    def decode(cache, begin):
        state = {"cache": cache, "position": begin * 0}
        return greedy(step, begin, state, max_new=512, eos=EOS)

    arguments = jnp.zeros(shape), jnp.ones(4, jnp.int32)
    (loop,) = (
        equation
        for equation in jax.make_jaxpr(decode)(*arguments).eqns
        if equation.primitive.name == "while"
    )
    made = [
        equation.primitive.name
        for equation in loop.params["body_jaxpr"].jaxpr.eqns
        if any(out.aval.shape == shape for out in equation.outvars)
    ]
    assert made == ["dynamic_update_slice"]
    program = jax.jit(decode).lower(*arguments).compile().as_text()
    copies = re.findall(r"= f32\[4,512,8\]\S* copy\(", program)
    assert len(copies) == 1  # before the loop, since the argument is not donated


# Filters, beside the peer's.
FILTERS = [
    {"temperature": 0.3},
    {"temperature": 1.7, "top_k": 5},
    {"top_k": 1},
    {"top_k": 99},
    {"top_p": 0.5},
    {"top_p": 0.05},
    {"top_p": 0.999},
    {"temperature": 1.3, "top_k": 6, "top_p": 0.7},
]


@pytest.mark.peer
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("filters", FILTERS)
def test_filters_are_those_of_transformers(rng, filters, tied):
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("transformers")
    logits = rng.normal(size=(50, 12)).astype(np.float32)
    if tied:
        logits = np.round(logits)  # a handful of values: most have equals
    warpers = peer.LogitsProcessorList()
    if "temperature" in filters:
        warpers.append(peer.TemperatureLogitsWarper(filters["temperature"]))
    if "top_k" in filters:
        warpers.append(peer.TopKLogitsWarper(filters["top_k"]))
    if "top_p" in filters:
        warpers.append(peer.TopPLogitsWarper(filters["top_p"]))
    expected = warpers(None, torch.from_numpy(logits)).numpy()
    got = np.asarray(filter_logits(jnp.asarray(logits), **filters))
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    np.testing.assert_allclose(got, expected, rtol=ORDER_OF_SUMS)


def test_the_token_that_crosses_top_p_is_kept():
    logits = jnp.log(jnp.array([[0.1, 0.2, 0.3, 0.4]]))
    for top_p, kept in [(0.39, 1), (0.41, 2), (0.69, 2), (0.71, 3), (0.95, 4)]:
        finite = np.isfinite(filter_logits(logits, top_p=top_p))[0]
        assert finite.tolist() == [False] * (4 - kept) + [True] * kept


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.99])
def test_the_nucleus_is_that_of_a_sort(rng, top_p):
    logits = 3 * rng.normal(size=(20, 3000)).astype(np.float32)
    logits[:, ::7] = -np.inf
    probs = np.exp(logits.astype(np.float64))
    probs /= probs.sum(axis=1, keepdims=True)
    got = np.isfinite(filter_logits(jnp.asarray(logits), top_p=top_p))
    for row, kept in zip(probs, got, strict=True):
        falling = np.sort(row)[::-1]
        # As many as are before top_p is reached, and the one that reaches it.
        count = (np.cumsum(falling) < top_p).sum() + 1
        np.testing.assert_array_equal(kept, row >= falling[count - 1])


def test_equals_of_the_last_of_the_top_k_stay_and_temperature_zero_keeps_one():
    logits = jnp.array([[1.0, 2.0, 1.0, 0.0, 2.0]])
    got = np.isfinite(filter_logits(logits, top_k=3))[0]
    assert got.tolist() == [True, True, True, False, True]
    got = np.isfinite(filter_logits(logits, temperature=0.0))[0]
    assert got.tolist() == [False, True, False, False, False]


def conditional_step(token, state, context):
    """Give logits that depend on token, a sum of tokens, and a condition."""
    total = state + token
    angle = (token + 1)[:, None] * jnp.arange(1, 6)[None] + total[:, None]
    return jnp.sin(angle + context["condition"]), total


def conditions(rng, b):
    return {"condition": jnp.asarray(rng.normal(size=(b, 5)), jnp.float32)}


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guidance_is_the_formula(rng, scale):
    cond, uncond = conditions(rng, 3), conditions(rng, 3)
    token, zeros = jnp.array([0, 3, 4]), jnp.zeros(3, jnp.int32)
    state, context = pair_rows(zeros, zeros + 7), pair_rows(cond, uncond)
    logits, state = guided(conditional_step, scale)(token, state, context)
    with_, state_with = conditional_step(token, zeros, cond)
    without, state_without = conditional_step(token, zeros + 7, uncond)
    expected = scale * with_ + (1 - scale) * without
    np.testing.assert_allclose(logits, expected, atol=ORDER_OF_SUMS)
    np.testing.assert_array_equal(state, pair_rows(state_with, state_without))


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_guidance_of_scale_one_is_the_conditional_model_and_of_zero_the_other(
    rng, key, scale
):
    cond, uncond = conditions(rng, 6), conditions(rng, 6)
    begin = jnp.arange(6, dtype=jnp.int32) % 5
    options = {"key": key, "max_new": 7, "eos": EOS}
    step = guided(conditional_step, scale)
    state, context = pair_rows(begin, begin), pair_rows(cond, uncond)
    got = sample(step, begin, state, context, **options)
    one = cond if scale else uncond
    expected = sample(conditional_step, begin, begin, one, **options)
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    np.testing.assert_allclose(got.log_probs, expected.log_probs, rtol=ORDER_OF_SUMS)


def test_guidance_keeps_what_the_model_forbids():
    def step(token, state, context):
        return jnp.where(jnp.arange(4)[None] == 1, -jnp.inf, context), state

    context = pair_rows(jnp.ones((2, 4)), jnp.zeros((2, 4)))
    logits, _ = guided(step, 3.0)(jnp.zeros(2, jnp.int32), None, context)
    np.testing.assert_array_equal(logits, [[3.0, -np.inf, 3.0, 3.0]] * 2)


def test_repeated_rows_are_neighbours():
    got = repeat_rows({"a": jnp.array([1, 2]), "b": None}, 2)
    assert got["a"].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new": 0}, "max_new 0 is not at least 1"),
        ({"min_new": 9}, "min_new 9 is not between 0 and max_new 5"),
        ({"eos": 4}, r"token 4 \(eos or forbidden\) is not in the vocabulary of 4"),
        ({"forbidden": (0, -1)}, "token -1"),
        ({"forbidden": (0, 1, 2, 3)}, "all 4 tokens are forbidden"),
        ({"forbidden": (0, 1, 3), "min_new": 1}, "all 4 tokens are forbidden"),
        ({"temperature": -0.5}, "temperature -0.5 is not 0"),
        ({"top_k": -1}, "top_k -1 is not 0"),
        ({"top_p": 0.0}, r"top_p 0.0 is not in \(0, 1\]"),
        ({"top_p": 1.5}, "top_p 1.5"),
    ],
)
def test_values_that_cannot_be_are_refused(tables, key, options, message):
    options = {"max_new": 5, "eos": EOS, **options}
    with pytest.raises(InputError, match=message):
        run(sample, tables, key=key, **options)


def test_a_leaf_without_rows_is_refused(tables):
    state = {**start_state(30), "position": jnp.int32(0)}
    message = r"state/position has the shape \(\); its first axis must be the 30 rows"
    with pytest.raises(InputError, match=message):
        greedy(table_step, jnp.ones(30, jnp.int32), state, tables, max_new=2)
