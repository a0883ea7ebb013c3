"""Steps of convolutional networks beside torch: WGAN-GP and an autoencoder.

python -m benchmarks.gan
python -m benchmarks.gan --parts critic --repeats 20
python -m benchmarks.gan --xla                          the critic by XLA alone, too
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from benchmarks.harness import Call, Candidate, report
from benchmarks.peak import take_turns_beside_matmul
from benchmarks.training import meshes, training_step
from jaxlab.core.host_memory import keep_freed_memory
from jaxlab.core.mesh import use_cpu_devices
from jaxlab.core.model import Model, from_linen
from jaxlab.losses.lipschitz import critic_of_rows, gradient_penalty
from jaxlab.models.gan.conv import CNNCritic, CNNGenerator
from jaxlab.nn.conv import bilinear as conv_bilinear
from jaxlab.nn.conv.forms import by_xla
from jaxlab.nn.conv.layers import Conv, ConvTranspose
from jaxlab.train.step import LossFn

try:
    from benchmarks import torch_gan as peers
except ImportError:
    peers = None  # type: ignore[assignment]

# By name: candidates, of which the first is the peer; floating-point operations of the
# convolutions of a step, zeros of padding counted.
Groups = dict[str, tuple[dict[str, Candidate], float]]

SIZE, LATENT = 32, 128
WIDTHS, GAN_BATCH = (32, 64), 64
SONNET, SONNET_BATCH = (128, 32, 64), 32  # width, width of residuals, embedding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"critic": critic, "generator": generator, "autoencoder": autoencoder}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--xla", action="store_true", help="the critic by XLA, too")
    options = parser.parse_args()
    if options.xla and "critic" not in options.parts:
        parser.error("--xla is of the critic, which is not among --parts")
    keep_freed_memory()
    use_cpu_devices("")
    if peers is None:
        print("torch is not installed: no peers")
    if options.xla:
        parts["critic"] = functools.partial(critic, with_xla=True)
    groups: Groups = {}
    for part in options.parts:
        groups |= parts[part]()
    # Ratios count within one run: parts of another one do not join the results.
    _compare(groups, options.repeats, is_kept=set(options.parts) == set(parts))


def critic(with_xla: bool = False) -> Groups:
    """Steps of WGAN-GP's critic, whose penalty takes second derivatives."""
    real, fake = _images(GAN_BATCH, 0), _images(GAN_BATCH, 1)
    groups: Groups = {}
    for width in WIDTHS:
        first, others = _critic_flops(width)
        # Forwards for three batches; backwards for two, but not to the images; the
        # gradient of scores, and its own derivative by both of its factors.
        flops = 8 * first + 10 * others
        sizes = (width, real, fake)
        candidates = _candidates(_jax_critic, "critic_step", *sizes)
        if with_xla:
            candidates["jaxlab data=1, XLA's convolutions"] = functools.partial(
                _jax_critic_by_xla, *sizes, "data=1"
            )
        groups[f"WGAN-GP critic, DIM {width}"] = (candidates, flops)
    return groups


def generator() -> Groups:
    """Steps of WGAN-GP's generator."""
    z = np.random.default_rng(0).normal(size=(GAN_BATCH, LATENT)).astype(np.float32)
    groups: Groups = {}
    for width in WIDTHS:
        first, others = _critic_flops(width)  # the generator's layers are as large
        flops = 5 * (first + others)
        candidates = _candidates(_jax_generator, "generator_step", width, z)
        groups[f"WGAN-GP generator, DIM {width}"] = (candidates, flops)
    return groups


def autoencoder() -> Groups:
    """Steps of the autoencoder of Sonnet's VQ-VAE, without its codebook."""
    images = _images(SONNET_BATCH, 0)
    width, hidden, embedding = SONNET
    half = width // 2
    first = 2 * 16 * 16 * 16 * 3 * half
    others = 2 * 8 * 8 * (2 * 16 * half * width + 9 * width * width)
    others += 2 * 8 * 8 * 4 * (9 * width * hidden + hidden * width)
    others += 2 * 8 * 8 * (embedding * width + 9 * embedding * width)
    flops = 1.0 * SONNET_BATCH * (5 * first + 3 * others)
    candidates = _candidates(_jax_autoencoder, "autoencoder_step", SONNET, images)
    return {"Sonnet autoencoder": (candidates, flops)}


def _images(rows: int, seed: int) -> np.ndarray:
    shape = (rows, SIZE, SIZE, 3)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def _critic_flops(width: int) -> tuple[float, float]:
    """Give the operations of the first layer forwards, and of the others."""
    first = 2.0 * GAN_BATCH * 16 * 16 * 25 * 3 * width
    return first, 2.0 * GAN_BATCH * (8 * 8 * 25 * 2 + 4 * 4 * 25 * 8) * width * width


