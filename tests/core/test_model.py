"""The pair of pure functions, made of Linen modules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import Model, as_images, from_linen


class Network(nn.Module):
    """A dense layer, dropout and batch statistics."""

    rate: float = 0.0

    def setup(self):
        self.dense = nn.Dense(4)
        self.norm = nn.BatchNorm(momentum=0.5)
        self.dropout = nn.Dropout(self.rate)

    def __call__(self, x, *, train):
        x = self.norm(self.dense(x), use_running_average=not train)
        return self.dropout(x, deterministic=not train)

    def features(self, x, *, train):
        return self.dense(x)


class Dense(nn.Module):
    """A layer without any state."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3)(x)


@pytest.fixture
def inputs(rng):
    return jnp.asarray(rng.normal(size=(8, 5)), jnp.float32)


def test_init_parts_parameters_from_state(key, inputs):
    params, model_state = from_linen(Network()).init(key, inputs)
    assert set(params) == {"dense", "norm"}
    assert set(model_state) == {"batch_stats"}
    assert from_linen(Dense()).init(key, inputs)[1] == {}


def test_apply_is_the_module_s_own_result(key, inputs):
    model = from_linen(Dense())
    params, model_state = model.init(key, inputs)
    outputs, _ = model.apply(params, model_state, inputs)
    layer = params["Dense_0"]
    np.testing.assert_array_equal(
        outputs, jnp.dot(inputs, layer["kernel"]) + layer["bias"][None]
    )


def test_the_state_changes_only_in_training(key, inputs):
    model = from_linen(Network())
    params, before = model.init(key, inputs)
    _, after = model.apply(params, before, inputs)
    assert jax.tree.all(jax.tree.map(np.array_equal, before, after))

    _, after = model.apply(params, before, inputs, train=True)
    hidden, _ = from_linen(Network(), method=Network.features).apply(
        params, before, inputs
    )
    # Momentum one half: the mean of 0 (at first) and of this batch.
    np.testing.assert_allclose(
        after["batch_stats"]["norm"]["mean"],
        hidden.mean(0) / 2,
        atol=1e-6,  # float32 sums in another order
    )


def test_the_key_decides_the_dropout(key, inputs):
    model = from_linen(Network(rate=0.5))
    params, state = model.init(key, inputs)
    first, second = jax.random.split(jax.random.key(1))

    def outputs(key):
        return model.apply(params, state, inputs, key=jnp.copy(key), train=True)[0]

    np.testing.assert_array_equal(outputs(first), outputs(first))
    assert (outputs(first) != outputs(second)).any()
    assert (outputs(first) == 0).any()


def test_without_training_no_key_is_needed(key, inputs):
    model = from_linen(Network(rate=0.5))
    params, state = model.init(key, inputs)
    outputs, _ = model.apply(params, state, inputs)
    assert (outputs != 0).all()


def test_training_without_a_key_that_dropout_needs_is_an_error(key, inputs):
    model = from_linen(Network(rate=0.5))
    params, state = model.init(key, inputs)
    with pytest.raises(Exception, match="needs PRNG"):
        model.apply(params, state, inputs, train=True)


def test_another_method_can_be_applied(key, inputs):
    params, state = from_linen(Network()).init(key, inputs)
    features = from_linen(Network(), method=Network.features)
    outputs, unchanged = features.apply(params, state, inputs)
    kernel, bias = params["dense"]["kernel"], params["dense"]["bias"]
    np.testing.assert_array_equal(outputs, jnp.dot(inputs, kernel) + bias[None])
    assert jax.tree.all(jax.tree.map(np.array_equal, state, unchanged))


def test_jit_gives_the_same_as_eager(key, inputs):
    model = from_linen(Network())
    params, state = model.init(key, inputs)
    apply = jax.jit(model.apply, static_argnames="train")
    for train in (False, True):
        eager, _ = model.apply(params, state, inputs, train=train)
        jitted, _ = apply(params, state, inputs, train=train)
        np.testing.assert_allclose(eager, jitted, atol=1e-6)  # fused float32 operations


def test_two_plain_functions_are_a_model(key, inputs):
    def init(key, x):
        return {"w": jax.random.normal(key, x.shape[1:])}, {}

    def apply(params, model_state, x, *, key=None, train=False):
        return x @ params["w"], model_state

    model = Model(init, apply)
    outputs, _ = model.apply(*model.init(key, inputs), inputs)
    assert outputs.shape == (8,)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.bool_])
def test_pixels_from_0_to_255_are_no_images_to_a_network(dtype):
    with pytest.raises(
        InputError, match=rf"images are {np.dtype(dtype)}; .* \[-1, 1\]"
    ):
        as_images(np.zeros((1, 2, 2, 1), dtype), jnp.float32)
    assert as_images(np.ones(3), jnp.bfloat16).dtype == jnp.bfloat16
