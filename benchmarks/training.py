"""Training steps of jaxlab as candidates, on one device and on all."""

from typing import Any

import jax
import optax

from benchmarks.harness import Call
from jaxlab.core.mesh import make_mesh, shard_batch
from jaxlab.core.model import Model
from jaxlab.train.engine import compile_step
from jaxlab.train.state import init_state
from jaxlab.train.step import LossFn, make_train_step


def meshes() -> list[str]:
    """Give the meshes to compare: one device, and all where there are more."""
    return list(dict.fromkeys(["data=1", f"data={jax.device_count()}"]))


def training_step(
    model: Model,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    batch: Any,
    mesh_text: str,
    *example: Any,
) -> Call:
    """Compile a step, and bind its state and its batch.

    Args:
        model: To train.
        loss_fn: What its step minimises.
        optimizer: Of the step.
        batch: Of every call.
        mesh_text: The mesh.
        example: Inputs to initialise the model with.
    """
    mesh = make_mesh(mesh_text)
    state = init_state(model, optimizer, jax.random.key(0), mesh, *example)
    step = compile_step(make_train_step(loss_fn, optimizer), state, mesh)
    batch = shard_batch(batch, mesh)

    def call() -> float:
        nonlocal state
        state, metrics = step(state, batch)
        return float(metrics["loss"])

    return call
