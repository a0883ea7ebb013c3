"""Beam search, beside brute force and a naive search."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.models.decode.beam_search import beam_search, length_normalizer
from jaxlab.models.decode.decoding import greedy, guided, pair_rows

# Sums of a few float32 numbers, in another order.
ORDER_OF_SUMS = 1e-5
EOS, VOCABULARY = 2, 4
ALPHAS = [
    0.0,
    0.6,
    *(pytest.param(a, marks=pytest.mark.slow) for a in (-0.5, 1.0, 2.0)),
]


def step(token, state, context):
    """Give logits by the last two tokens, from each row's own table (v, v, v)."""
    return context[jnp.arange(len(token)), state, token], token


@pytest.fixture
def tables(rng):
    """Give 40 tables, one a row; every other one hardly ever ends."""
    tables = 2 * rng.normal(size=(40, VOCABULARY, VOCABULARY, VOCABULARY))
    tables[::2, :, :, EOS] -= 3
    return jnp.asarray(tables, jnp.float32)


def run(tables, step=step, **options):
    ones = jnp.ones(len(tables), jnp.int32)

    @jax.jit
    def search(tables):
        return beam_search(step, ones, ones, tables, **{"eos": EOS, **options})

    return jax.tree.map(np.asarray, search(tables))


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def ranked(hypotheses, beams, eos=(EOS,)):
    """Sort (score, log-probability, tokens): what ended first, each by score."""
    return sorted(hypotheses, key=lambda h: (h[2][-1] not in eos, -h[0]))[:beams]


def scored(log_prob, tokens, alpha):
    return log_prob / ((5 + len(tokens)) / 6) ** alpha, log_prob, tokens


def brute_force(table, max_new, alpha, allows=lambda tokens: True, eos=(EOS,)):
    """Score all sequences that end with their first EOS, or reach `max_new`."""
    table, found = log_softmax(table), []
    for length in range(1, max_new + 1):
        for tokens in itertools.product(range(VOCABULARY), repeat=length):
            ends = tokens[-1] in eos
            if {*eos} & {*tokens[:-1]} or not (ends or length == max_new):
                continue
            if not allows(tokens):
                continue
            path = (1, 1, *tokens)
            log_prob = sum(table[path[i : i + 3]] for i in range(length))
            found.append(scored(log_prob, list(tokens), alpha))
    return found


def naive_search(table, beams, max_new, alpha, min_new=0):
    """Search with lists, and never stop early."""
    table, alive, ended = log_softmax(table), [(0.0, [])], []
    for t in range(max_new):
        candidates = []
        for log_prob, tokens in alive:
            previous, last = [1, 1, *tokens][-2:]
            for token in range(VOCABULARY):
                if token != EOS or t >= min_new:
                    total = log_prob + table[previous, last, token]
                    candidates.append((total, [*tokens, token]))
        candidates.sort(key=lambda c: -c[0])
        ended += [scored(*c, alpha) for c in candidates[:beams] if c[1][-1] == EOS]
        ended = ranked(ended, beams)
        alive = [c for c in candidates if c[1][-1] != EOS][:beams]
    return ranked(ended + [scored(*c, alpha) for c in alive], beams)


def assert_beams_are(got, row, expected, pad=0):
    assert len(expected) == got.scores.shape[1]
    for beam, (score, log_prob, tokens) in enumerate(expected):
        n = len(tokens)
        assert got.tokens[row, beam].tolist() == tokens + [pad] * (
            got.tokens.shape[2] - n
        )
        assert got.lengths[row, beam] == n
        np.testing.assert_allclose(
            [got.scores[row, beam], got.log_probs[row, beam]],
            [score, log_prob],
            rtol=ORDER_OF_SUMS,
            atol=ORDER_OF_SUMS,
        )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_enough_beams_find_what_brute_force_finds(tables, alpha):
    # 1 + 3 + 9 end after one to three tokens, and 27 are cut off.
    got = run(tables, beams=40, max_new=3, length_penalty=alpha, pad=3)
    for row, table in enumerate(tables):
        expected = ranked(brute_force(table, 3, alpha), 40)
        assert_beams_are(got, row, expected, pad=3)


