"""Tests of `jaxlab.nn.batch_norm`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh, replicate, shard_batch
from jaxlab.core.model import from_linen
from jaxlab.nn.batch_norm import BatchNorm
from tests.jitted import jitted_apply, jitted_init

# Float32, sums of a few dozen numbers in another order than torch.
ORDER_OF_SUMS = 1e-5


@pytest.fixture
def labels():
    """Give a class for each of six rows."""
    return jnp.array([2, 0, 1, 1, 0, 2])


def variables_of(rng, *shape):
    """Draw scales and shifts, and running statistics."""
    draw = [jnp.asarray(rng.uniform(0.5, 2, shape), jnp.float32) for _ in range(2)]
    params = dict(zip(("scale", "bias"), draw, strict=True))
    draw = [jnp.asarray(rng.uniform(0.5, 2, shape[-1]), jnp.float32) for _ in range(2)]
    return params, {"batch_stats": dict(zip(("mean", "var"), draw, strict=True))}


@pytest.mark.peer
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("shape", [(6, 4), (6, 3, 5, 4)])
def test_values_gradients_and_statistics_are_torchs(
    shape, num_classes, train, rng, labels
):
    torch = pytest.importorskip("torch")
    params, state = variables_of(rng, *((num_classes,) if num_classes else ()), 4)
    model = from_linen(BatchNorm(momentum=0.7, eps=1e-3, num_classes=num_classes))
    x = jnp.asarray(rng.normal(2, 3, shape), jnp.float32)
    factors = jnp.asarray(rng.normal(size=shape), jnp.float32)

    def loss(params, x):
        out, new = model.apply(params, state, x, labels, train=train)
        return (out * factors).sum(), (out, new)

    run = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
    (grads, x_grad), (out, new) = run(params, x)

    norm = torch.nn.BatchNorm1d(4, eps=1e-3, momentum=0.3, affine=False).train(train)
    for name in ("mean", "var"):
        buffer = getattr(norm, f"running_{name}")
        buffer.copy_(torch.tensor(np.asarray(state["batch_stats"][name])))
    theirs = {
        name: torch.tensor(np.asarray(leaf), requires_grad=True)
        for name, leaf in params.items()
    }
    their_x = torch.tensor(np.asarray(x), requires_grad=True)
    normal = norm(their_x.reshape(-1, 4)).reshape(shape)
    scale, bias = theirs["scale"], theirs["bias"]
    if num_classes:
        y = torch.tensor(np.asarray(labels))
        stretch = (6, *(1,) * (len(shape) - 2), 4)
        scale, bias = scale[y].reshape(stretch), bias[y].reshape(stretch)
    their_out = normal * scale + bias
    (their_out * torch.tensor(np.asarray(factors))).sum().backward()

    pairs = [(out, their_out.detach()), (x_grad, their_x.grad)]
    pairs += [(grads[name], theirs[name].grad) for name in theirs]
    pairs += [
        (new["batch_stats"][name], getattr(norm, f"running_{name}"))
        for name in ("mean", "var")
    ]
    for ours, other in pairs:
        other = other.numpy()
        limit = ORDER_OF_SUMS * np.abs(other).max()
        np.testing.assert_allclose(ours, other, rtol=0, atol=limit)


def test_statistics_change_in_training_alone(rng):
    model = from_linen(BatchNorm())
    x = jnp.asarray(rng.normal(3, 1, (6, 4)), jnp.float32)
    params, state = jitted_init(model, jax.random.key(0), x)
    np.testing.assert_array_equal(state["batch_stats"]["mean"], np.zeros(4))
    np.testing.assert_array_equal(state["batch_stats"]["var"], np.ones(4))
    _, same = jitted_apply(model, params, state, x)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    _, new = jitted_apply(model, params, state, x, train=True)
    np.testing.assert_allclose(
        new["batch_stats"]["mean"], 0.1 * np.asarray(x).mean(0), rtol=1e-5
    )


def test_low_precision_keeps_statistics_in_float32(rng):
    # 1000 is exact in bfloat16; a mean of its squares is not.
    x = jnp.asarray(1000 + 8 * rng.integers(-1, 2, (64, 4)), jnp.bfloat16)
    model = from_linen(BatchNorm(dtype=jnp.bfloat16))
    params, state = jitted_init(model, jax.random.key(0), x)
    out, new = jitted_apply(model, params, state, x, train=True)
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {jnp.dtype(jnp.float32)}
    wide = np.asarray(x, np.float64)
    expected = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5)
    np.testing.assert_allclose(np.asarray(out, np.float64), expected, atol=0.01)


def test_devices_share_their_statistics(rng):
    x = np.asarray(rng.normal(size=(8, 4)), np.float32)
    model = from_linen(BatchNorm())
    params, state = jitted_init(model, jax.random.key(0), jnp.asarray(x))
    results = []
    for devices in (1, 4):
        mesh = make_mesh(f"data={devices}")
        run = jax.jit(lambda p, s, x: model.apply(p, s, x, train=True))
        variables = replicate((params, state), mesh)
        results.append(jax.tree.map(np.asarray, run(*variables, shard_batch(x, mesh))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *results)


def test_classes_want_labels():
    x = jnp.ones((2, 4))
    with pytest.raises(InputError, match="3 classes needs labels"):
        jitted_init(BatchNorm(num_classes=3), jax.random.key(0), x, train=True)
