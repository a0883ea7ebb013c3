"""Tests of `jaxlab.nn.tokens`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.nn.positions import sinusoids
from jaxlab.nn.tokens import TokenEmbed, look_up, padding_mask, read_prompts
from tests.jitted import jitted_apply, jitted_init

# Sums of a few float32 products, in another order.
ORDER_OF_SUMS = 1e-5
# bfloat16 keeps 8 bits: 0.4 % of a value a rounding.
BFLOAT16 = 2e-2


@pytest.fixture
def tokens():
    """Give two rows of four tokens of a vocabulary of 7."""
    return jnp.array([[1, 5, 5, 0], [6, 2, 0, 0]])


@pytest.fixture
def table(rng):
    """Give a table of 7 vectors of 6 numbers."""
    return jnp.asarray(rng.normal(size=(7, 6)), jnp.float32)


def test_all_but_padding_is_visible(tokens):
    mask = padding_mask(tokens, 0)
    assert mask.shape == (2, 1, 1, 4)
    np.testing.assert_array_equal(
        mask[:, 0, 0], [[True, True, True, False], [True, True, False, False]]
    )
    np.testing.assert_array_equal(padding_mask(tokens, 5)[0, 0, 0], [1, 0, 0, 1])


@pytest.mark.parametrize("positions", ["none", "rotary"])
@pytest.mark.parametrize("scale", [False, True])
def test_tokens_are_rows_of_the_table(tokens, table, positions, scale):
    embed = TokenEmbed(7, 6, positions, scale=scale)
    got = jitted_apply(embed, {"params": {"embedding": table}}, tokens)
    expected = np.asarray(table)[np.asarray(tokens)] * (6**0.5 if scale else 1)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("positions", ["interleaved", "halves", "learned"])
@pytest.mark.parametrize("start", [None, [0, 0], [3, 1]])
def test_positions_are_added_from_where_each_row_starts(
    tokens, table, rng, positions, start
):
    learned = jnp.asarray(rng.normal(size=(8, 6)), jnp.float32)
    params = {"embedding": table}
    if positions == "learned":
        params["pos_embed"], vectors = learned, learned
    else:
        vectors = sinusoids(jnp.arange(8), 6, positions)
    embed = TokenEmbed(7, 6, positions, max_len=8)
    given = None if start is None else jnp.array(start)
    got = jitted_apply(embed, {"params": params}, tokens, given)
    rows = np.asarray(table)[np.asarray(tokens)] * 6**0.5
    expected = [
        row + np.asarray(vectors)[first : first + 4]
        for row, first in zip(rows, start or [0, 0], strict=True)
    ]
    np.testing.assert_allclose(got, expected, atol=ORDER_OF_SUMS)


def test_logits_are_products_with_the_rows(table, rng):
    embed = TokenEmbed(7, 6)
    for shape in ((6,), (3, 6), (2, 3, 6)):
        x = jnp.asarray(rng.normal(size=shape), jnp.float32)
        got = jitted_apply(
            embed, {"params": {"embedding": table}}, x, method=embed.attend
        )
        expected = np.asarray(x, np.float64) @ np.asarray(table, np.float64).T
        np.testing.assert_allclose(got, expected, atol=ORDER_OF_SUMS)


def test_half_precision_gives_float32_logits(table, tokens, rng):
    embed = TokenEmbed(7, 6, dtype=jnp.bfloat16)
    params = {"params": {"embedding": table}}
    assert jitted_apply(embed, params, tokens).dtype == jnp.bfloat16
    x = jnp.asarray(rng.normal(size=(2, 3, 6)), jnp.bfloat16)
    logits = jitted_apply(embed, params, x, method=embed.attend)
    assert logits.dtype == jnp.float32
    expected = jitted_apply(
        TokenEmbed(7, 6), params, x.astype(jnp.float32), method=embed.attend
    )
    np.testing.assert_allclose(logits, expected, atol=BFLOAT16 * np.abs(expected).max())
    assert (
        jitted_init(embed, jax.random.key(0), tokens)["params"]["embedding"].dtype
        == "f4"
    )


@pytest.mark.parametrize("scale", [False, True])
def test_tables_are_drawn_small(key, tokens, scale):
    params = jitted_init(TokenEmbed(400, 64, "learned", 50, scale), key, tokens)[
        "params"
    ]
    expected = 64**-0.5 if scale else 0.02
    # The deviation of 25,600 numbers is itself off by 0.4 %, that of 3,200 by 1.3 %.
    np.testing.assert_allclose(params["embedding"].std(), expected, rtol=0.02)
    np.testing.assert_allclose(params["pos_embed"].std(), 0.02, rtol=0.06)


def test_more_tokens_than_learned_positions_are_refused(key, tokens):
    jitted_init(TokenEmbed(7, 6, "learned", max_len=4), key, tokens)
    with pytest.raises(InputError, match="4 tokens are more than the 3 learned"):
        jitted_init(
            TokenEmbed(7, 6, "learned", max_len=3), jax.random.clone(key), tokens
        )


@pytest.mark.parametrize("wrong", [-1, -7, 7, 2**31 - 1])
def test_a_row_that_a_table_lacks_is_refused_or_nan(table, wrong):
    ids = np.array([[0, 6], [3, wrong]])
    with pytest.raises(InputError, match=rf"^token {wrong} at \[1, 1\] .* 0 to 6$"):
        look_up(table, jnp.asarray(ids))
    rows, slope = jax.jit(jax.value_and_grad(lambda t, i: look_up(t, i)[0].sum()))(
        table, jnp.asarray(ids)
    )
    assert rows == table[0].sum() + table[6].sum()
    np.testing.assert_array_equal(slope, np.eye(7)[[0, 6]].sum(0)[:, None] + 0 * table)
    got = np.asarray(jax.jit(look_up)(table, jnp.asarray(ids)))
    assert np.isnan(got[1, 1]).all()
    np.testing.assert_array_equal(got[[0, 0, 1], [0, 1, 0]], table[np.array([0, 6, 3])])


def test_positions_that_were_not_learned_are_refused_or_nan(tokens, table):
    embed = TokenEmbed(7, 6, "learned", max_len=5)
    variables = {"params": {"embedding": table, "pos_embed": jnp.ones((5, 6))}}
    with pytest.raises(InputError, match=r"position 5 at \[1, 3\]"):
        embed.apply(variables, tokens, jnp.array([1, 2]))
    got = np.isnan(jitted_apply(embed, variables, tokens, jnp.array([1, 2])))
    assert got[1, 3].all()
    assert got.sum() == 6


def test_prompts_end_where_their_lengths_say(tokens):
    prompts, last = jax.jit(read_prompts)(tokens, jnp.array([3, 1]))
    np.testing.assert_array_equal(prompts, [[1, 5, 5, 0], [6, 0, 0, 0]])
    np.testing.assert_array_equal(last, [5, 6])
    for wrong in (0, 5, -1):
        with pytest.raises(
            InputError, match=rf"prompt length {wrong} at \[1\] .* 1 to"
        ):
            read_prompts(tokens, jnp.array([1, wrong]))
        _, last = jax.jit(read_prompts)(tokens, jnp.array([1, wrong]))
        np.testing.assert_array_equal(last, [1, -1])
    with pytest.raises(InputError, match="prompts of 0 tokens"):
        read_prompts(tokens[:, :0], jnp.array([0, 0]))


def test_without_padding_all_is_visible(tokens):
    assert padding_mask(tokens, None).all()
    assert padding_mask(tokens, None).shape == (2, 1, 1, 4)
