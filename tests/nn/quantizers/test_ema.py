"""Tests of `jaxlab.nn.quantizers.ema`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh, replicate, shard_batch
from jaxlab.core.model import from_linen
from jaxlab.metrics.code_usage import code_usage, count_codes
from jaxlab.nn.quantizers.ema import CosineQuantizer, EMAQuantizer, unit
from jaxlab.nn.quantizers.quantized import CODEBOOK
from tests.jitted import jitted_apply, jitted_init

NORMAL = jax.nn.initializers.normal(1.0)
# Laplace's 1e-5 beside the count of a code that was just revived.
SMOOTHING = 3e-4


def started(quantizer, z, **values):
    """Give a model and its first state, some of it given."""
    model = from_linen(quantizer)
    params, state = jitted_init(model, jax.random.key(0), z)
    book = state[CODEBOOK]
    for name, value in values.items():
        book = book | {name: jnp.asarray(value, book[name].dtype)}
    return model, params, {CODEBOOK: book}


def step(model, params, state, z, seed=1):
    """Make a step of training."""
    key = jax.random.key(seed)
    return jitted_apply(model, params, state, z, key=key, train=True)


@pytest.mark.parametrize("kind", [EMAQuantizer, CosineQuantizer])
@pytest.mark.parametrize("start", ["zero", "one", "data", "no count"])
@pytest.mark.parametrize("num_codes", [3, 512])
def test_a_code_that_nobody_uses_does_not_grow(num_codes, start, kind, rng):
    further = {"code_dim": 2} if kind is CosineQuantizer else {}
    quantizer = kind(
        num_codes=num_codes, dim=2, start="random", revive_below=0.0, **further
    )
    codes = rng.normal(size=(num_codes, 2)).astype(np.float32)
    codes[0] = [50, 50]
    if further:
        codes = np.asarray(unit(jnp.asarray(codes)))
    z = jnp.tile(codes[:1], (100, 1))
    counts = {"zero": 0, "one": 1, "data": 7, "no count": 0}[start]
    sums = codes * (1 if start == "no count" else counts)
    weight = float(start != "zero")
    counts = np.full(num_codes, counts, np.float32)
    values = {"codes": codes, "counts": counts, "sums": sums, "weight": weight}
    model, params, state = started(quantizer, z, **values)
    out, state = step(model, params, state, z)
    assert not out.indices.any()
    np.testing.assert_array_equal(state[CODEBOOK]["codes"][1:], codes[1:])


def test_a_revived_code_stays_while_nobody_uses_it(rng):
    z = jnp.asarray(rng.normal(size=(32, 2)), jnp.float32)
    options = {"decay": 0.9, "start": "random", "revive_below": 0.1}
    quantizer = EMAQuantizer(num_codes=3, dim=2, **options)
    codes = np.float32([[0, 0], [1, 0], [99, 99]])
    values = {"codes": codes, "counts": [16, 16, 0.1], "weight": 1}
    values["sums"] = codes * np.float32([[16], [16], [0.1]])
    model, params, state = started(quantizer, z, **values)
    _, state = step(model, params, state, z)
    book = state[CODEBOOK]
    revived = np.asarray(book["codes"][2])
    assert (np.asarray(z) == revived).all(1).any()
    assert book["counts"][2] > 0.1 * book["counts"].mean()
    np.testing.assert_allclose(book["sums"][2], book["counts"][2] * revived, rtol=1e-6)
    away = jnp.tile(codes[:1], (32, 1)) - revived.reshape(1, 2)  # nobody uses it
    out, state = step(model, params, state, away, seed=2)
    assert not (out.indices == 2).any()
    np.testing.assert_allclose(state[CODEBOOK]["codes"][2], revived, rtol=1e-6)
    # And as it is used again, count and sum tell the same.
    book = state[CODEBOOK]
    np.testing.assert_allclose(book["sums"][2] / book["counts"][2], revived, rtol=1e-6)


def test_counts_of_a_start_from_data_belong_to_its_codes():
    z = jnp.array([[6.0], [6.0], [6.0], [10.0]])
    quantizer = EMAQuantizer(num_codes=2, dim=1, decay=0.8, revive_below=0.0)
    model, params, state = started(quantizer, z)
    for seed in range(2):  # one step that starts, and one on the same data
        out, state = step(model, params, state, z, seed)
        book = state[CODEBOOK]
        np.testing.assert_allclose(out.codes, z, rtol=1e-5)
        np.testing.assert_allclose(np.sort(book["codes"].ravel()), [6, 10], rtol=1e-5)
        np.testing.assert_allclose(np.sort(book["counts"]), [1, 3], rtol=1e-6)


@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize("kind", [EMAQuantizer, CosineQuantizer])
def test_fewer_vectors_than_codes(kind, repeats, rng):
    further = {"code_dim": 3} if kind is CosineQuantizer else {}
    quantizer = kind(num_codes=8, dim=3, **further)
    z = np.repeat(rng.normal(size=(5, 3)), repeats, 0).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    z = jnp.asarray(z)
    model, params, state = started(quantizer, z)
    for seed in range(3):
        out, state = step(model, params, state, z, seed)
        np.testing.assert_allclose(out.codes, z, atol=SMOOTHING if seed else 1e-6)
        usage = code_usage(count_codes(out.indices, 8))
        assert usage["used_codes"] == 5
        assert all(jnp.isfinite(leaf).all() for leaf in state[CODEBOOK].values())


@pytest.mark.parametrize("start", ["data", "random"])
def test_a_step_uses_the_codebook_before_its_update(start, rng):
    z = jnp.asarray(rng.normal(size=(2, 3, 4, 2)), jnp.float32)
    model, params, state = started(EMAQuantizer(num_codes=6, dim=2, start=start), z)
    for seed in range(2):
        before = state[CODEBOOK]["codes"]
        out, state = step(model, params, state, z, seed)
        if seed or start == "random":  # else it is drawn first
            np.testing.assert_array_equal(out.codes, before[out.indices])
            square = np.square(z - out.codes).mean()
            np.testing.assert_allclose(out.terms["commitment"], square, rtol=1e-5)
        assert (state[CODEBOOK]["codes"] != before).any()
    out, same = jitted_apply(model, params, state, z)
    np.testing.assert_array_equal(out.codes, state[CODEBOOK]["codes"][out.indices])
    jax.tree.map(np.testing.assert_array_equal, same, state)


@pytest.mark.slow  # three compilations each
@pytest.mark.parametrize(
    "quantizer",
    [
        EMAQuantizer(num_codes=16, dim=3, decay=0.5, revive_below=0.5),
        CosineQuantizer(num_codes=16, dim=4, code_dim=3, decay=0.5, revive_below=0.5),
    ],
)
def test_devices_share_one_codebook(quantizer, rng):
    batches = [
        np.asarray(shift + rng.normal(size=(8, 2, 2, quantizer.dim)), np.float32)
        for shift in (0, 3, 3)
    ]
    model, params, state = started(quantizer, jnp.asarray(batches[0]))
    results, revived = [], []
    for devices in (1, 2, 4):
        mesh = make_mesh(f"data={devices}")
        placed_params, new = replicate((params, state), mesh)
        run = jax.jit(lambda p, s, z, key: model.apply(p, s, z, key=key, train=True))
        for seed, batch in enumerate(batches):
            before = new[CODEBOOK]["codes"]
            out, new = run(
                placed_params, new, shard_batch(batch, mesh), jax.random.key(seed)
            )
            unused = np.setdiff1d(np.arange(16), np.asarray(out.indices))
            moved = (new[CODEBOOK]["codes"] != before).any(1)
            revived.append(int(np.asarray(moved)[unused].sum()))
        results.append(jax.tree.map(np.asarray, (new, out)))
    assert sum(revived) > 0
    for other in results[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-6),
            other,
            results[0],
        )


def test_drawing_wants_a_key():
    z = jnp.ones((4, 2))
    model, params, state = started(EMAQuantizer(num_codes=2, dim=2), z)
    with pytest.raises(InputError, match=r"EMAQuantizer draws codes .* key="):
        model.apply(params, state, z, train=True)
    quantizer = EMAQuantizer(num_codes=2, dim=2, start="random", revive_below=0.0)
    model, params, state = started(quantizer, z)
    model.apply(params, state, z, train=True)


def test_the_nearest_direction_is_that_of_the_largest_cosine(rng):
    z = jnp.asarray(rng.normal(size=(50, 6)), jnp.float32)
    quantizer = CosineQuantizer(num_codes=9, dim=6, code_dim=3, start="random")
    model, params, state = started(quantizer, z)
    layers = params["projection"]
    inner = np.asarray(z @ layers["to_inner"]["kernel"])
    codes = np.asarray(state[CODEBOOK]["codes"])
    out, _ = jitted_apply(model, params, state, z)
    np.testing.assert_array_equal(out.indices, (inner @ codes.T).argmax(1))
    outer = codes[out.indices] @ layers["to_width"]["kernel"]
    np.testing.assert_allclose(out.codes, outer, atol=1e-5)


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_vectors_and_codes_of_norm_zero(estimator, rng):
    z = jnp.asarray(rng.normal(size=(6, 2)), jnp.float32).at[:3].set(0.0)
    quantizer = CosineQuantizer(num_codes=8, dim=2, code_dim=2, estimator=estimator)
    model, params, state = started(quantizer, z)
    states = [state, state]
    states[1] = {CODEBOOK: state[CODEBOOK] | {"started": jnp.array(True)}}
    states[1][CODEBOOK]["codes"] = state[CODEBOOK]["codes"].at[2].set(0.0)

    @jax.jit
    def loss(z, state):
        out, new = model.apply(params, state, z, key=jax.random.key(3), train=True)
        return (out.codes * jnp.arange(1, 3).reshape(1, 2)).sum() + out.loss, (out, new)

    for state in states:
        (value, (out, new)), slope = jax.value_and_grad(loss, has_aux=True)(z, state)
        assert jnp.isfinite(value)
        assert jnp.isfinite(slope).all()
        assert ((out.indices >= 0) & (out.indices < 8)).all()
        assert all(jnp.isfinite(leaf).all() for leaf in new[CODEBOOK].values())
        assert (slope[3:] != 0).any()


def test_the_gradient_of_a_unit_vector_at_zero_is_finite():
    x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(unit(x), [[0, 0], [0.6, 0.8]], rtol=1e-6)
    slope = jax.grad(lambda x: unit(x)[:, 0].sum())(x)
    assert jnp.isfinite(slope).all()
    np.testing.assert_allclose(slope[1], [0.128, -0.096], atol=1e-6)