def _candidates(
    ours: Callable[..., Call], theirs: str, *args: Any
) -> dict[str, Candidate]:
    """Give the peer of that name, where there are peers, and ours on each mesh."""
    found: dict[str, Candidate] = {}
    if peers is not None:
        found["torch"] = functools.partial(getattr(peers, theirs), *args)
    for mesh in meshes():
        found[f"jaxlab {mesh}"] = functools.partial(ours, *args, mesh)
    return found


def _step(model: Model, loss_fn: LossFn, batch: Any, mesh: str, example: Any) -> Call:
    optimizer = optax.adam(1e-4, b1=0.5, b2=0.9)
    return training_step(model, loss_fn, optimizer, batch, mesh, example[:1])


def _jax_critic(width: int, real: np.ndarray, fake: np.ndarray, mesh: str) -> Call:
    model = from_linen(CNNCritic(width))

    def loss_fn(params, model_state, batch, context):  # type: ignore[no-untyped-def]
        score = critic_of_rows(model, params, model_state)
        penalty = gradient_penalty(score, batch["real"], batch["fake"], context.key)
        gap = score(batch["fake"]).mean() - score(batch["real"]).mean()
        return gap + penalty, (model_state, {})

    return _step(model, loss_fn, {"real": real, "fake": fake}, mesh, real)


def _jax_critic_by_xla(
    width: int, real: np.ndarray, fake: np.ndarray, mesh: str
) -> Call:
    """Give the same step by XLA's own convolutions and what it makes of them."""
    with (
        mock.patch.object(conv_bilinear, "suits_native", return_value=False),
        mock.patch.object(conv_bilinear, "by_xla_on_cpu", by_xla),
    ):
        call = _jax_critic(width, real, fake, mesh)
        call()  # the form is chosen while the first call compiles
    return call


def _jax_generator(width: int, z: np.ndarray, mesh: str) -> Call:
    judge = from_linen(CNNCritic(width))
    judge_params, _ = judge.init(jax.random.key(1), _images(1, 0))
    model = from_linen(CNNGenerator((SIZE, SIZE, 3), width))

    def loss_fn(params, model_state, batch, context):  # type: ignore[no-untyped-def]
        images, model_state = model.apply(params, model_state, batch["z"], train=True)
        scores, _ = judge.apply(judge_params, {}, images)
        return -scores.mean(), (model_state, {})

    return _step(model, loss_fn, {"z": z}, mesh, z)


class Residuals(nn.Module):
    """Sonnet's stack of two residual layers."""

    width: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            y = Conv(self.hidden)(nn.relu(x))
            x = x + Conv(self.width, (1, 1))(nn.relu(y))
        return nn.relu(x)


class Autoencoder(nn.Module):
    """Networks of Sonnet's VQ-VAE, without its codebook."""

    width: int
    hidden: int
    embedding: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        width, half = self.width, self.width // 2
        x = nn.relu(Conv(half, (4, 4), (2, 2))(x))
        x = nn.relu(Conv(width, (4, 4), (2, 2))(x))
        x = Residuals(width, self.hidden)(Conv(width)(x))
        x = Conv(width)(Conv(self.embedding, (1, 1))(x))
        x = Residuals(width, self.hidden)(x)
        x = nn.relu(ConvTranspose(half, (4, 4), (2, 2))(x))
        return ConvTranspose(3, (4, 4), (2, 2))(x)


def _jax_autoencoder(
    sizes: tuple[int, int, int], images: np.ndarray, mesh: str
) -> Call:
    model = from_linen(Autoencoder(*sizes))

    def loss_fn(params, model_state, batch, context):  # type: ignore[no-untyped-def]
        x, _ = model.apply(params, model_state, batch["image"])
        return jnp.square(x - batch["image"]).mean(), (model_state, {})

    return _step(model, loss_fn, {"image": images}, mesh, images)


def _compare(groups: Groups, repeats: int, *, is_kept: bool) -> None:
    """Time all groups by turns, and report."""
    timings, peak = take_turns_beside_matmul(
        {group: candidates for group, (candidates, _) in groups.items()}, repeats
    )
    rows = []
    for group, (_, flops) in groups.items():
        peer = timings[group].get("torch")
        rows += [
            {
                "step": f"{group}: {name}",
                "cold_seconds": timing.cold,
                "warm_seconds": timing.median,
                "percent_of_peak": 100 * flops / timing.median / peak.rate,
                "times_torch": peer.median / timing.median if peer else "-",
            }
            for name, timing in timings[group].items()
        ]
    title = (
        f"Steps of Adam on {SIZE} x {SIZE} images: WGAN-GP, batch {GAN_BATCH}, and an "
        f"autoencoder, batch {SONNET_BATCH}; {peak.text}; peak is the faster one, and "
        "zeros of padding count"
    )
    report("gan", title, rows, is_kept=is_kept)


if __name__ == "__main__":
    main()
