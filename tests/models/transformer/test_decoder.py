"""The decoder alone; parity with others' weights: tests/interop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import num_elements
from jaxlab.models.decode.decoding import greedy
from jaxlab.models.transformer.decoder import TransformerLM
from jaxlab.nn.stack import unstack_blocks
from tests.closeness import relative_error

# Relative to the largest value: float32 sums of a few dozen products, in another order.
ORDER_OF_SUMS = 1e-5
VOCABULARY, PROMPT, NEW = 11, 5, 3

TINY = TransformerLM(
    vocab_size=VOCABULARY,
    width=8,
    num_heads=2,
    hidden_dim=12,
    depth=2,
    max_len=8,
    dropout_rate=0.0,
)
LLAMA = {
    "positions": "rotary",
    "norm": "rms",
    "act": "swiglu",
    "use_bias": False,
    "num_kv_heads": 1,
}
KINDS = {
    "gpt2": {},
    "llama": {**LLAMA, "tie_softmax": False, "scan": True},
    "waves": {"positions": "interleaved", "scan": True, "remat": True},
}
# Row r has a prompt of r + 1 tokens; the rest of it goes on from there.
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, (PROMPT, PROMPT + NEW))
TOKENS = TOKENS.astype(np.int32)
LENGTHS = np.arange(1, PROMPT + 1, dtype=np.int32)
ROWS = np.arange(PROMPT)


def abstract_params(module, tokens=TOKENS):
    return jax.eval_shape(module.init, jax.random.key(0), tokens)["params"]


class Case:
    """A network with random parameters, compiled once for all tests."""

    def __init__(self, fields):
        self.module = TINY.clone(**fields)
        rng = np.random.default_rng(0)

        def draw(path, leaf):
            mean = path[-1].key == "scale"  # small ones would hide what they scale
            return jnp.asarray(mean + 0.5 * rng.normal(size=leaf.shape), leaf.dtype)

        shapes = abstract_params(self.module)
        self.params = jax.tree_util.tree_map_with_path(draw, shapes)
        self.apply = jax.jit(self.module.apply, static_argnames="train")
        self.prefill = jax.jit(self._prefill, static_argnums=2)
        self.step = jax.jit(self._step)

    def __call__(self, tokens=TOKENS):
        return np.asarray(self.apply({"params": self.params}, tokens))

    def _prefill(self, tokens, lengths, max_len):
        given = {"params": self.params}, tokens, lengths, max_len
        return self.module.apply(*given, method="prefill")

    def _step(self, token, state, context=None):
        given = {"params": self.params}, token, state, context
        return self.module.apply(*given, method="step")


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    """Give each case in turn."""
    return Case(KINDS[request.param])


@pytest.mark.slow
def test_tokens_see_no_later_ones(case):
    logits = case()
    for t in (0, 3, 7):
        changed = TOKENS.copy()
        changed[:, t] = (changed[:, t] + 1) % VOCABULARY
        others = case(changed)
        np.testing.assert_allclose(others[:, :t], logits[:, :t], atol=ORDER_OF_SUMS)
        assert np.abs(others - logits)[:, t:].max(axis=-1).min() > 1e-4


@pytest.mark.slow
def test_prompts_of_all_lengths_go_on_as_in_one_call(case):
    expected = case()
    begin, state = case.prefill(TOKENS[:, :PROMPT], LENGTHS, PROMPT + NEW)
    np.testing.assert_array_equal(begin, TOKENS[ROWS, LENGTHS - 1])
    for leaf in jax.tree.leaves(state):
        assert len(leaf) == PROMPT  # rows first: beams are gathered
    token = begin
    for t in range(NEW + 1):
        logits, state = case.step(token, state)
        assert logits.dtype == jnp.float32
        place = LENGTHS - 1 + t
        assert relative_error(logits, expected[ROWS, place]) < ORDER_OF_SUMS, t
        token = TOKENS[ROWS, np.minimum(place + 1, PROMPT + NEW - 1)]
    np.testing.assert_array_equal(state.length, LENGTHS + NEW)


@pytest.mark.slow
def test_what_pads_a_prompt_has_no_part_in_it(case):
    padded = np.where(np.arange(PROMPT) < LENGTHS[:, None], TOKENS[:, :PROMPT], 0)
    results = []
    for tokens in (TOKENS[:, :PROMPT], padded.astype(np.int32)):
        begin, state = case.prefill(tokens, LENGTHS, PROMPT + NEW)
        logits, state = case.step(begin, state)
        results.append((begin, logits, case.step(begin, state)[0]))
    jax.tree.map(np.testing.assert_array_equal, *results)


@pytest.mark.slow
def test_prompts_of_one_token_need_no_prefill(case):
    begin, state = case.prefill(TOKENS[:, :1], np.ones_like(LENGTHS), 2)
    np.testing.assert_array_equal(begin, TOKENS[:, 0])
    np.testing.assert_array_equal(state.length, np.zeros(PROMPT))
    logits, _ = case.step(begin, state)
    assert relative_error(logits, case()[:, 0]) < ORDER_OF_SUMS


@pytest.mark.slow
def test_greedy_decoding_feeds_back_the_best_token(case):
    tokens = TOKENS.copy()
    for t in range(NEW):
        place = LENGTHS + t
        tokens[ROWS, place] = case(tokens)[ROWS, place - 1].argmax(-1)
    begin, state = case.prefill(TOKENS[:, :PROMPT], LENGTHS, PROMPT + NEW)
    decoded = greedy(case.step, begin, state, max_new=NEW)
    expected = [tokens[r, n : n + NEW] for r, n in enumerate(LENGTHS)]
    np.testing.assert_array_equal(decoded.tokens, expected)


@pytest.mark.slow
def test_a_scan_is_a_loop():
    case = Case(KINDS["waves"])
    decoder = unstack_blocks(case.params["decoder"])
    looped = case.module.clone(scan=False, remat=False)
    got = jax.jit(looped.apply)({"params": {**case.params, "decoder": decoder}}, TOKENS)
    assert relative_error(got, case()) < ORDER_OF_SUMS


@pytest.mark.slow
def test_dropout_follows_the_key_and_acts_in_training_alone(key):
    calm = Case(KINDS["gpt2"])
    noisy = jax.jit(calm.module.clone(dropout_rate=0.3).apply, static_argnames="train")
    given = {"params": calm.params}, TOKENS
    np.testing.assert_allclose(noisy(*given), calm(), atol=ORDER_OF_SUMS)
    drawn, other = (
        noisy(*given, train=True, rngs={"dropout": k})
        for k in (key, jax.random.fold_in(jax.random.clone(key), 1))
    )
    again = noisy(*given, train=True, rngs={"dropout": jax.random.clone(key)})
    np.testing.assert_array_equal(again, drawn)
    assert relative_error(other, drawn) > 0.01
    assert relative_error(drawn, calm()) > 0.01


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        # GPT-2 small, as published and counted by transformers.
        ({"max_len": 1024}, 124_439_808),
        # Llama 2 7B, by its config: 32 blocks of 4096/11008, vocabulary 32,000.
        (
            {
                **LLAMA,
                "num_kv_heads": 0,
                "vocab_size": 32_000,
                "width": 4096,
                "num_heads": 32,
                "hidden_dim": 11_008,
                "depth": 32,
                "tie_softmax": False,
                "scan": True,
            },
            6_738_415_616,
        ),
        # VQGAN's prior for faces, as taming-transformers makes it: rows of 256 codes
        # after as many of a condition, untied head without bias.
        (
            {
                "vocab_size": 1024,
                "width": 1024,
                "num_heads": 16,
                "depth": 24,
                "max_len": 512,
                "act": "gelu",
                "norm_eps": 1e-5,
                "tie_softmax": False,
                "scan": True,
            },
            304_932_864,
        ),
    ],
)
def test_parameter_counts_are_those_published(fields, count):
    module = TransformerLM(**{"width": 768, "num_heads": 12, **fields})
    assert num_elements(abstract_params(module)) == count


def test_logits_are_float32_in_half_precision():
    for fields in KINDS.values():
        module = TINY.clone(**fields, dtype=jnp.bfloat16)
        init = module.init_with_output
        logits, _ = jax.eval_shape(init, jax.random.key(0), TOKENS)
        assert (logits.shape, logits.dtype) == ((PROMPT, 8, VOCABULARY), jnp.float32)


def test_room_that_is_too_small_is_refused():
    prefill = Case(KINDS["gpt2"]).prefill
    for size in (0, 9):
        with pytest.raises(InputError, match=f"max_len {size} must be at least 1 and"):
            prefill(TOKENS, LENGTHS, size)
    with pytest.raises(InputError, match="max_len 7 has no room for prompts of 8 to"):
        prefill(TOKENS, LENGTHS, 7)
    prefill = Case(KINDS["waves"]).prefill
    jax.eval_shape(lambda: prefill(TOKENS, LENGTHS, 99))  # waves never end


def test_more_tokens_than_learned_positions_are_refused():
    with pytest.raises(InputError, match="9 tokens are more than the 8 learned"):
        abstract_params(TINY, np.zeros((1, 9), np.int32))
