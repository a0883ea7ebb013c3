"""The encoder-decoder; parity with others' weights: tests/interop."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths, num_elements
from jaxlab.models.decode.beam_search import beam_search
from jaxlab.models.decode.decoding import greedy
from jaxlab.models.transformer.encoder_decoder import Transformer
from tests.closeness import relative_error
from tests.jitted import jitted_apply

# Relative to the largest value: float32 sums of a few dozen products, in another order.
ORDER_OF_SUMS = 1e-5
PAD, BOS, EOS, VOCABULARY = 0, 1, 2, 11

TINY = Transformer(
    vocab_size=VOCABULARY,
    width=8,
    num_heads=2,
    hidden_dim=12,
    encoder_depth=2,
    decoder_depth=2,
    dropout_rate=0.0,
)
# Between them: both orders, all positions, all tables, a loop and a scan.
KINDS = {
    "paper": {},
    "pre_norm": {
        "norm_first": True,
        "positions": "halves",
        "target_vocab_size": 7,
        "tie_softmax": False,
    },
    "learned": {
        "positions": "learned",
        "max_len": 8,
        "final_norm": True,
        "has_logits_bias": True,
        "scale_embedding": False,
        "target_vocab_size": 7,
    },
    "llama": {
        "norm_first": True,
        "positions": "rotary",
        "num_kv_heads": 1,
        "norm": "rms",
        "act": "swiglu",
        "use_bias": False,
        "scan": True,
    },
    "placeless": {"positions": "none", "scan": True, "remat": True},
}
# Rows of different lengths, the last of padding alone.
SOURCE = np.array(
    [[3, 4, 9, 10, 2, 7], [8, 5, 2, 0, 0, 0], [6, 2, 0, 0, 0, 0], [0] * 6], np.int32
)
TARGETS = np.array(
    [[1, 3, 4, 5, 6], [1, 6, 6, 3, 5], [1, 4, 3, 0, 0], [1, 5, 4, 3, 6]], np.int32
)


def abstract_params(module):
    key = jax.random.key(0)
    return jax.eval_shape(module.init, key, SOURCE, TARGETS)["params"]


def random_params(module):
    """Give random values for every parameter: zeros and ones would hide faults."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        mean = path[-1].key == "scale"  # small ones would hide what they scale
        return jnp.asarray(mean + 0.5 * rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, abstract_params(module))


class Case:
    """A network with random parameters, compiled once for all tests."""

    def __init__(self, fields):
        self.module = TINY.clone(**fields)
        self.params = random_params(self.module)
        self.apply = jax.jit(self.module.apply, static_argnames="train")
        self.prepare = jax.jit(self._prepare, static_argnums=1)
        self.step = jax.jit(self._step)

    def __call__(self, source=SOURCE, targets=TARGETS):
        return np.asarray(self.apply({"params": self.params}, source, targets))

    def _prepare(self, source, max_len):
        given = {"params": self.params}, source, max_len
        return self.module.apply(*given, method="prepare")

    def _step(self, token, state, context):
        given = {"params": self.params}, token, state, context
        return self.module.apply(*given, method="step")


@pytest.fixture(scope="module")
def cases():
    """Give the case of a name, made when first asked for."""
    made = {}

    def find(name):
        if name not in made:
            made[name] = Case(KINDS[name])
        return made[name]

    return find


@pytest.fixture(params=KINDS)
def case(request, cases):
    """Give each case in turn."""
    return cases(request.param)