def test_any_of_several_tokens_ends_a_hypothesis(tables):
    # 2 + 4 + 8 end after one to three tokens, and 8 are cut off.
    got = run(tables, beams=22, max_new=3, eos=[EOS, 3])
    for row, table in enumerate(tables):
        expected = brute_force(table, 3, 0.6, eos=(EOS, 3))
        assert_beams_are(got, row, ranked(expected, 22, eos=(EOS, 3)))
    with pytest.raises(InputError, match="more than the 22 sequences"):
        run(tables, beams=23, max_new=3, eos=[EOS, 3])
    # One that ends twice is one that ends.
    twice = run(tables, beams=3, max_new=4, eos=[EOS, EOS])
    once = run(tables, beams=3, max_new=4, eos=EOS)
    jax.tree.map(np.testing.assert_array_equal, twice, once)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("beams", [1, 2, 3, 5])
def test_few_beams_find_what_a_naive_search_finds(tables, beams, alpha):
    got = run(tables, beams=beams, max_new=7, length_penalty=alpha)
    cut = 0
    for row, table in enumerate(tables):
        expected = naive_search(table, beams, 7, alpha)
        cut += sum(tokens[-1] != EOS for _, _, tokens in expected)
        assert_beams_are(got, row, expected)
    assert 0 < cut < 40 * beams  # both kinds are there


@pytest.mark.parametrize("alpha", [-0.5, 0.6])
def test_eos_can_be_put_off(tables, alpha):
    got = run(tables, beams=3, max_new=7, length_penalty=alpha, min_new=4)
    for row, table in enumerate(tables):
        assert_beams_are(got, row, naive_search(table, 3, 7, alpha, min_new=4))


def test_forbidden_tokens_do_not_come_and_cost_nothing(tables):
    # Of three tokens: 1 + 2 + 4 end and 8 are cut off.
    got = run(tables, beams=15, max_new=3, forbidden=(0,))
    for row, table in enumerate(tables):
        expected = brute_force(table, 3, 0.6, lambda tokens: 0 not in tokens)
        assert_beams_are(got, row, ranked(expected, 15))


def test_one_beam_without_penalty_is_greedy(tables):
    ones = jnp.ones(40, jnp.int32)
    got = run(tables, beams=1, max_new=8, length_penalty=0.0).best()
    expected = greedy(step, ones, ones, tables, max_new=8, eos=EOS)
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    np.testing.assert_array_equal(got.lengths, expected.lengths)
    np.testing.assert_allclose(got.log_probs, expected.log_probs, rtol=ORDER_OF_SUMS)


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 0.6])
def test_the_search_ends_when_no_beam_can_win(alpha):
    calls = []

    def counted(token, state, context):  # eos is sure after `context` tokens
        jax.debug.callback(lambda: calls.append(1))
        sure = (state >= context)[:, None] & (jnp.arange(4) == EOS)[None]
        return jnp.where(sure, 20.0, -0.1 * jnp.arange(4.0)[None]), state + 1

    begin, after = jnp.ones(2, jnp.int32), jnp.array([1, 4])
    got = jax.jit(
        lambda state: beam_search(
            counted,
            begin,
            state,
            after,
            beams=2,
            max_new=30,
            eos=EOS,
            length_penalty=alpha,
        )
    )(begin * 0)
    jax.effects_barrier()
    assert len(calls) == 5
    assert (got.lengths <= 5).all()


@pytest.mark.parametrize("alpha", [-0.5, 0.6])
def test_a_row_does_not_depend_on_when_the_others_end(tables, alpha):
    options = {"beams": 3, "max_new": 7, "length_penalty": alpha}
    together = run(tables, **options)
    for row in range(1, 8, 2):
        alone = jnp.broadcast_to(tables[row], tables.shape)
        got = run(alone, **options)
        for ours, theirs in zip(got, together, strict=True):
            np.testing.assert_array_equal(ours[5], theirs[row])


def test_beams_without_probability_are_empty(tables):
    def adjust(logits, t):  # only 3, then eos
        likely = jnp.where(t == 0, 3, EOS)
        return jnp.where(jnp.arange(4)[None] == likely, logits, -jnp.inf)

    got = run(tables, beams=3, max_new=5, adjust=adjust, pad=1)
    np.testing.assert_array_equal(got.tokens[:, 0], [[3, EOS, 1, 1, 1]] * 40)
    np.testing.assert_array_equal(got.lengths, [[2, 0, 0]] * 40)
    np.testing.assert_array_equal(got.scores, [[0, -np.inf, -np.inf]] * 40)
    np.testing.assert_array_equal(got.tokens[:, 1:], np.ones((40, 2, 5)))


