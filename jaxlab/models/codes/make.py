"""Autoencoders of codes and their critics, of plain fields and by name.

Preset    Images     Codes            Levels               Critic
f16_1024  256 x 256  16 x 16 of 1024  128 128 256 256 512  3 layers, batch norm
px32      32 x 32    8 x 8 of 1024    64 128 128           2 layers, layer norm
digits    8 x 8      4 x 4 of 64      32 64                1 layer, layer norm

f16_1024 is the paper's network for ImageNet. Batch norm in a critic makes the scores of
a batch depend on each other, which gradient accumulation does not allow.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

import jax.numpy as jnp

from jaxlab.core.errors import check_choice
from jaxlab.core.ranges import check_fields
from jaxlab.models.codes.patch_gan import PatchGAN
from jaxlab.models.codes.vqgan import VQGAN, VQGANSizes
from jaxlab.models.codes.vqvae import VQVAE
from jaxlab.models.gan.parts import NormKind
from jaxlab.nn.quantizers.make import make_quantizer

__all__ = [
    "PRESETS",
    "Preset",
    "PresetName",
    "make_patch_gan",
    "make_vqgan",
    "make_vqvae",
]

PresetName: TypeAlias = Literal["f16_1024", "px32", "digits"]


class Preset(NamedTuple):
    """Sizes that go together.

    Attributes:
        sizes: Sizes of the autoencoder.
        num_codes: Codes of the quantiser.
        critic_width: Channels of the critic's first layer.
        critic_layers: Layers of stride 2 of the critic.
        critic_norm: Normalisation of the critic.
    """

    sizes: VQGANSizes
    num_codes: int
    critic_width: int
    critic_layers: int
    critic_norm: NormKind


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "f16_1024": Preset(VQGANSizes(), 1024, 64, 3, "batch"),
        "px32": Preset(
            VQGANSizes((64, 128, 128), 2, (2,), latent_dim=128, code_dim=64),
            num_codes=1024,
            critic_width=64,
            critic_layers=2,
            critic_norm="layer",
        ),
        "digits": Preset(
            VQGANSizes((32, 64), 1, (), 64, code_dim=16, num_groups=8),
            num_codes=64,
            critic_width=32,
            critic_layers=1,
            critic_norm="layer",
        ),
    }
)


def make_vqvae(
    *,
    channels: int = 3,
    width: int = 128,
    num_blocks: int = 2,
    block_width: int = 32,
    quantizer: str = "ema",
    num_codes: int = 512,
    code_dim: int = 64,
    quantizer_options: Mapping[str, Any] | None = None,
    dtype: Any = jnp.float32,
) -> VQVAE:
    """Make a `VQVAE`; the defaults are the sizes of DeepMind's example.

    Args:
        channels: Channels of the images.
        width: Channels inside.
        num_blocks: Residual blocks of the encoder, and of the decoder.
        block_width: Channels inside a block.
        quantizer: Name of the quantiser, see `make_quantizer`.
        num_codes: Codes.
        code_dim: Channels of codes.
        quantizer_options: Other fields of the quantiser, such as `beta`.
        dtype: Of the computation.

    Raises:
        InputError: If a size cannot be, or there is no such quantiser.
    """
    network = VQVAE(
        quantizer=make_quantizer(
            quantizer, num_codes=num_codes, dim=code_dim, **(quantizer_options or {})
        ),
        channels=channels,
        width=width,
        num_blocks=num_blocks,
        block_width=block_width,
        code_dim=code_dim,
        dtype=dtype,
    )
    check_fields(network)
    return network


def make_vqgan(
    preset: str = "px32",
    *,
    channels: int = 3,
    widths: tuple[int, ...] | None = None,
    num_blocks: int | None = None,
    attention: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    num_groups: int | None = None,
    quantizer: str = "ema",
    num_codes: int | None = None,
    code_dim: int | None = None,
    quantizer_options: Mapping[str, Any] | None = None,
    dtype: Any = jnp.float32,
) -> VQGAN:
    """Make a `VQGAN`; what is None is the preset's.

    Args:
        preset: One of the table above.
        channels: Channels of the images.
        widths: See `VQGANSizes`.
        num_blocks: See `VQGANSizes`.
        attention: See `VQGANSizes`.
        latent_dim: See `VQGANSizes`.
        num_groups: See `VQGANSizes`.
        quantizer: Name of the quantiser, see `make_quantizer`; the paper's is vq.
        num_codes: Codes.
        code_dim: Channels of codes.
        quantizer_options: Other fields of the quantiser, such as `beta`.
        dtype: Of the computation.

    Raises:
        InputError: If there is no such preset or quantiser, or a size cannot be.
    """
    check_choice("preset", preset, PresetName)
    given = {
        "widths": widths,
        "num_blocks": num_blocks,
        "attention": attention,
        "latent_dim": latent_dim,
        "code_dim": code_dim,
        "num_groups": num_groups,
    }
    found = PRESETS[preset]
    changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    sizes = dataclasses.replace(found.sizes, **changes)
    network = VQGAN(
        quantizer=make_quantizer(
            quantizer,
            num_codes=found.num_codes if num_codes is None else num_codes,
            dim=sizes.code_dim,
            **(quantizer_options or {}),
        ),
        sizes=sizes,
        channels=channels,
        dtype=dtype,
    )
    check_fields(network)
    return network


def make_patch_gan(
    preset: str = "px32",
    *,
    width: int | None = None,
    num_layers: int | None = None,
    norm: NormKind | None = None,
    spectral: bool = False,
    dtype: Any = jnp.float32,
) -> PatchGAN:
    """Make the critic of a preset; what is None is the preset's.

    Args:
        preset: One of the table above.
        width: Channels of the first layer.
        num_layers: Layers of stride 2; each halves images that must not vanish.
        norm: Normalisation of the layers between the first and the last.
        spectral: Spectral normalisation of all layers, beside that.
        dtype: Of the computation.

    Raises:
        InputError: If there is no such preset, or a size cannot be.
    """
    check_choice("preset", preset, PresetName)
    found = PRESETS[preset]
    critic = PatchGAN(
        width=found.critic_width if width is None else width,
        num_layers=found.critic_layers if num_layers is None else num_layers,
        norm=found.critic_norm if norm is None else norm,
        spectral=spectral,
        dtype=dtype,
    )
    check_fields(critic)
    return critic
