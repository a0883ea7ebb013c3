"""Tests of `jaxlab.losses.lipschitz`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import SPECTRAL, Model, from_linen
from jaxlab.losses.lipschitz import (
    clip_weights,
    critic_of_rows,
    dragan_penalty,
    gradient_norms,
    gradient_penalty,
    interpolate,
    r1_penalty,
    r2_penalty,
)
from tests.jitted import jitted_apply, jitted_init

# Float32, a few dozen products in another order than torch.
ORDER_OF_SUMS = 1e-6


@pytest.fixture
def params(rng):
    """Give a critic of two layers, 3 to 8 to 1."""
    return {
        "w0": jnp.asarray(rng.normal(size=(3, 8)), jnp.float32),
        "b0": jnp.asarray(rng.normal(size=8), jnp.float32),
        "w1": jnp.asarray(rng.normal(size=(8, 1)) / 3, jnp.float32),
        "b1": jnp.asarray(rng.normal(size=1), jnp.float32),
    }


@pytest.fixture
def rows(rng):
    """Give real and fake rows (5, 3)."""
    return tuple(jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for _ in range(2))


def score(params, x):
    hidden = jnp.tanh(x @ params["w0"] + params["b0"][None])
    return (hidden @ params["w1"])[:, 0] + params["b1"]


def torch_penalty(torch, params, x, of_norms):
    """Penalise by torch's double backward, in the words of the usual ports."""
    theirs = {n: torch.tensor(np.asarray(p), requires_grad=True) for n, p in params}
    x = torch.tensor(np.asarray(x), requires_grad=True)
    hidden = torch.tanh(x @ theirs["w0"] + theirs["b0"])
    scores = hidden @ theirs["w1"] + theirs["b1"]
    (slopes,) = torch.autograd.grad(
        scores, x, torch.ones_like(scores), create_graph=True
    )
    penalty = of_norms(slopes.norm(2, dim=1)).mean()
    penalty.backward()
    return penalty.item(), theirs


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["two_sided", "one_sided", "r1", "r2"])
def test_penalties_are_those_of_torchs_double_backward(kind, params, rows, key):
    torch = pytest.importorskip("torch")
    real, fake = rows
    between = interpolate(real, fake, jax.random.clone(key))
    ours, x, of_norms = {
        "two_sided": (
            lambda f: gradient_penalty(f, real, fake, key, weight=1.0),
            between,
            lambda norms: (norms - 1) ** 2,
        ),
        "one_sided": (
            lambda f: gradient_penalty(f, real, fake, key, weight=1.0, one_sided=True),
            between,
            lambda norms: torch.relu(norms - 1) ** 2,
        ),
        "r1": (lambda f: r1_penalty(f, real, weight=1.0), real, lambda n: n**2 / 2),
        "r2": (lambda f: r2_penalty(f, fake, weight=1.0), fake, lambda n: n**2 / 2),
    }[kind]
    value, grads = jax.value_and_grad(lambda p: ours(lambda x: score(p, x)))(params)
    theirs, tensors = torch_penalty(torch, params.items(), x, of_norms)
    np.testing.assert_allclose(value, theirs, rtol=ORDER_OF_SUMS)
    for name in ("w0", "b0", "w1"):
        np.testing.assert_allclose(
            grads[name], tensors[name].grad.numpy(), atol=ORDER_OF_SUMS
        )
    # torch has no gradient for what the slope does not depend on.
    assert tensors["b1"].grad is None
    assert grads["b1"] == 0


@pytest.mark.parametrize(("a", "slope"), [((3.0, 4.0), 5), ((0.0, 0.5), 0.5)])
def test_a_linear_critic_pays_for_its_slope(a, slope, key):
    real, fake = jnp.ones((4, 2)), jnp.zeros((4, 2))
    keys = jax.random.split(key, 3)

    def critic(x):
        return x @ jnp.array(a)

    np.testing.assert_array_equal(gradient_norms(critic, real), [slope] * 4)
    assert gradient_penalty(critic, real, fake, keys[0]) == 10 * (slope - 1) ** 2
    one_sided = gradient_penalty(critic, real, fake, keys[1], one_sided=True)
    assert one_sided == 10 * max(slope - 1, 0) ** 2
    assert dragan_penalty(critic, real, keys[2], target=2.0) == 10 * (slope - 2) ** 2
    assert r1_penalty(critic, real) == r2_penalty(critic, real) == 5 * slope**2


def test_the_norm_is_over_all_places_of_a_row(key):
    images = jnp.ones((2, 3, 3, 4))
    norms = gradient_norms(lambda x: x.sum((1, 2, 3)), images)
    np.testing.assert_allclose(norms, [6.0, 6.0])
    assert interpolate(images, images, key).shape == images.shape