def naive_logits(p, source, targets):
    """Restate the paper for one pair without padding, in float64 and loops."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), p)
    table = p["source_embed"]["embedding"]
    width = table.shape[1]

    def embed(tokens):
        x = table[tokens] * math.sqrt(width)
        for t, i in np.ndindex(len(tokens), width // 2):
            angle = t / 10_000 ** (2 * i / width)
            x[t, 2 * i] += math.sin(angle)
            x[t, 2 * i + 1] += math.cos(angle)
        return x

    def norm(x, q):
        centred = x - x.mean(1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6)
        return centred / deviation * q["scale"] + q["bias"]

    def attention(q, x, memory, causal=False):
        out = np.tile(q["out"]["bias"], (len(x), 1))
        for t, h in np.ndindex(len(x), q["query"]["bias"].shape[0]):
            seen = memory[: t + 1] if causal else memory
            if len(seen):
                query, keys, values = (
                    y @ q[name]["kernel"][:, h] + q[name]["bias"][h]
                    for name, y in (("query", x[t]), ("key", seen), ("value", seen))
                )
                weights = np.exp(keys @ query / math.sqrt(len(query)))
                out[t] += weights @ values / weights.sum() @ q["out"]["kernel"][h]
        return out

    def mlp(q, x):
        hidden = np.maximum(x @ q["up"]["kernel"] + q["up"]["bias"], 0)
        return hidden @ q["down"]["kernel"] + q["down"]["bias"]

    memory = embed(source)
    for q in (p["encoder"][f"block_{i}"] for i in range(2)):
        y = attention(q["attention"], memory, memory)
        memory = norm(memory + y, q["attention_norm"])
        memory = norm(memory + mlp(q["mlp"], memory), q["mlp_norm"])
    x = embed(targets)
    for q in (p["decoder"][f"block_{i}"] for i in range(2)):
        y = attention(q["attention"], x, x, causal=True)
        x = norm(x + y, q["attention_norm"])
        y = attention(q["memory_attention"], x, memory)
        x = norm(x + y, q["memory_norm"])
        x = norm(x + mlp(q["mlp"], x), q["mlp_norm"])
    return x @ table.T


@pytest.mark.slow
def test_it_is_a_naive_restatement_of_the_paper(cases):
    case = cases("paper")
    for source, targets, logits in zip(SOURCE, TARGETS, case(), strict=True):
        expected = naive_logits(case.params, source[source != PAD], targets)
        assert relative_error(logits, expected) < ORDER_OF_SUMS


@pytest.mark.slow
def test_targets_see_no_later_ones(case):
    logits = case()
    for t in (0, 2, 4):
        changed = TARGETS.copy()
        changed[:, t] = (changed[:, t] + 1) % 7
        others = case(targets=changed)
        np.testing.assert_allclose(others[:, :t], logits[:, :t], atol=ORDER_OF_SUMS)
        # From the changed token on, each position of each row sees it.
        assert np.abs(others - logits)[:, t:].max(axis=-1).min() > 1e-4


@pytest.mark.slow
def test_padding_of_the_source_changes_nothing(case):
    longer = np.pad(SOURCE, ((0, 0), (0, 2)))
    assert relative_error(case(source=longer), case()) < ORDER_OF_SUMS


@pytest.mark.slow
def test_all_of_the_source_is_seen_from_the_first_target_on(case):
    logits = case()
    for row, length in ((0, 6), (1, 3), (2, 2)):
        for s in range(length):
            changed = SOURCE.copy()
            changed[row, s] = (changed[row, s] + 1) % VOCABULARY or 1
            difference = np.abs(case(source=changed) - logits).max(axis=-1)
            assert difference[row].min() > 1e-5, (row, s)
            assert np.delete(difference, row, axis=0).max() < ORDER_OF_SUMS


@pytest.mark.slow
def test_a_source_of_padding_alone_has_finite_gradients(cases):
    case = cases("paper")

    def loss(params):
        logits = case.apply({"params": params}, SOURCE, TARGETS)
        return (jax.nn.log_softmax(logits) ** 2).sum(), logits

    grads, logits = jax.jit(jax.grad(loss, has_aux=True))(case.params)
    assert np.isfinite(logits).all()
    for path, grad in flat_paths(grads).items():
        assert np.isfinite(grad).all(), path


@pytest.mark.slow
def test_decoding_step_by_step_gives_the_same_logits(case):
    expected = case()
    context, state = case.prepare(SOURCE, 7)
    for leaf in jax.tree.leaves((context, state)):
        assert len(leaf) == len(SOURCE)  # rows first: beams are gathered
    for t in range(TARGETS.shape[1]):
        logits, state = case.step(TARGETS[:, t], state, context)
        assert logits.dtype == jnp.float32
        assert relative_error(logits, expected[:, t]) < ORDER_OF_SUMS, t
    np.testing.assert_array_equal(state.length, [5] * 4)


@pytest.mark.slow
def test_greedy_decoding_feeds_back_the_best_token(cases):
    case, targets = cases("paper"), np.full((4, 5), BOS, np.int32)
    for t in range(4):
        targets[:, t + 1] = case(targets=targets)[:, t].argmax(-1)
    context, state = case.prepare(SOURCE, 5)
    begin = jnp.full(4, BOS, jnp.int32)
    decoded = greedy(case.step, begin, state, context, max_new=4)
    np.testing.assert_array_equal(decoded.tokens, targets[:, 1:])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "llama"])
def test_beams_have_the_probabilities_of_their_tokens(cases, name):
    # True only if caches and memories follow the beams that they belong to.
    case = cases(name)
    context, state = case.prepare(SOURCE, 5)
    begin = jnp.full(4, BOS, jnp.int32)
    options = {"beams": 3, "max_new": 4, "eos": EOS, "length_penalty": 0.0}
    decoded = beam_search(case.step, begin, state, context, **options)
    tokens, lengths = np.asarray(decoded.tokens), np.asarray(decoded.lengths)
    for beam in range(3):
        targets = np.insert(tokens[:, beam], 0, BOS, axis=1)
        log_probs = np.asarray(jax.nn.log_softmax(case(targets=targets)))
        for row, length in enumerate(lengths[:, beam]):
            expected = sum(
                log_probs[row, t, tokens[row, beam, t]] for t in range(length)
            )
            np.testing.assert_allclose(
                decoded.log_probs[row, beam], expected, rtol=1e-4
            )


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 44_138_496),
        # As torch.nn.Transformer: with a norm of 512 scales and biases on each stack.
        ({"final_norm": True}, 44_138_496 + 2 * 2 * 512),
        ({"norm_first": True}, 44_138_496 + 2 * 2 * 512),
        ({"norm_first": True, "final_norm": False, "scan": True}, 44_138_496),
        ({"has_logits_bias": True}, 44_138_496 + 37_000),
        ({"tie_softmax": False}, 44_138_496 + 512 * 37_000),
        ({"target_vocab_size": 9_000}, 44_138_496 + 512 * 9_000),
    ],
)
def test_the_base_model_has_the_size_of_the_paper(fields, count):
    params = abstract_params(Transformer(**fields))
    assert num_elements(params) - 37_000 * 512 == count


def gradients_of_tables(fields):
    module = TINY.clone(**fields, encoder_depth=1, decoder_depth=1)
    source, targets = jnp.array([[3, 4, 2, 0]]), jnp.array([[1, 5, 6]])

    @jax.jit
    @jax.grad
    def by(params):
        logits = module.apply({"params": params}, source, targets)
        return (logits**3).sum()

    grads = flat_paths(by(random_params(module)))
    return {
        path: set(np.flatnonzero(np.abs(grad).max(axis=1)).tolist())
        for path, grad in grads.items()
        if path.endswith("embedding")
    }


@pytest.mark.slow
def test_one_table_serves_source_target_and_softmax():
    assert gradients_of_tables({"tie_softmax": False}) == {
        "source_embed/embedding": {3, 4, 2, 1, 5, 6}
    }
    assert gradients_of_tables({}) == {"source_embed/embedding": {*range(VOCABULARY)}}


@pytest.mark.slow
def test_a_vocabulary_of_the_target_has_a_table_of_its_own():
    fields = {"target_vocab_size": 7}
    assert gradients_of_tables({**fields, "tie_softmax": False}) == {
        "source_embed/embedding": {3, 4, 2},
        "target_embed/embedding": {1, 5, 6},
    }
    assert gradients_of_tables(fields) == {
        "source_embed/embedding": {3, 4, 2},
        "target_embed/embedding": {*range(7)},
    }


@pytest.mark.parametrize(("name", "size"), [("paper", 11), ("pre_norm", 7)])
def test_there_is_a_logit_for_each_token_of_the_target(name, size):
    module = TINY.clone(**KINDS[name], dtype=jnp.bfloat16)
    init = module.init_with_output
    logits, _ = jax.eval_shape(init, jax.random.key(0), SOURCE, TARGETS)
    assert (logits.shape, logits.dtype) == ((4, 5, size), jnp.float32)


@pytest.mark.slow
def test_the_bias_is_added_to_the_logits(cases):
    case = cases("learned")
    bias = case.params["logits_bias"]
    without = {**case.params, "logits_bias": jnp.zeros_like(bias)}
    others = jitted_apply(case, {"params": without}, SOURCE, TARGETS)
    assert relative_error(case(), others + bias[None, None]) < ORDER_OF_SUMS


@pytest.mark.slow
def test_what_the_decoder_reads_is_normalised_at_last(cases):
    for name in ("pre_norm", "learned"):
        case = cases(name)
        given = {"params": case.params}, jnp.asarray(SOURCE)
        encoded = case.module.apply(*given, method="encode")
        norm = case.params["encoder_norm"]
        units = (encoded - norm["bias"][None, None]) / norm["scale"][None, None]
        np.testing.assert_allclose(units.mean(-1), 0, atol=1e-3)
        np.testing.assert_allclose(units.std(-1), 1, atol=1e-3)
    assert "encoder_norm" not in cases("paper").params


@pytest.mark.slow
def test_dropout_follows_the_key_and_acts_in_training_alone(cases, key):
    calm = cases("paper")
    noisy = jax.jit(calm.module.clone(dropout_rate=0.3).apply, static_argnames="train")
    given = {"params": calm.params}, SOURCE, TARGETS
    np.testing.assert_allclose(noisy(*given), calm(), atol=ORDER_OF_SUMS)
    drawn, other = (
        noisy(*given, train=True, rngs={"dropout": k})
        for k in (key, jax.random.fold_in(jax.random.clone(key), 1))
    )
    again = noisy(*given, train=True, rngs={"dropout": jax.random.clone(key)})
    np.testing.assert_array_equal(again, drawn)
    assert relative_error(other, drawn) > 0.01
    assert relative_error(drawn, calm()) > 0.01


@pytest.mark.slow
def test_dropout_reaches_embeddings_attention_and_mlps(key):
    # All branches silent: what is left to drop is the embedding.
    module = TINY.clone(dropout_rate=0.5, norm_first=True, final_norm=False)
    params = jax.tree.map(jnp.zeros_like, random_params(module))
    params["source_embed"]["embedding"] = jnp.ones((VOCABULARY, 8))
    quiet = module.clone(positions="none")
    given = {"params": params}, jnp.asarray(SOURCE)
    dropped = quiet.apply(*given, train=True, rngs={"dropout": key}, method="encode")
    # Units are dropped, or doubled: not whole tokens, nor whole examples.
    np.testing.assert_allclose(np.unique(dropped), [0, 2 * math.sqrt(8)], rtol=1e-6)
    assert 60 < (dropped == 0).sum() < 132  # binomial of 192 at 1/2: mean 96, dev. 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_heads": 3}, "num_heads 3 does not divide the width 8"),
        ({"encoder_depth": 0}, "depth 0 must be at least 1"),
        ({"decoder_depth": -1}, "depth -1 must be at least 1"),
        ({"dropout_rate": 1.0}, "dropout_rate 1.0 must be at least 0 and below 1"),
        ({"positions": "learned", "max_len": 5}, "6 tokens are more than the 5"),
        ({"width": 9, "num_heads": 3}, "even width, not 9"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        abstract_params(TINY.clone(**fields))


def test_no_more_can_be_decoded_than_there_are_learned_positions(cases):
    for name, size in (("learned", 9), ("paper", 0)):
        with pytest.raises(InputError, match=f"max_len {size} must be at least 1 and"):
            cases(name).prepare(SOURCE, size)
