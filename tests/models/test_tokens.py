"""Every network of tokens: what is no token is refused, or NaN under `jit`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.models.recurrent.language import RNNLM, RNNClassifier
from jaxlab.models.recurrent.seq2seq import Seq2SeqRNN
from jaxlab.models.transformer.decoder import TransformerLM
from jaxlab.models.transformer.encoder import TransformerEncoder
from jaxlab.models.transformer.encoder_decoder import Transformer
from tests.jitted import jitted_apply

V = 5
SIZES = {"width": 8, "num_heads": 2}
# Name: the network, and whether it reads a source and a target.
NETWORKS = {
    "transformer_lm": (TransformerLM(vocab_size=V, depth=1, **SIZES), False),
    "encoder": (TransformerEncoder(vocab_size=V, depth=1, **SIZES), False),
    "encoder_decoder": (
        Transformer(vocab_size=V, encoder_depth=1, decoder_depth=1, **SIZES),
        True,
    ),
    "two_tables": (
        Transformer(
            vocab_size=V,
            target_vocab_size=V,
            encoder_depth=1,
            decoder_depth=1,
            **SIZES,
        ),
        True,
    ),
    "rnn_lm": (RNNLM(V, width=8), False),
    "rnn_classifier": (RNNClassifier(V, 3, width=8), False),
    "seq2seq": (Seq2SeqRNN(V, width=8), True),
    "seq2seq_two_tables": (Seq2SeqRNN(V, V, width=8), True),
}
TOKENS = jnp.array([[1, 2, 3], [4, 3, 2]])


def ones(network, *inputs):
    """Give parameters that are all one: nothing of the inputs gets lost."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_no_token_is_refused_or_gives_nan(name):
    network, has_target = NETWORKS[name]
    inputs = (TOKENS, TOKENS) if has_target else (TOKENS,)
    variables = ones(network, *inputs)
    apply = jax.jit(network.apply)
    for place in range(len(inputs)):
        for wrong in (-1, V):
            changed = list(inputs)
            changed[place] = TOKENS.at[1, 1].set(wrong)
            with pytest.raises(InputError, match=rf"token {wrong} at \[1, 1\]"):
                jax.eval_shape(lambda v, c=changed: network.apply(v, *c), variables)
            logits = apply(variables, *changed)
            assert np.isnan(logits[1]).any()
            assert np.isfinite(logits[0]).all()


def test_what_is_no_kind_of_token_is_refused_or_gives_nan():
    network = TransformerEncoder(vocab_size=V, depth=1, num_types=2, **SIZES)
    variables = ones(network, TOKENS)
    types = jnp.array([[0, 1, 0], [0, 2, 1]])
    with pytest.raises(InputError, match=r"type 2 at \[1, 1\]"):
        jax.eval_shape(lambda v: network.apply(v, TOKENS, types), variables)
    logits = jax.jit(network.apply)(variables, TOKENS, types)
    assert np.isnan(logits[1]).all()
    assert np.isfinite(logits[0]).all()
    network = network.clone(num_types=0)
    with pytest.raises(InputError, match="num_types=0, which has none"):
        ones(network, TOKENS, types)


@pytest.mark.parametrize("name", ["transformer_lm", "encoder_decoder"])
def test_a_step_without_room_is_refused_or_gives_nan(name):
    network, has_target = NETWORKS[name]
    inputs = (TOKENS, TOKENS) if has_target else (TOKENS,)
    variables = ones(network, *inputs)
    if has_target:
        context, state = jitted_apply(network, variables, TOKENS, 2, method="prepare")
    else:
        context = None
        _, state = jitted_apply(
            network, variables, TOKENS[:, :1], jnp.array([1, 1]), 2, method="prefill"
        )
    state = state._replace(length=jnp.array([1, 2]))
    token = jnp.array([1, 1])
    with pytest.raises(InputError, match=r"length 2 at \[1\] .* room for 2 tokens"):
        jax.eval_shape(
            lambda v: network.apply(v, token, state, context, method="step"), variables
        )
    logits, _ = jitted_apply(network, variables, token, state, context, method="step")
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()
