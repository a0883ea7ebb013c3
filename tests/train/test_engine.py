"""One step, any mesh: the same numbers, compiled once."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from jaxlab.core.batch import Rows
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh, replicate
from jaxlab.core.model import from_linen
from jaxlab.models.vision.vit import TENSOR_RULES, ViT
from jaxlab.train.engine import Engine, compile_step, pmap_step
from jaxlab.train.state import init_state
from jaxlab.train.step import make_train_step

# Sums over the batch are taken in another order on each mesh; five steps of SGD.
CURVES = 1e-5
MESHES = ["data=1", "data=4", "data=2,fsdp=2", "data=2,tensor=2"]


@pytest.fixture(scope="module")
def vit_curves():
    """Losses and gradient norms of five steps of a small ViT, on each mesh."""
    vit = from_linen(
        # Wide enough that FSDP splits its kernels (2**14 elements and more).
        ViT(num_classes=5, patch_size=4, width=64, depth=1, num_heads=4)
    )
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.normal(size=(8, 8, 8, 3)).astype(np.float32),
        "label": rng.integers(0, 5, 8),
    }

    def loss_fn(params, model_state, batch, context):
        logits, model_state = vit.apply(params, model_state, batch["image"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return loss.mean(), (model_state, {})

    def curve(text):
        mesh, optimizer = make_mesh(text), optax.sgd(0.5)
        key = jax.random.key(0)
        state = init_state(
            vit, optimizer, key, mesh, batch["image"][:1], rules=TENSOR_RULES
        )
        step = compile_step(make_train_step(loss_fn, optimizer), state, mesh)
        rows = []
        for _ in range(5):
            state, metrics = step(state, batch)
            rows.append([float(metrics["loss"]), float(metrics["grad_norm"])])
        return rows, state

    return functools.cache(curve)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES[1:])
def test_every_mesh_gives_the_same_curve(vit_curves, mesh):
    expected, found = vit_curves("data=1")[0], vit_curves(mesh)[0]
    (losses, norms), (found, found_norms) = np.transpose(expected), np.transpose(found)
    np.testing.assert_allclose(found, losses, atol=CURVES)
    np.testing.assert_allclose(found_norms, norms, rtol=CURVES)  # they are about 8
    assert found[-1] < found[0]


@pytest.mark.slow
def test_fsdp_and_tensor_meshes_split_parameters(vit_curves):
    def is_split(mesh):
        leaves = jax.tree.leaves(vit_curves(mesh)[1].params)
        return any(not leaf.sharding.is_fully_replicated for leaf in leaves)

    assert is_split("data=2,fsdp=2")
    assert is_split("data=2,tensor=2")
    assert not is_split("data=4")


@pytest.mark.parametrize("mesh", ["data=1", "data=2,fsdp=2"])
def test_a_second_step_does_not_compile_again(problem, compilations, mesh):
    mesh = make_mesh(mesh)
    step, state = problem._compiled(mesh), problem.state(mesh)  # nobody else's
    batches = [problem.batch(t) for t in range(4)]
    with compilations() as first:
        state, _ = step(state, batches[0])
    assert any("train_step" in name for name in first)
    with compilations() as later:
        for batch in batches[1:]:
            state, _ = step(state, batch)
    assert later == []


def test_the_old_state_is_donated_unless_it_is_to_be_kept(problem):
    mesh = make_mesh("data=1")
    plain = make_train_step(problem.loss_fn, problem.optimizer)
    state = problem.state(mesh)
    keeping = compile_step(plain, state, mesh, donate=False)
    keeping(state, problem.batch(0))
    kernel = state.params["Dense_0"]["kernel"]
    assert not kernel.is_deleted()
    compile_step(plain, state, mesh)(state, problem.batch(0))
    assert kernel.is_deleted()


@pytest.mark.slow
def test_an_average_can_be_donated_too(problem):
    mesh = make_mesh("data=2")
    step = make_train_step(problem.loss_fn, problem.optimizer, ema_decay=0.9)
    state = problem.state(mesh, ema=True)
    step = compile_step(step, state, mesh)
    for t in range(3):
        state, _ = step(state, problem.batch(t))
    assert int(state.step) == 3


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["jit", "pmap"])
def test_rows_are_gathered_inside_the_step(problem, same, engine):
    mesh = make_mesh("data=2")
    plain = make_train_step(problem.loss_fn, problem.optimizer)
    batch = problem.batch(0, size=20)
    index = np.arange(3, 19, dtype=np.int32)
    results = []
    for given in (
        Rows(replicate(batch, mesh), index),
        jax.tree.map(lambda array: array[index], batch),
    ):
        state = problem.state(mesh)
        step = Engine(mesh, engine).compile(plain, state)
        results.append(step(state, given)[0].params)
    assert same(*results)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4])
def test_pmap_makes_the_same_updates(problem, size):
    # Without dropout, which every device draws for itself under pmap.
    problem.optimizer = optax.sgd(0.1)

    def loss_fn(params, model_state, batch, context):
        out, _ = problem.model.apply(params, model_state, batch["x"])
        return optax.l2_loss(out, batch["y"]).mean(), (model_state, {})

    mesh = make_mesh(f"data={size}")
    plain = make_train_step(loss_fn, problem.optimizer)
    curves = []
    for engine in ("jit", "pmap"):
        state = problem.state(mesh)
        step = Engine(mesh, engine).compile(plain, state)
        curve = []
        for t in range(4):
            state, metrics = step(state, problem.batch(t))
            curve.append([float(metrics["loss"]), float(metrics["grad_norm"])])
        curves.append(curve)
    np.testing.assert_allclose(*curves, atol=CURVES)


def test_pmap_refuses_a_mesh_that_splits_parameters(problem):
    plain = make_train_step(problem.loss_fn, problem.optimizer)
    with pytest.raises(InputError, match="--engine jit"):
        pmap_step(plain, make_mesh("data=2,fsdp=2"))


def test_pmap_refuses_a_step_that_cannot_average():
    with pytest.raises(InputError, match="axis_name"):
        pmap_step(lambda state, batch: (state, {}), make_mesh("data=2"))


def test_any_state_and_any_step_will_do():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Pair:
        generator: jax.Array
        critic: jax.Array

    def step(state, batch):
        critic = state.critic + batch.sum()
        return Pair(state.generator - critic, critic), {"critic_loss": critic}

    mesh = make_mesh("data=4")
    state = replicate(Pair(np.zeros(()), np.ones(())), mesh)
    state, metrics = compile_step(step, state, mesh)(state, np.ones(8, np.float32))
    assert float(state.generator) == -9
    assert float(metrics["critic_loss"]) == 9