def test_a_prefix_without_continuation_dies(tables):
    dead = tables.at[:, :, 3].set(-jnp.inf)  # nothing follows 3
    got = run(dead, beams=40, max_new=3)
    first = jax.tree.map(lambda a: a[:, :19], got)
    for row, table in enumerate(tables):
        expected = brute_force(table, 3, 0.6, lambda tokens: 3 not in tokens[:-1])
        assert_beams_are(first, row, ranked(expected, 40))
    np.testing.assert_array_equal(got.scores[:, 19:], np.full((40, 21), -np.inf))
    np.testing.assert_array_equal(got.lengths[:, 19:], np.zeros((40, 21)))


def test_guidance_serves_beams(tables):
    others = tables[::-1]
    ones = jnp.ones((40, 2), jnp.int32)
    got = beam_search(
        guided(step, 1.5),
        ones[:, 0],
        ones,
        pair_rows(tables, others),
        beams=3,
        max_new=6,
        eos=EOS,
    )
    mixed = 1.5 * tables - 0.5 * others
    for row, table in enumerate(mixed):
        assert_beams_are(
            jax.tree.map(np.asarray, got), row, naive_search(table, 3, 6, 0.6)
        )


def test_half_precision_logits_are_made_float32(tables):
    def half_step(token, state, context):
        logits, state = step(token, state, context)
        return logits.astype(jnp.bfloat16), state

    rounded = tables.astype(jnp.bfloat16).astype(jnp.float32)
    got = run(tables, half_step, beams=2, max_new=5)
    for ours, theirs in zip(got, run(rounded, beams=2, max_new=5), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_batch_of_the_same_shape_compiles_nothing(tables, compilations):
    ones = jnp.ones(40, jnp.int32)
    other = tables[::-1]

    @jax.jit
    def search(tables):
        return beam_search(step, ones, ones, tables, beams=2, max_new=5, eos=EOS)

    first = search(tables)
    with compilations() as names:
        second = search(other)
    assert names == []
    np.testing.assert_array_equal(first.tokens[::-1], second.tokens)


def equations_of_shape(jaxpr, shape):
    """Name what gives an array of that shape in the bodies of loops."""
    names = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "while":
            body = equation.params["body_jaxpr"].jaxpr
            names += [
                inner.primitive.name
                for inner in body.eqns
                for out in inner.outvars
                if out.aval.shape == shape
            ]
    return names


def test_a_cache_is_written_and_gathered_once_a_step():
    def step(token, state, context):
        new = jax.nn.one_hot(token, 8)[:, None]
        cache = jax.lax.dynamic_update_slice_in_dim(state, new, 3, axis=1)
        return cache.sum(axis=1), cache

    ones = jnp.ones(5, jnp.int32)
    jaxpr = jax.make_jaxpr(
        lambda cache: beam_search(step, ones, cache, beams=3, max_new=7, eos=EOS)
    )(jnp.zeros((5, 16, 8)))
    names = equations_of_shape(jaxpr.jaxpr, (15, 16, 8))
    assert names == ["dynamic_update_slice", "gather"]


def test_the_normalizer_is_that_of_the_paper():
    assert length_normalizer(1, 0.6) == 1
    np.testing.assert_allclose(length_normalizer(jnp.array([7, 19]), 0.5), [2**0.5, 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 0}, "beams 0 is not at least 1"),
        ({"beams": 41}, "beams 41 are more than the 40 sequences of up to 3 tokens"),
        ({"beams": 16, "forbidden": (0,)}, "more than the 15"),
        ({"beams": 37, "min_new": 2}, "more than the 36"),
        ({"max_new": 0}, "max_new 0 is not at least 1"),
        ({"forbidden": (7,)}, "token 7"),
    ],
)
def test_values_that_cannot_be_are_refused(tables, options, message):
    with pytest.raises(InputError, match=message):
        run(tables, **{"beams": 2, "max_new": 3, **options})
