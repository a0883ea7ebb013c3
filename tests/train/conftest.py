"""A small regression that every trainer test can train in milliseconds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import from_linen
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.engine import compile_step
from jaxlab.train.state import init_state
from jaxlab.train.step import make_train_step

BATCH_SIZE = 8


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = nn.tanh(nn.Dense(16)(x))
        x = nn.Dropout(0.1)(x, deterministic=not train)
        return nn.Dense(1)(x)[:, 0]


@dataclasses.dataclass(frozen=True)
class Config:
    learning_rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    run: RunOptions = RunOptions()


@dataclasses.dataclass
class Problem:
    """A model, a loss and data that is a function of the step."""

    model: object
    optimizer: object
    drawn: list = dataclasses.field(default_factory=list)

    def loss_fn(self, params, model_state, batch, context):
        out, model_state = self.model.apply(
            params, model_state, batch["x"], key=context.key, train=True
        )
        loss = jnp.square(out - batch["y"]).mean()
        return loss, (model_state, {"error": jnp.abs(out - batch["y"]).mean()})

    def batch(self, step, size=BATCH_SIZE):
        x = np.random.default_rng(step).normal(size=(size, 3)).astype(np.float32)
        return {"x": x, "y": np.sin(x).sum(1)}

    def batches(self, start):
        step = start
        while True:
            self.drawn.append(step)
            yield self.batch(step)
            step += 1

    def state(self, mesh=None, **options):
        mesh = mesh or make_mesh("data=1")
        if "frozen" in options:
            return self._state(mesh, options)
        state = self._once(
            ("state", mesh, *options.items()), self._state, mesh, options
        )
        return jax.tree.map(lambda leaf: leaf.copy(), state)  # it may be donated

    def _state(self, mesh, options):
        x, key = jnp.zeros((1, 3)), jax.random.key(1)
        return init_state(self.model, self.optimizer, key, mesh, x, **options)

    def compiled(self, mesh=None):
        mesh = mesh or make_mesh("data=1")
        return self._once(("step", mesh), self._compiled, mesh)

    def _compiled(self, mesh):
        step = make_train_step(self.loss_fn, self.optimizer)
        return compile_step(step, self.state(mesh), mesh)

    def _once(self, name, make, *args):
        """Compile once for all tests that leave the model and optimiser alone."""
        if (self.model, self.optimizer) != (MODEL, OPTIMIZER):
            return make(*args)
        if name not in COMPILED:
            COMPILED[name] = make(*args)
        return COMPILED[name]


COMPILED = {}
MODEL, OPTIMIZER = from_linen(Network()), optax.adam(0.05)


@pytest.fixture
def problem():
    return Problem(MODEL, OPTIMIZER)


@pytest.fixture
def open_run(tmp_path):
    """Open the run folder `name` with options; closed at the end of the test."""
    opened = []

    def open_folder(name="run", learning_rate=0.1, **options):
        options = RunOptions(run_dir=str(tmp_path / name), **options)
        run = RunFolder("regression", Config(learning_rate, run=options))
        opened.append(run)
        return run

    yield open_folder
    for run in opened:
        run.close()
