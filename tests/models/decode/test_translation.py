"""Tests of `jaxlab.models.decode.translation`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.model import from_linen
from jaxlab.models.decode.translation import attention_weights, translate
from jaxlab.models.recurrent.seq2seq import Seq2SeqRNN
from jaxlab.models.transformer.encoder_decoder import Transformer
from tests.jitted import jitted_init

BOS, EOS, VOCAB = 1, 2, 9
SOURCE = jnp.array([[3, 4, 5, 6, EOS], [7, 8, EOS, 0, 0]])
TRANSFORMER = Transformer(
    vocab_size=VOCAB, width=8, num_heads=2, encoder_depth=2, decoder_depth=2
)
MODELS = {
    "transformer": TRANSFORMER,
    "scan": TRANSFORMER.clone(scan=True),
    "luong": Seq2SeqRNN(VOCAB, width=8, cell="gru"),
    "bahdanau": Seq2SeqRNN(VOCAB, width=8, depth=2, attention="bahdanau"),
}


@pytest.fixture(params=MODELS)
def case(request, key, rng):
    """Give a module and parameters that are all random."""
    module = MODELS[request.param]
    shapes, _ = jax.eval_shape(from_linen(module).init, key, SOURCE, SOURCE)
    return module, jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), shapes
    )


@pytest.mark.slow
def test_greedy_translation_is_that_of_repeated_whole_calls(case):
    module, params = case
    found = jax.jit(
        lambda params: translate(
            module, params, SOURCE, max_new=6, beams=1, forbidden=(3,)
        ).best()
    )(params)
    whole = jax.jit(lambda targets: module.apply({"params": params}, SOURCE, targets))
    targets = np.full((2, 7), 0, np.int32)
    targets[:, 0] = BOS
    for place in range(6):
        logits = np.array(whole(jnp.asarray(targets))[:, place])
        logits[:, [0, BOS, 3]] = -np.inf
        targets[:, place + 1] = logits.argmax(-1)
    for row, length, expected in zip(
        np.asarray(found.tokens), np.asarray(found.lengths), targets[:, 1:], strict=True
    ):
        np.testing.assert_array_equal(row[:length], expected[:length])
        assert length == 6 or row[length - 1] == EOS


@pytest.mark.slow
def test_attention_weights_add_up_to_one_and_leave_padding_out(case):
    module, params = case
    targets = jnp.array([[BOS, 3, 4], [BOS, 5, 6]])
    weights = attention_weights(module, params, SOURCE, targets)
    assert weights.shape == (2, 3, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(weights[1, :, 3:], 0)
    assert np.ptp(np.asarray(weights)[0], axis=-1).min() > 1e-3  # they look somewhere


def test_a_network_without_attention_has_no_weights(key):
    module = Seq2SeqRNN(VOCAB, width=8, attention="none")
    params = jitted_init(module, key, SOURCE, SOURCE)["params"]
    assert attention_weights(module, params, SOURCE, SOURCE) is None


def test_the_last_layer_is_the_last_by_number(key):
    module = TRANSFORMER.clone(decoder_depth=11)
    params = jitted_init(module, key, SOURCE, SOURCE)["params"]
    last = params["decoder"]["block_10"]["memory_attention"]["query"]
    last["kernel"] = 0 * last["kernel"]  # all scores are alike
    weights = attention_weights(module, params, SOURCE, SOURCE)
    np.testing.assert_allclose(weights[0], 0.2, rtol=1e-6)
