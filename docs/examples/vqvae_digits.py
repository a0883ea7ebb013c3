"""A VQ-VAE on digits and the prior of its codes (van den Oord et al. 2017): two runs.

python docs/examples/vqvae_digits.py --run-dir runs/stage1
python docs/examples/vqvae_digits.py --stage1 runs/stage1
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.core.recorded import Recorded, record
from jaxlab.core.typing import Array, Batch, ModelState, Params
from jaxlab.data.batches import training_batches
from jaxlab.data.images.augment import to_unit_range
from jaxlab.data.images.find import find_images
from jaxlab.data.order import Order
from jaxlab.evals.open_run import OpenedRun, open_run
from jaxlab.losses.tokens import token_cross_entropy
from jaxlab.models.language_models import make_language_model
from jaxlab.nn.conv.layers import Conv, ConvTranspose
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.engine import make_engine
from jaxlab.train.launch import launch
from jaxlab.train.loop import fit
from jaxlab.train.state import init_state
from jaxlab.train.step import Context, LossFn, LossResult, make_train_step


@dataclasses.dataclass(frozen=True)
class Config:
    stage1: str = ""  # run folder whose codes the prior learns; empty: train one
    fingerprint: str = ""  # of its parameters; found, not given
    seed: int = 0
    steps: int = 600  # updates
    batch_size: int = 64  # images an update
    learning_rate: float = 3e-3
    run: tyro.conf.OmitArgPrefixes[RunOptions] = RunOptions()


SMOKE = Config(steps=3, batch_size=8)


class VQVAE(nn.Module):
    """8 x 8 pixels to 4 x 4 codes and back."""

    num_codes: int = 32
    width: int = 16

    def setup(self) -> None:
        self.encoder = Conv(self.width, (4, 4), (2, 2))
        self.project, self.decoder = Conv(self.width), ConvTranspose(1, (4, 4), (2, 2))
        init, shape = nn.initializers.uniform(1.0), (self.num_codes, self.width)
        self.codebook = self.param("codebook", init, shape)

    def encode(self, images: Array) -> tuple[Array, Array]:
        """Return what the encoder gives, and the numbers of the nearest codes."""
        z = self.project(nn.relu(self.encoder(images)))
        distances = jnp.square(z[..., None, :] - self.codebook[None, None, None]).sum(
            -1
        )
        return z, distances.argmin(-1)

    def __call__(self, images: Array, *, train: bool = False) -> tuple[Array, Array]:
        """Return the reconstruction, and the loss of the codes."""
        z, numbers = self.encode(images)
        codes, stop = self.codebook[numbers], jax.lax.stop_gradient
        loss = jnp.square(stop(z) - codes).mean() + jnp.square(z - stop(codes)).mean()
        return self.decoder(z + stop(codes - z)), loss


@dataclasses.dataclass(frozen=True)
class Rows:
    """Examples of one array."""

    array: np.ndarray

    def __len__(self) -> int:
        return len(self.array)

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        return {"rows": self.array[index]}


def main(config: Config) -> dict[str, float]:
    """Train the first stage, or with `--stage1` the second; return its last loss."""
    data = find_images("digits")
    images = data.train.rows(np.arange(len(data.train)))["image"]
    if config.stage1:
        first = open_run(config.stage1, makers={"VQVAE": VQVAE})
        if not isinstance(first.network, VQVAE):
            raise InputError(f"the run in {config.stage1} is no first stage")
        config = dataclasses.replace(config, fingerprint=first.fingerprint)
        return train_prior(config, first, to_unit_range(jnp.asarray(images)))
    network = record(VQVAE, num_codes=32)
    model = from_linen(network.network)

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, context: Context
    ) -> LossResult:
        images = to_unit_range(batch["rows"])
        (found, loss), _ = model.apply(params, {}, images, train=True)
        return jnp.square(found - images).mean() + loss, (model_state, {})

    example = np.zeros((1, *data.shape), np.float32)
    return train(config, network, example, images, loss_fn)


def train_prior(config: Config, first: OpenedRun, images: Array) -> dict[str, float]:
    """Train a Transformer on the codes of the first stage."""
    _, numbers = first.network.apply({"params": first.params}, images, method="encode")
    size, tokens = first.network.num_codes, np.asarray(numbers).reshape(len(images), -1)
    # The number after the last code begins each picture.
    rows = np.pad(tokens, ((0, 0), (1, 0)), constant_values=size).astype(np.int32)
    network = record(
        make_language_model,
        "transformer",
        size + 1,
        num_parameters=50_000,
        depth=2,
        max_len=tokens.shape[1],
    )
    model = from_linen(network.network)

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, context: Context
    ) -> LossResult:
        tokens = batch["rows"]
        logits, _ = model.apply(params, {}, tokens[:, :-1], train=True)
        return token_cross_entropy(logits, tokens[:, 1:]).mean(), (model_state, {})

    return train(config, network, rows[:1, :-1], rows, loss_fn)


def train(
    config: Config, network: Recorded[Any], example: Any, rows: Any, loss_fn: LossFn
) -> dict[str, float]:
    """Train one stage in a run folder of its own."""
    engine = make_engine(config.run.mesh, batch_size=config.batch_size)
    model, optimizer = from_linen(network.network), optax.adam(config.learning_rate)
    state = init_state(
        model, optimizer, jax.random.key(config.seed), engine.mesh, example
    )
    order = Order(len(rows), config.batch_size, config.seed)
    # The first stage may have moved: its fingerprint tells whether it is the same.
    with RunFolder("vqvae_digits", config, free=("stage1",)) as run:
        run.write_network(network)
        fitted = fit(
            engine.compile(make_train_step(loss_fn, optimizer), state),
            state,
            training_batches(Rows(rows), order, engine.mesh),
            steps=config.steps,
            batch_size=config.batch_size,
            run=run,
        )
        context = Context(jax.random.key(0), fitted.state.step)
        loss, _ = loss_fn(fitted.state.params, {}, {"rows": jnp.asarray(rows)}, context)
        return run.finish({"loss": float(loss)}, fitted.facts)


if __name__ == "__main__":
    launch(main, Config(), smoke=SMOKE, description=__doc__)