@pytest.mark.parametrize("one_sided", [False, True])
def test_a_constant_critic_has_finite_gradients(one_sided, params, rows, key):
    flat = {**params, "w1": jnp.zeros((8, 1))}

    def penalty(params):
        return gradient_penalty(
            lambda x: score(params, x), *rows, key, one_sided=one_sided
        )

    value, grads = jax.value_and_grad(penalty)(flat)
    assert value == (0 if one_sided else 10)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))


def test_places_are_on_the_lines_one_share_for_each_row(key):
    real, fake = jnp.full((1000, 3), 4.0), jnp.full((1000, 3), 2.0)
    shares = np.asarray((interpolate(real, fake, key) - 2) / 2)
    np.testing.assert_array_equal(shares[:, 1:], shares[:, :1].repeat(2, 1))
    assert shares.min() >= 0
    assert shares.max() <= 1
    # Uniform: mean 1/2 and standard deviation 12^(-1/2), within four errors.
    assert abs(shares[:, 0].mean() - 0.5) < 4 * 0.289 / 1000**0.5
    assert abs(shares[:, 0].std() - 0.289) < 0.02


def test_rows_that_do_not_pair_are_refused(rows, key):
    with pytest.raises(InputError, match=r"\(5, 3\) and fake ones of \(4, 3\)"):
        interpolate(rows[0], rows[1][:4], key)


def test_dragan_stays_within_its_noise_of_the_data(rng, key):
    real = jnp.asarray(rng.normal(size=(500, 2)), jnp.float32)
    seen = []

    def critic(x):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), x)
        return x.sum(1)

    dragan_penalty(critic, real, key)
    jax.effects_barrier()
    shifts = (seen[0] - np.asarray(real)) / (0.5 * np.asarray(real).std())
    assert shifts.min() >= -ORDER_OF_SUMS
    assert 0.8 < shifts.max() <= 1
    # A product of two uniform numbers has the mean 1/4.
    assert abs(shifts.mean() - 0.25) < 0.03


def test_penalties_of_low_precision_are_float32(params, rows, key):
    real, fake = (x.astype(jnp.bfloat16) for x in rows)
    keys = jax.random.split(key, 2)

    def critic(x):
        low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
        return score(low, x.astype(jnp.bfloat16))

    penalties = [
        gradient_penalty(critic, real, fake, keys[0]),
        dragan_penalty(critic, real, keys[1]),
        r1_penalty(critic, real),
        r2_penalty(critic, fake),
    ]
    assert {p.dtype for p in penalties} == {jnp.dtype(jnp.float32)}
    # What comes in bfloat16 out of a float32 critic is squared and summed in float32.
    norms = gradient_norms(lambda x: score(params, x), real)
    wide = gradient_norms(lambda x: score(params, x), real.astype(jnp.float32))
    np.testing.assert_array_equal(norms, wide)


class Critic(nn.Module):
    """A critic with a normalisation."""

    norm: str

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(4)(x)
        if self.norm == "batch":
            x = nn.BatchNorm(use_running_average=not train)(x)
        else:
            x = nn.LayerNorm()(x)
        return nn.Dense(1)(x)[:, 0]


def test_batch_statistics_in_a_penalised_critic_are_refused(rows, key):
    model = from_linen(Critic("batch"))
    params, model_state = jitted_init(model, key, rows[0])
    with pytest.raises(
        InputError, match="batch_stats: with batch statistics every score"
    ):
        critic_of_rows(model, params, model_state)


def test_a_critic_of_rows_is_the_model(rows, key):
    model = from_linen(Critic("layer"))
    params, model_state = jitted_init(model, key, rows[0])
    critic = critic_of_rows(model, params, model_state)
    expected, _ = jitted_apply(model, params, model_state, rows[0])
    np.testing.assert_array_equal(critic(rows[0]), expected)


def test_the_state_of_spectral_normalisation_is_allowed(rows):
    def apply(params, model_state, x, *, key=None, train=False, scale):
        return scale * model_state[SPECTRAL] * x.sum(1), model_state

    model = Model(lambda key: ({}, {}), apply)
    critic = critic_of_rows(model, {}, {SPECTRAL: jnp.float32(2)}, scale=3.0)
    np.testing.assert_allclose(critic(rows[0]), 6 * rows[0].sum(1), rtol=1e-6)


def test_clipping_takes_kernels_and_biases():
    params = {"kernel": jnp.array([[0.5, -0.001]]), "bias": jnp.array([-2.0, 0.01])}
    clipped = clip_weights(params)
    np.testing.assert_allclose(clipped["kernel"], [[0.01, -0.001]])
    np.testing.assert_allclose(clipped["bias"], [-0.01, 0.01])
    with pytest.raises(InputError, match=r"limit 0.0 of clipping must be positive"):
        clip_weights(params, 0.0)
