"""Tests of `jaxlab.nn.attention.AttentionOptions`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.nn.attention import AttentionOptions, KeyValues, MultiHeadAttention
from tests.jitted import jitted_apply, jitted_init

# Sums of a few dozen float32 products, in another order.
ORDER_OF_SUMS = 1e-5
# The same for outputs of up to 20, of parameters with deviation 1.
OUTPUTS = 1e-4


@pytest.mark.peer
@pytest.mark.parametrize("norm", [None, "layer"])
@pytest.mark.parametrize("qkv_bias", [False, True])
def test_options_are_those_of_torch(rng, key, norm, qkv_bias):
    torch = pytest.importorskip("torch")
    options = AttentionOptions(qkv_bias=qkv_bias, qk_norm=norm)
    attention = MultiHeadAttention(12, 3, options=options)
    x = jnp.asarray(rng.normal(size=(2, 5, 12)), jnp.float32)
    bias = jnp.asarray(rng.normal(size=(1, 3, 5, 5)), jnp.float32)
    shapes = jax.eval_shape(lambda: attention.init(key, x))["params"]
    params = jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), shapes
    )
    assert ("bias" in params["query"]) == qkv_bias
    assert "bias" in params["out"]
    apply = jax.jit(
        lambda p, x, bias: attention.apply({"params": p}, x, None, None, bias)
    )
    got = apply(params, x, bias)

    def heads(name):
        part = {k: torch.tensor(np.asarray(v)) for k, v in params[name].items()}
        out = torch.einsum("btd,dhk->bhtk", torch.tensor(np.asarray(x)), part["kernel"])
        if qkv_bias:
            out = out + part["bias"][:, None]
        if norm is None or name == "value":
            return out
        scale = {
            k: torch.tensor(np.asarray(v)) for k, v in params[f"{name}_norm"].items()
        }
        return torch.nn.functional.layer_norm(
            out, (4,), scale["scale"], scale["bias"], eps=1e-6
        )

    mixed = torch.nn.functional.scaled_dot_product_attention(
        heads("query"), heads("key"), heads("value"), torch.tensor(np.asarray(bias))
    )
    out = {k: torch.tensor(np.asarray(v)) for k, v in params["out"].items()}
    expected = torch.einsum("bhtk,hkd->btd", mixed, out["kernel"]) + out["bias"]
    np.testing.assert_allclose(got, expected, atol=OUTPUTS)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_options_hold_while_decoding(rng, key, norm):
    options = AttentionOptions(qkv_bias=False, qk_norm=norm)
    attention = MultiHeadAttention(12, 3, causal=True, rotary=100.0, options=options)
    x = jnp.asarray(rng.normal(size=(2, 5, 12)), jnp.float32)
    variables = jitted_init(attention, key, x)
    whole = jitted_apply(attention, variables, x)
    cache = KeyValues(*(jnp.zeros((2, 3, 5, 4)) for _ in range(2)))
    start = jnp.zeros(2, jnp.int32)
    first, cache = attention.apply(variables, x[:, :3], cache, start, method="extend")
    rest, _ = attention.apply(variables, x[:, 3:], cache, start + 3, method="extend")
    np.testing.assert_allclose(
        jnp.concatenate([first, rest], 1), whole, atol=ORDER_OF_SUMS
    )
