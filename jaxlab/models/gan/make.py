"""Pairs of a generator and a critic, by name.

Name       Described in          Latent  Width of generator, critic  Size in its paper
mlp        `dense`               100     1024, 512                   28 x 28
maxout     `dense`               100     1200, 240                   28 x 28
point      `dense`               2       512, 512                    points of 2 numbers
dcgan      `conv`                100     64, 64                      64 x 64
cnn        `conv`, WGAN-GP       128     128, 128                    32 x 32
sngan_cnn  `conv`                128     64, 64                      32 x 32
resnet     `resnet`, WGAN-GP     128     128, 128                    32 x 32
sngan      `resnet`              128     256, 128                    32 x 32
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError, check_choice
from jaxlab.core.typing import Array, Float, Key
from jaxlab.models.gan import conv, dense, resnet
from jaxlab.models.gan.parts import Conditional, NormKind, base_of

__all__ = ["GANS", "Family", "Gan", "ImageGan", "Latent", "make_gan", "make_point_gan"]

Latent: TypeAlias = Literal["normal", "uniform"]
# Those of `GANS` that make images.
ImageGan: TypeAlias = Literal[
    "mlp", "maxout", "dcgan", "cnn", "sngan_cnn", "resnet", "sngan"
]


class Gan(NamedTuple):
    """A generator and a critic.

    Attributes:
        generator: `generator(z, labels, train=)` gives images (b, y, x, c) in [-1, 1],
            or points (b, j). Labels are looked at by conditional networks alone.
        critic: `critic(x, labels, train=)` gives scores (b,) in float32; of an ACGAN
            the scores and the logits of the classes (b, v).
        latent_dim: Numbers in a latent row.
        latent: Their distribution, of mean 0 and variance 1.
        sees_labels: Whether the critic's scores depend on the labels.
    """

    generator: nn.Module
    critic: nn.Module
    latent_dim: int
    latent: Latent = "normal"
    sees_labels: bool = False

    def sample_latents(self, key: Key[Array, ""], count: int) -> Float[Array, "b d"]:
        """Draw latent rows."""
        shape = (count, self.latent_dim)
        if self.latent == "uniform":
            return jax.random.uniform(key, shape, minval=-(3**0.5), maxval=3**0.5)
        return jax.random.normal(key, shape)


class Family(NamedTuple):
    """Networks of one paper, and their sizes there.

    Attributes:
        generator: The class.
        critic: The class.
        width: Of the generator.
        critic_width: Of the critic.
        latent_dim: Numbers in a latent row.
        latent: Their distribution.
        generator_options: Other fields than the class's own defaults.
        critic_options: The same of the critic.
    """

    generator: type[nn.Module]
    critic: type[nn.Module]
    width: int
    critic_width: int
    latent_dim: int
    latent: Latent = "normal"
    generator_options: Mapping[str, Any] = MappingProxyType({})
    critic_options: Mapping[str, Any] = MappingProxyType({})


GANS = {
    "mlp": Family(dense.MLPGenerator, dense.MLPCritic, 1024, 512, 100),
    "maxout": Family(
        dense.MaxoutGenerator, dense.MaxoutCritic, 1200, 240, 100, "uniform"
    ),
    "point": Family(dense.PointGenerator, dense.PointCritic, 512, 512, 2),
    "dcgan": Family(conv.DCGANGenerator, conv.DCGANCritic, 64, 64, 100),
    "cnn": Family(conv.CNNGenerator, conv.CNNCritic, 128, 128, 128),
    "sngan_cnn": Family(conv.SNGANCNNGenerator, conv.SNGANCNNCritic, 64, 64, 128),
    "resnet": Family(resnet.ResNetGenerator, resnet.ResNetCritic, 128, 128, 128),
    "sngan": Family(
        resnet.ResNetGenerator,
        resnet.ResNetCritic,
        256,
        128,
        128,
        generator_options={"norm_eps": 2e-5},  # Chainer's
        critic_options={"spectral": True, "pool": "sum", "use_bias": False},
    ),
}


def make_gan(
    name: str,
    shape: tuple[int, ...],
    *,
    width: int | None = None,
    critic_width: int | None = None,
    latent_dim: int | None = None,
    conditional: Conditional = "none",
    num_classes: int = 0,
    spectral: bool = False,
    norm: NormKind | None = None,
    dtype: Any = jnp.float32,
) -> Gan:
    """Make the networks of that name for images of that shape.

    Args:
        name: One of `GANS`.
        shape: Rows, columns, channels; of `point` the number of coordinates alone.
        width: Of the generator; None: the paper's.
        critic_width: Of the critic; None: in the paper's proportion to `width`.
        latent_dim: Numbers in a latent row; None: the paper's.
        conditional: What the critic makes of labels. The generator then has batch
            normalisation with a scale and a shift for each class.
        num_classes: Classes, where conditional.
        spectral: Spectral normalisation of the critic, in place of its batch
            normalisation if it has one. That of SNGAN has it in any case.
        norm: Of the critic's layers (dcgan, cnn, resnet); None: the paper's.
        dtype: Of the computation; parameters, images and scores are float32.

    Raises:
        InputError: If there is no such network, or none of that shape or kind.
    """
    if name not in GANS:
        raise InputError(f"GAN {name!r} is not one of {', '.join(GANS)}")
    family = GANS[name]
    width = family.width if width is None else width
    if critic_width is None:
        critic_width = max(1, width * family.critic_width // family.width)
    latent_dim = family.latent_dim if latent_dim is None else latent_dim
    _check_sizes(name, shape, (width, critic_width, latent_dim))
    check_choice("conditional", conditional, Conditional)
    check_choice("norm", norm or "none", NormKind)
    generator = {"width": width, "dtype": dtype, **family.generator_options}
    critic = {"width": critic_width, "dtype": dtype, **family.critic_options}
    if name == "point":
        generator["num_features"] = shape[0]
    else:
        generator["shape"] = tuple(shape)
    if conditional != "none":
        _check_classes(name, num_classes)
        generator["num_classes"] = num_classes
        critic |= {"conditional": conditional, "num_classes": num_classes}
    if spectral:
        critic["spectral"] = True
        norm = norm or ("none" if name == "dcgan" else None)
    if norm is not None:
        critic["norm"] = norm
    return Gan(
        _build(name, family.generator, generator),
        _build(name, family.critic, critic),
        latent_dim,
        family.latent,
        sees_labels=conditional == "projection",
    )


def make_point_gan(
    *,
    width: int = 512,
    generator_depth: int = 3,
    critic_depth: int = 3,
    latent_dim: int = 2,
    num_features: int = 2,
    max_bias: float = 0.0,
    spectral: bool = False,
    dtype: Any = jnp.float32,
) -> Gan:
    """Make networks of points; `make_gan("point", (2,))` has the paper's sizes.

    Args:
        width: Width of each layer of both.
        generator_depth: Layers of the generator.
        critic_depth: Layers of the critic.
        latent_dim: Numbers in a latent row.
        num_features: Coordinates of a point.
        max_bias: Largest of the first biases, see `PointNetwork`.
        spectral: Spectral normalisation of the critic.
        dtype: Type of the computation; parameters, points and scores are float32.
    """
    generator = dense.PointGenerator(
        width=width,
        depth=generator_depth,
        max_bias=max_bias,
        dtype=dtype,
        num_features=num_features,
    )
    critic = dense.PointCritic(
        width=width,
        depth=critic_depth,
        max_bias=max_bias,
        dtype=dtype,
        spectral=spectral,
    )
    return Gan(generator, critic, latent_dim)


def _build(name: str, network: type[nn.Module], fields: dict[str, Any]) -> nn.Module:
    if unknown := sorted(set(fields) - set(network.__dataclass_fields__)):
        raise InputError(f"GAN {name!r} has no {', '.join(unknown)}")
    return network(**fields)


def _check_sizes(name: str, shape: tuple[int, ...], widths: tuple[int, ...]) -> None:
    if min(widths) < 1:
        raise InputError(f"widths and latent_dim must be at least 1, not {min(widths)}")
    if name in ("point", "mlp", "maxout"):
        if min(shape, default=0) < 1 or len(shape) != (1 if name == "point" else 3):
            raise InputError(
                f"shape {shape} of {name!r} must be "
                + ("(coordinates,)" if name == "point" else "(rows, columns, channels)")
            )
        return
    base_of(shape)


def _check_classes(name: str, num_classes: int) -> None:
    if name in ("point", "maxout"):
        raise InputError(
            f"GAN {name!r} has no classes: its generator has no batch normalisation"
        )
    if num_classes < 2:
        raise InputError(
            f"a conditional GAN needs num_classes of 2 or more, not {num_classes}"
        )
