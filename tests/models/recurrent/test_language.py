"""Tests of `jaxlab.models.recurrent.language` and `jaxlab.models.recurrent.seq2seq`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.core.pytree import flat_paths
from jaxlab.models.recurrent.language import RNNLM, RNNClassifier
from jaxlab.models.recurrent.seq2seq import Seq2SeqRNN
from tests.jitted import jitted_apply, jitted_init

V, B, S, T, H = 9, 3, 6, 5, 8
LENGTHS = np.array([6, 4, 2])
ATTENTIONS = ["luong", "bahdanau", "none"]
# A few dozen float32 operations, in another order, on values of about 1.
ROUNDING = 3e-6


@pytest.fixture
def source(rng):
    """Give tokens of several lengths, with padding behind them."""
    tokens = jnp.asarray(rng.integers(3, V, (B, S)), jnp.int32)
    return jnp.where(jnp.arange(S)[None] < LENGTHS[:, None], tokens, 0)


@pytest.fixture
def targets(rng):
    """Give target tokens."""
    return jnp.asarray(rng.integers(1, V, (B, T)), jnp.int32)


def random_variables(module, *inputs):
    """Give parameters of which none is zero."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return {
        "params": jax.tree.map(
            lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), s.dtype), shapes
        )
    }


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING)


def steps(module, variables, tokens, state, context=None):
    """Feed tokens one by one; give the logits of all times."""
    step = jax.jit(
        lambda token, state: module.apply(
            variables, token, state, context, method="step"
        )
    )
    logits = []
    for t in range(tokens.shape[1]):
        now, state = step(tokens[:, t], state)
        logits.append(now)
    return np.stack(logits, axis=1), state


# Language model


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("tied", [False, True])
def test_steps_of_a_language_model_are_its_call(source, cell, tied):
    module = RNNLM(V, H, 2, cell, embed_width=4, tied=tied, pad=None)
    variables = random_variables(module, source)
    _, start = jitted_apply(
        module, variables, source, jnp.ones(B, jnp.int32), S, method="prefill"
    )
    logits, _ = steps(module, variables, source, start)
    close(logits, jitted_apply(module, variables, source))


@pytest.mark.parametrize("pad", [None, 0])
def test_a_call_and_steps_agree_on_token_0(source, pad):
    assert RNNLM(V).pad is None
    module = RNNLM(V, H, 2, pad=pad)
    tokens = source.at[:, 1].set(0)
    variables = random_variables(module, tokens)
    expected = jitted_apply(module, variables, tokens)
    ones = jnp.ones(B, jnp.int32)
    _, start = jitted_apply(module, variables, tokens, ones, S, method="prefill")
    logits, _ = steps(module, variables, tokens, start)
    close(logits, expected)
    # A prompt with padding in it is what the call makes of it, too.
    last, state = jitted_apply(
        module, variables, tokens, jnp.full(B, 3), S, method="prefill"
    )
    logits, _ = jitted_apply(module, variables, last, state, method="step")
    close(logits, expected[:, 2])


def test_prefill_stops_before_the_last_token_of_each_prompt(source):
    module = RNNLM(V, H, 2)
    variables = random_variables(module, source)
    full = jitted_apply(module, variables, source)
    other = jnp.where(source == 0, 7, source)  # what stands behind does not matter
    begin, state = jitted_apply(
        module, variables, other, jnp.asarray(LENGTHS), S, method="prefill"
    )
    last = (jnp.arange(B), LENGTHS - 1)
    np.testing.assert_array_equal(begin, source[last])
    logits, _ = jitted_apply(module, variables, begin, state, method="step")
    close(logits, full[last])
    assert all(len(leaf) == B for leaf in jax.tree.leaves(state))


def test_a_language_model_does_not_see_the_future(source):
    module = RNNLM(V, H)
    variables = random_variables(module, source)
    before = jitted_apply(module, variables, source)
    after = jitted_apply(module, variables, source.at[0, 3].set(source[0, 3] % 6 + 3))
    np.testing.assert_array_equal(before[0, :3], after[0, :3])
    assert np.abs(before[0, 3:] - after[0, 3:]).max() > 1e-3


def test_padding_before_a_text_changes_nothing(source):
    module = RNNLM(V, H, pad=0)
    variables = random_variables(module, source)
    shifted = jnp.pad(source[:1], ((0, 0), (2, 0)))
    close(
        jitted_apply(module, variables, shifted)[:, 2:],
        jitted_apply(module, variables, source[:1]),
    )


def test_tied_logits_are_products_with_the_embeddings(source):
    module = RNNLM(V, H, tied=True, pad=0)
    variables = random_variables(module, source)
    assert "out" not in variables["params"]["words"]
    hidden, _ = module.bind(variables).stack(
        module.bind(variables).words(source), None, source != 0, train=False
    )
    words = variables["params"]["words"]
    expected = hidden @ words["table"]["embedding"].T + words["bias"][None, None]
    close(jitted_apply(module, variables, source), expected)


# Classifier


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_a_padded_text_is_classified_as_alone(source, pool):
    module = RNNClassifier(V, 4, H, 2, pool=pool)
    variables = random_variables(module, source)
    together = jitted_apply(module, variables, source)
    for row, length in enumerate(LENGTHS):
        alone = jitted_apply(module, variables, source[row : row + 1, :length])
        close(together[row], alone[0])
    assert np.isfinite(jitted_apply(module, variables, jnp.zeros_like(source))).all()


