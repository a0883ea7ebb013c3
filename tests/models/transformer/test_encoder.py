"""Tests of `jaxlab.models.transformer.encoder`; parity with BERT: tests/interop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths, num_elements
from jaxlab.models.transformer.encoder import TransformerEncoder
from jaxlab.nn.stack import unstack_blocks
from tests.closeness import relative_error
from tests.jitted import jitted_apply

# Relative to the largest value: float32 sums of a few dozen products, in another order.
ORDER_OF_SUMS = 1e-5
VOCABULARY = 11

TINY = TransformerEncoder(
    vocab_size=VOCABULARY,
    width=8,
    num_heads=2,
    hidden_dim=12,
    depth=2,
    num_types=2,
    max_len=8,
    dropout_rate=0.0,
)
KINDS = {
    "bert": {},
    "pre_norm": {
        "norm_first": True,
        "embed_norm": False,
        "positions": "rotary",
        "num_types": 0,
        "num_kv_heads": 1,
        "scan": True,
    },
}
TOKENS = np.array([[3, 4, 9, 10, 2], [8, 5, 2, 0, 0], [0] * 5], np.int32)
IS_TOKEN = TOKENS != 0


def abstract_params(module):
    return jax.eval_shape(module.init, jax.random.key(0), TOKENS)["params"]


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

    def __call__(self, tokens=TOKENS, types=None):
        return np.asarray(self.apply({"params": self.params}, tokens, types))


@pytest.fixture(scope="module")
def bert():
    """Give a small BERT."""
    return Case(KINDS["bert"])


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    """Give each case in turn."""
    return Case(KINDS[request.param])


@pytest.mark.slow
def test_no_token_sees_padding(case):
    features = case()
    assert features.shape == (3, 5, 8)
    assert np.isfinite(features).all()  # of the row of padding alone, too
    longer = case(np.pad(TOKENS, ((0, 0), (0, 2))))[:, :5]
    assert relative_error(longer[IS_TOKEN], features[IS_TOKEN]) < ORDER_OF_SUMS
    for row, length in ((0, 5), (1, 3)):
        for t in range(length):
            changed = TOKENS.copy()
            changed[row, t] = (changed[row, t] + 1) % VOCABULARY or 1
            difference = np.abs(case(changed) - features).max(axis=-1)
            assert difference[row, :length].min() > 1e-4  # each sees each
            assert np.delete(difference, row, axis=0).max() < ORDER_OF_SUMS


@pytest.mark.slow
def test_a_scan_is_a_loop():
    case = Case(KINDS["pre_norm"])
    encoder = unstack_blocks(case.params["encoder"])
    looped = case.module.clone(scan=False)
    got = jax.jit(looped.apply)({"params": {**case.params, "encoder": encoder}}, TOKENS)
    assert relative_error(got, case()) < ORDER_OF_SUMS


@pytest.mark.slow
def test_types_are_added_to_their_tokens(bert):
    types = np.array([[0, 0, 1, 1, 1], [0] * 5, [1] * 5], np.int32)
    np.testing.assert_array_equal(bert(types=np.zeros_like(types)), bert())
    features = bert(types=types)
    np.testing.assert_allclose(features[1], bert()[1], atol=ORDER_OF_SUMS)
    assert np.abs(features - bert())[0].max(axis=-1).min() > 1e-3
    # With every token of type 1, its vector may as well be part of all positions.
    first, second = bert.params["type_embed"]
    positions = bert.params["token_embed"]["pos_embed"] + (second - first)[None]
    embed = {**bert.params["token_embed"], "pos_embed": positions}
    moved = jitted_apply(
        bert, {"params": {**bert.params, "token_embed": embed}}, TOKENS
    )
    got = bert(types=np.ones_like(types))
    assert relative_error(got, moved) < ORDER_OF_SUMS


@pytest.mark.slow
def test_embeddings_are_summed_and_normalised(bert):
    # Silent blocks with norms that change nothing pass on what the embedding gives.
    params = jax.tree.map(jnp.zeros_like, bert.params)
    for name in ("token_embed", "type_embed", "first_norm"):
        params[name] = bert.params[name]
    module = bert.module.clone(norm_first=True)
    params["final_norm"] = {"scale": jnp.ones(8), "bias": jnp.zeros(8)}
    got = jax.jit(module.apply)({"params": params}, TOKENS)
    p = jax.tree.map(np.asarray, bert.params)

    def normal(x):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)

    table, positions = p["token_embed"]["embedding"], p["token_embed"]["pos_embed"]
    x = normal(table[TOKENS] + positions[:5] + p["type_embed"][0])
    x = normal(x * p["first_norm"]["scale"] + p["first_norm"]["bias"])
    assert relative_error(got, x) < ORDER_OF_SUMS


@pytest.mark.slow
def test_pooling_reads_the_first_token_or_the_mean_of_all_but_padding(bert):
    features = bert()
    given = {"params": bert.params}, TOKENS
    first, mean = (
        jax.jit(bert.module.clone(pool=pool).apply)(*given)
        for pool in ("token", "mean")
    )
    assert relative_error(first, features[:, 0]) < ORDER_OF_SUMS
    expected = [features[0].mean(0), features[1, :3].mean(0), np.zeros(8)]
    assert relative_error(mean, np.stack(expected)) < ORDER_OF_SUMS


@pytest.mark.slow
def test_heads_are_a_tanh_layer_and_a_dense_one(bert):
    module = bert.module.clone(pool="token", representation_size=6, num_classes=3)
    params = {**random_params(module), **bert.params}
    got = jax.jit(module.apply)({"params": params}, TOKENS)
    p = jax.tree.map(np.asarray, params)
    layer, head = p["pre_logits"], p["head"]
    hidden = np.tanh(bert()[:, 0] @ layer["kernel"] + layer["bias"])
    assert relative_error(got, hidden @ head["kernel"] + head["bias"]) < ORDER_OF_SUMS


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({}, (3, 5, 8)),
        ({"pool": "token"}, (3, 8)),
        ({"pool": "mean"}, (3, 8)),
        ({"pool": "mean", "num_classes": 4}, (3, 4)),
        ({"pool": "token", "representation_size": 6}, (3, 6)),
        ({"num_classes": 4}, (3, 5, 4)),
        ({"pool": "mean", "dtype": jnp.bfloat16}, (3, 8)),
    ],
)
def test_outputs_have_the_shape_of_the_request(fields, shape):
    init = TINY.clone(**fields).init_with_output
    outputs, _ = jax.eval_shape(init, jax.random.key(0), TOKENS)
    assert (outputs.shape, outputs.dtype) == (shape, jnp.float32)


def test_the_default_has_the_size_of_bert():
    sizes = {"width": 768, "num_heads": 12, "num_types": 2}
    params = abstract_params(TransformerEncoder(**sizes))
    # bert-base-uncased with its pooler, as transformers counts it.
    assert num_elements(params) + 768 * 768 + 768 == 109_482_240
    pooled = TransformerEncoder(**sizes, pool="token", representation_size=768)
    assert num_elements(abstract_params(pooled)) == 109_482_240


@pytest.mark.slow
def test_a_row_of_padding_alone_has_finite_gradients(bert):
    module = bert.module.clone(pool="mean")

    @jax.jit
    @jax.grad
    def by(params):
        return (module.apply({"params": params}, jnp.asarray(TOKENS)) ** 2).sum()

    for path, grad in flat_paths(by(bert.params)).items():
        assert np.isfinite(grad).all(), path


def test_more_tokens_than_learned_positions_are_refused():
    with pytest.raises(InputError, match="5 tokens are more than the 4 learned"):
        abstract_params(TINY.clone(max_len=4))
