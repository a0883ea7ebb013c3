"""Tests of `jaxlab.interop.key_table`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths
from jaxlab.interop.key_table import (
    CONV,
    FLAT,
    KEEP,
    LINEAR,
    LINEAR_JOIN,
    Rule,
    linear,
    norm,
    to_params,
    to_weights,
)
from tests.jitted import jitted_apply

RULES = [
    *linear("layers.{i}.dense", "block_{i}/dense"),
    *norm("norm", "norm"),
]
SHAPES = {
    "block_0": {"dense": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}},
    "block_1": {"dense": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}},
    "norm": {"scale": np.zeros(3, np.float32), "bias": np.zeros(3, np.float32)},
}


@pytest.fixture
def weights(rng):
    """Give weights that fit `RULES` and `SHAPES`."""
    layers = {}
    for i in range(2):
        layers[f"layers.{i}.dense.weight"] = rng.normal(size=(3, 2))
        layers[f"layers.{i}.dense.bias"] = rng.normal(size=3)
    ends = {"norm.weight": rng.normal(size=3), "norm.bias": rng.normal(size=3)}
    return {**layers, **ends}


def test_each_weight_arrives_at_its_path_in_the_wanted_dtype(weights):
    params = to_params(weights, RULES, SHAPES)
    assert jax.tree.structure(params) == jax.tree.structure(SHAPES)
    np.testing.assert_array_equal(
        params["block_1"]["dense"]["kernel"], weights["layers.1.dense.weight"].T
    )
    np.testing.assert_array_equal(
        params["norm"]["scale"], weights["norm.weight"].astype(np.float32)
    )
    assert params["norm"]["scale"].dtype == np.float32


def test_weights_out_are_the_weights_in(weights):
    back = to_weights(to_params(weights, RULES, SHAPES), RULES)
    assert back.keys() == weights.keys()
    for key, weight in weights.items():
        np.testing.assert_allclose(back[key], weight, rtol=1e-7)  # float32 norms


def test_shapes_may_be_abstract(weights):
    abstract = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, SHAPES))
    assert to_params(weights, RULES, abstract)["norm"]["bias"].shape == (3,)


@pytest.mark.parametrize(
    ("transform", "source", "ours"),
    [
        (KEEP, (1, 1, 4), (1, 1, 4)),
        (FLAT, (6,), (2, 3)),
        (LINEAR, (6, 4), (4, 6)),
        (LINEAR, (6, 4), (4, 2, 3)),
        (LINEAR_JOIN, (4, 6), (2, 3, 4)),
        (CONV, (5, 2, 3, 4), (3, 4, 2, 5)),
    ],
)
def test_saving_undoes_loading(transform, source, ours, rng):
    array = rng.normal(size=source)
    rules = [Rule("a", "a", transform)]
    params = to_params({"a": array}, rules, {"a": np.zeros(ours)})
    assert params["a"].shape == ours
    np.testing.assert_array_equal(to_weights(params, rules)["a"], array)


def test_parts_of_one_weight_fill_several_parameters(rng):
    rules = [
        Rule("qkv", name, LINEAR, part=(index, 3)) for index, name in enumerate("qkv")
    ]
    fused = rng.normal(size=(6, 4))
    params = to_params({"qkv": fused}, rules, {n: np.zeros((4, 2)) for n in "qkv"})
    np.testing.assert_array_equal(params["k"], fused[2:4].T)
    np.testing.assert_array_equal(to_weights(params, rules)["qkv"], fused)
    with pytest.raises(InputError, match="incomplete: qkv"):
        to_weights({"q": params["q"], "k": params["k"]}, rules)
    with pytest.raises(InputError, match=r"qkv \(7, 4\) not \(6, 4\)"):
        to_params({"qkv": np.zeros((7, 4))}, rules, params)


def test_every_misfit_is_named_at_once(weights):
    del weights["layers.0.dense.bias"]
    weights["surplus"] = np.zeros(1)
    weights["norm.bias"] = np.zeros((1, 3))
    with pytest.raises(InputError) as raised:
        to_params(weights, RULES, SHAPES)
    message = str(raised.value)
    assert "missing: layers.0.dense.bias;" in message
    assert "not known: surplus;" in message
    assert "of another shape: norm.bias (1, 3) not (3,)" in message


def test_a_parameter_in_no_rule_is_refused(weights):
    with pytest.raises(InputError, match="with no counterpart: probe"):
        to_params(weights, RULES, {**SHAPES, "probe": np.zeros(3)})
    with pytest.raises(InputError, match="with no counterpart: probe"):
        to_weights({**SHAPES, "probe": np.zeros(3)}, RULES)


def test_only_listed_keys_may_be_left_out(weights):
    weights["layers.7.cache"] = np.zeros(1)
    with pytest.raises(InputError, match=r"not known: layers\.7\.cache"):
        to_params(weights, RULES, SHAPES, ignore={"layers.cache": "another key"})
    ignore = {"layers.{i}.cache": "filled again at run time"}
    params = to_params(weights, RULES, SHAPES, ignore=ignore)
    assert flat_paths(params).keys() == flat_paths(SHAPES).keys()


def test_a_long_list_of_names_is_cut(weights):
    weights |= {f"surplus_{i}": np.zeros(1) for i in range(9)}
    with pytest.raises(InputError, match=r"surplus_5 and 3 more$"):
        to_params(weights, RULES, SHAPES)


def test_a_weight_that_is_no_array_is_named(weights):
    class OnAnotherDevice:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("copy the tensor to host memory first")

    weights["norm.bias"] = OnAnotherDevice()
    with pytest.raises(InputError, match=r"weight norm\.bias .* to host memory first"):
        to_params(weights, RULES, SHAPES)


@pytest.mark.peer
def test_fused_projections_of_torch_attention_load_by_parts(rng, key):
    torch = pytest.importorskip("torch")
    from jaxlab.nn.attention import MultiHeadAttention

    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    rules = [*linear("out_proj", "out", LINEAR_JOIN)]
    for index, name in enumerate(["query", "key", "value"]):
        rules += [
            Rule("in_proj_weight", f"{name}/kernel", LINEAR, part=(index, 3)),
            Rule("in_proj_bias", f"{name}/bias", FLAT, part=(index, 3)),
        ]
    x = rng.normal(size=(2, 5, 8)).astype(np.float32)
    ours = MultiHeadAttention(8, 2)
    shapes = jax.eval_shape(ours.init, key, jnp.asarray(x))["params"]
    params = to_params(theirs.state_dict(), rules, shapes)
    with torch.no_grad():
        expected = theirs(*[torch.from_numpy(x)] * 3, need_weights=False)[0].numpy()
    got = jitted_apply(ours, {"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)  # order of sums
    back = to_weights(params, rules)
    for name, weight in theirs.state_dict().items():
        np.testing.assert_array_equal(back[name], weight.numpy())