def test_the_last_states_are_those_of_both_ends(source):
    """Directions exchanged, the mirrored text ends in the same pair of states."""
    module = RNNClassifier(V, 4, H, pool="last")
    params = random_variables(module, source)["params"]
    stack, head = params["stack"], params["head"]
    mirrored = {
        **params,
        "stack": {
            "layer_0": stack["layer_0_reverse"],
            "layer_0_reverse": stack["layer_0"],
        },
        "head": {**head, "kernel": jnp.roll(head["kernel"], H, axis=0)},
    }
    close(
        jitted_apply(module, {"params": mirrored}, source[:, ::-1]),
        jitted_apply(module, {"params": params}, source),
    )


# Sequence to sequence


@pytest.fixture(params=ATTENTIONS)
def attention(request):
    """Give the kind of attention."""
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(("depth", "bidirectional"), [(1, False), (2, True)])
def test_steps_of_a_decoder_are_its_call(
    source, targets, attention, cell, depth, bidirectional
):
    module = Seq2SeqRNN(
        V, 0, H, depth, cell, attention, bidirectional, embed_width=4, tied=True
    )
    variables = random_variables(module, source, targets)
    context, state = jitted_apply(module, variables, source, T, method="prepare")
    assert all(len(leaf) == B for leaf in jax.tree.leaves((context, state)))
    logits, _ = steps(module, variables, targets, state, context)
    full = jax.jit(module.apply)(variables, source, targets)
    assert full.dtype == jnp.float32
    close(logits, full)


@pytest.mark.slow
def test_a_padded_source_is_read_as_alone(source, targets, attention):
    module = Seq2SeqRNN(V, 11, H, 2, attention=attention)
    variables = random_variables(module, source, targets)
    apply = jax.jit(module.apply)
    together = apply(variables, source, targets)
    for row, length in enumerate(LENGTHS):
        alone = apply(variables, source[row : row + 1, :length], targets[row : row + 1])
        close(together[row], alone[0])


@pytest.mark.slow
def test_a_source_of_padding_alone_is_finite(source, targets, attention, key):
    module = Seq2SeqRNN(V, width=H, attention=attention, dropout_rate=0.1)
    variables = random_variables(module, source, targets)
    empty = source.at[0].set(0)

    def loss(params):
        model = from_linen(module)
        logits, _ = model.apply(params, {}, empty, targets, key=key, train=True)
        return jnp.square(logits).sum()

    grads = jax.jit(jax.grad(loss))(variables["params"])
    for path, grad in flat_paths(grads).items():
        assert np.isfinite(grad).all(), path
        assert np.abs(grad).max() > 0, path


@pytest.mark.parametrize("attention", ["luong", "bahdanau"])
def test_attention_weights_are_shares_of_the_tokens(source, targets, attention):
    module = Seq2SeqRNN(V, width=H, attention=attention)
    variables = random_variables(module, source, targets)
    _, sown = module.apply(variables, source, targets, mutable=["intermediates"])
    (weights,) = sown["intermediates"]["attention_weights"]
    assert weights.shape == (B, 1, T, S)
    close(weights.sum(-1), np.ones((B, 1, T)))
    hidden = np.broadcast_to((source == 0)[:, None, None], weights.shape)
    assert not weights[hidden].any()
    assert (np.asarray(weights)[~hidden] > 0).all()


def numpy_lstm_step(layer, x, hidden, memory):
    gates = x @ layer["input_kernel"] + hidden @ layer["hidden_kernel"] + layer["bias"]
    i, f, g, o = np.split(gates, 4, axis=-1)
    i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
    memory = f * memory + i * np.tanh(g)
    return o * np.tanh(memory), memory


def softmax(scores):
    scores = np.exp(scores - scores.max())
    return scores / scores.sum()


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["luong", "bahdanau"])
def test_a_decoder_is_the_papers_equations(source, targets, attention):
    """Row by row and step by step in float64, from the encoder's outputs on."""
    module = Seq2SeqRNN(V, width=H, attention=attention)
    variables = random_variables(module, source, targets)
    context, ((start_hidden, start_memory),) = jitted_apply(
        module, variables, source, method="prepare"
    )
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    got = jitted_apply(module, variables, source, targets)
    for row, length in enumerate(LENGTHS):
        values = np.asarray(context.values[row, :length], np.float64)
        hidden, memory = np.asarray(start_hidden[row]), np.asarray(start_memory[row])
        for t in range(T):
            x = p["target_words"]["table"]["embedding"][targets[row, t]]
            if attention == "bahdanau":
                layer = p["attentive"]
                keys = values @ p["key"]["kernel"]
                energy = np.tanh(keys + hidden @ layer["query_kernel"])
                seen = softmax((energy @ layer["score_kernel"])[:, 0]) @ values
                x = np.concatenate([x, seen])
                hidden, memory = numpy_lstm_step(layer, x, hidden, memory)
            else:
                layer = p["decoder"]["layer_0"]
                hidden, memory = numpy_lstm_step(layer, x, hidden, memory)
                seen = softmax(values @ p["key"]["kernel"] @ hidden) @ values
            both = np.concatenate([hidden, seen])
            read = np.tanh(both @ p["readout"]["kernel"])
            out = p["target_words"]["out"]
            expected = read @ out["kernel"] + out["bias"]
            np.testing.assert_allclose(got[row, t], expected, rtol=1e-5, atol=1e-5)


def test_an_odd_width_cannot_be_halved(source, targets, key):
    with pytest.raises(InputError, match="width 7 cannot be halved"):
        jitted_init(Seq2SeqRNN(V, width=7), key, source, targets)
    jitted_init(
        Seq2SeqRNN(V, width=7, bidirectional=False),
        jax.random.clone(key),
        source,
        targets,
    )
