"""Tests of `jaxlab.models.decode.generation`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.models.decode.generation import (
    generate,
    generate_by_windows,
    gradients_of_tokens,
)
from jaxlab.models.recurrent.language import RNNLM
from jaxlab.models.transformer.decoder import TransformerLM
from tests.jitted import jitted_apply

VOCAB = 7
TOKENS = jnp.array([[3, 4, 5, 6], [1, 2, 3, 4]])
MODELS = {
    "transformer": TransformerLM(vocab_size=VOCAB, width=8, num_heads=2, depth=2),
    "rotary": TransformerLM(
        vocab_size=VOCAB, width=8, num_heads=2, depth=1, positions="rotary"
    ),
    "lstm": RNNLM(VOCAB, width=8, pad=None),
}


@pytest.fixture(params=MODELS)
def case(request, key, rng):
    """Give a module and parameters that are all random."""
    module = MODELS[request.param]
    shapes, _ = jax.eval_shape(from_linen(module).init, key, TOKENS)
    return module, jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), shapes
    )


@pytest.mark.slow
def test_the_likeliest_tokens_are_those_of_repeated_whole_calls(case, key):
    module, params = case
    lengths = jnp.array([4, 2])
    found = jax.jit(
        lambda params: generate(
            module, params, TOKENS, lengths, max_new=3, key=key, temperature=0.0
        )
    )(params)
    for row, length, drawn in zip(TOKENS, lengths, found.tokens, strict=True):
        tokens = [*np.asarray(row[:length])]
        for _ in range(3):
            logits = jitted_apply(module, {"params": params}, jnp.asarray([tokens]))
            tokens.append(int(logits[0, -1].argmax()))
        np.testing.assert_array_equal(drawn, tokens[int(length) :])


@pytest.mark.slow
def test_gradients_of_tokens_are_those_of_a_finite_difference(case, rng):
    module, params = case
    norms = jax.jit(lambda params: gradients_of_tokens(module, params, TOKENS))(params)
    assert norms.shape == (4,)
    variables = {"params": params}
    vectors = jitted_apply(module, variables, TOKENS, method="embed_tokens")
    apply = jax.jit(lambda v: module.apply(variables, v, method="features")[:, -1])
    step = 1e-2
    for lag in (0, 3):
        squares = 0.0
        for unit in range(vectors.shape[-1]):
            moved = vectors.at[:, 3 - lag, unit]
            change = (apply(moved.add(step)) - apply(moved.add(-step))) / (2 * step)
            squares += np.square(np.asarray(change, np.float64)).sum(-1)
        # Differences over .01 miss curvature and lose digits: percents.
        assert norms[lag] == pytest.approx(np.sqrt(squares).mean(), rel=0.05)


@pytest.mark.slow
def test_windows_go_on_from_what_was_drawn_last(case, key):
    module, params = case
    options = {"temperature": 0.0, "forbidden": (0,)}
    drawn = jax.jit(
        lambda params: generate_by_windows(
            module, params, TOKENS, key=key, windows=3, **options
        )
    )(params)
    assert drawn.shape == (2, 12)
    prompt = TOKENS
    for window in range(3):
        found = generate(module, params, prompt, max_new=4, key=key, **options).tokens
        np.testing.assert_array_equal(drawn[:, 4 * window : 4 * window + 4], found)
        prompt = found


@pytest.mark.parametrize("wrong", [0, 5])
def test_a_prompt_length_that_cannot_be_is_refused_or_nan(case, key, wrong):
    module, params = case

    def draw(lengths):
        found = generate(module, params, TOKENS, lengths, max_new=3, key=key)
        return found.tokens, found.log_probs

    with pytest.raises(InputError, match=f"prompt length {wrong} at"):
        draw(jnp.array([2, wrong]))
    _, log_probs = jax.jit(draw)(jnp.array([2, wrong]))
    np.testing.assert_array_equal(np.isnan(log_probs), [False, True])


def test_what_stands_behind_a_prompt_may_be_no_token(case, key):
    module, params = case
    draw = jax.jit(
        lambda prompts: generate(
            module, params, prompts, jnp.array([2, 4]), max_new=3, key=key
        )
    )
    found = [draw(TOKENS.at[0, 2:].set(number)) for number in (1, -1, VOCAB)]
    for other in found[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, found[0])
    assert np.isfinite(found[0].log_probs).all()
