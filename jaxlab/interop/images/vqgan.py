"""VQGAN's weights in the layouts of taming-transformers and of diffusers' `VQModel`.

Checkpoints of taming-transformers hold Lightning's objects, and are programs: save the
tensors alone first, `torch.save(checkpoint["state_dict"], file)`.
"""

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import ModelState, Params
from jaxlab.interop.hf_config import check_config
from jaxlab.interop.hf_files import read_source
from jaxlab.interop.images.vqgan_keys import (
    DIFFUSERS,
    TAMING,
    Layout,
    read_sizes,
    rules,
)
from jaxlab.interop.key_table import to_params, to_weights
from jaxlab.interop.weight_files import (
    Source,
    names_source,
    read_weights,
    write_folder,
)
from jaxlab.models.codes.vqgan import VQGAN
from jaxlab.nn.quantizers.ema import EMAQuantizer
from jaxlab.nn.quantizers.simvq import SimVQ
from jaxlab.nn.quantizers.vq import VectorQuantizer

__all__ = [
    "load_diffusers_vqgan",
    "load_taming_vqgan",
    "save_diffusers_vqgan",
    "to_diffusers_vqgan",
    "to_taming_vqgan",
]

# What diffusers assumes where a config.json says nothing, of what shapes do not tell.
_DEFAULTS: dict[str, Any] = {
    "_class_name": "VQModel",
    "act_fn": "silu",
    "norm_type": "group",
    "norm_num_groups": 32,
    "mid_block_add_attention": True,
}
_TAMING_GROUPS = 32  # fixed in its code
_FILE = "diffusion_pytorch_model.safetensors"
_LOSSES = "loss."  # networks that a checkpoint of taming-transformers has beside
# Names of attention in files of diffusers before 0.17, and now.
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
# Whose codes are the nearest to a latent by distance, as in both libraries.
_NEAREST = (VectorQuantizer, EMAQuantizer, SimVQ)


@names_source
def load_taming_vqgan(source: Source, **fields: Any) -> tuple[VQGAN, Params]:
    """Load a `VQModel` of taming-transformers.

    The networks of its losses (`loss.`) are left out; the critic among them has
    `patch_gan.load_taming_critic`.

    Args:
        source: A file of weights, or weights by key (arrays or torch tensors).
        fields: Other fields of `VQGAN`, such as `dtype`, or a `quantizer` to train on
            with: `VectorQuantizer(1024, 256, beta_on="codebook")` has the losses of
            the published code. By default those of the paper.

    Returns:
        The network and its float32 parameters.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named).
    """
    weights = read_weights(source)
    own = {k: w for k, w in weights.items() if not k.startswith(_LOSSES)}
    return _load(own, TAMING, _TAMING_GROUPS, fields)


@names_source
def load_diffusers_vqgan(
    source: Source, config: Mapping[str, Any] | None = None, **fields: Any
) -> tuple[VQGAN, Params]:
    """Load a `VQModel` of diffusers.

    Args:
        source: A folder with `config.json` and `diffusion_pytorch_model.safetensors`,
            or weights by key, such as `model.state_dict()`.
        config: The configuration, such as `dict(model.config)`; read from the folder if
            None.
        fields: See `load_taming_vqgan`.

    Returns:
        The network and its float32 parameters.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named), or
            the configuration asks for what `VQGAN` does not have.
    """
    weights, config = read_source(source, config, _DEFAULTS)
    offered: dict[str, list[Any]] = {
        "_class_name": ["VQModel"],
        "act_fn": ["silu", "swish"],
        "norm_type": ["group"],
        "mid_block_add_attention": [True],
    }
    check_config(config, "VQGAN", offered)
    return _load(_renamed(weights), DIFFUSERS, config["norm_num_groups"], fields)


def to_taming_vqgan(
    network: VQGAN, params: Params, model_state: ModelState | None = None
) -> dict[str, np.ndarray]:
    """Give the weights of taming-transformers' `VQModel`, without those of its losses.

    Args:
        network: The network: 32 groups, and codes that are nearest by distance.
        params: The network's parameters.
        model_state: What its codebook has read from data, if it has.

    Raises:
        InputError: If there is no such `VQModel`.
    """
    if network.sizes.num_groups != _TAMING_GROUPS:
        raise InputError(
            f"num_groups {network.sizes.num_groups}: networks of taming-transformers "
            f"have {_TAMING_GROUPS} groups"
        )
    return _to_weights(network, params, model_state, TAMING)


def to_diffusers_vqgan(
    network: VQGAN, params: Params, model_state: ModelState | None = None
) -> dict[str, np.ndarray]:
    """Give the weights of diffusers' `VQModel`; see `save_diffusers_vqgan`.

    Args:
        network: The network: codes that are nearest by distance.
        params: The network's parameters.
        model_state: What its codebook has read from data, if it has.

    Raises:
        InputError: If there is no such `VQModel`.
    """
    return _to_weights(network, params, model_state, DIFFUSERS)


def save_diffusers_vqgan(
    folder: str | os.PathLike[str],
    network: VQGAN,
    params: Params,
    model_state: ModelState | None = None,
    *,
    image_size: int = 256,
) -> None:
    """Write a folder that `diffusers.VQModel.from_pretrained` opens.

    Args:
        folder: Made if it is not there.
        network: See `to_diffusers_vqgan`.
        params: The network's parameters.
        model_state: What its codebook has read from data, if it has.
        image_size: Rows of the images trained with, a note for pipelines.

    Raises:
        InputError: If there is no such `VQModel`.
        WriteError: If the folder cannot be written.
    """
    weights = to_diffusers_vqgan(network, params, model_state)
    sizes, kinds = network.sizes, ("DownEncoderBlock2D", "UpDecoderBlock2D")
    down, up = (
        [
            f"{'Attn' if level in sizes.attention else ''}{kind}"
            for level in range(len(sizes.widths))
        ]
        for kind in kinds
    )
    config = {
        **_DEFAULTS,
        "_diffusers_version": "0.36.0",
        "in_channels": network.channels,
        "out_channels": network.channels,
        "down_block_types": down,
        "up_block_types": up[::-1],
        "block_out_channels": list(sizes.widths),
        "layers_per_block": sizes.num_blocks,
        "latent_channels": sizes.latent_dim,
        "vq_embed_dim": sizes.code_dim,
        "num_vq_embeddings": network.num_codes,
        "norm_num_groups": sizes.num_groups,
        "sample_size": image_size,
    }
    write_folder(folder, config, weights, file=_FILE)


def _load(
    weights: Mapping[str, Any], layout: Layout, num_groups: int, fields: dict[str, Any]
) -> tuple[VQGAN, Params]:
    sizes, num_codes, channels = read_sizes(weights, layout, num_groups)
    quantizer = VectorQuantizer(num_codes=num_codes, dim=sizes.code_dim)
    known = {"quantizer": quantizer, "sizes": sizes, "channels": channels}
    network = VQGAN(**{**known, **fields})
    side = network.stride
    images = jax.ShapeDtypeStruct((1, side, side, channels), "float32")
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)["params"]
    params = to_params(weights, rules(layout, len(sizes.widths)), shapes)
    return network, jax.tree.map(jnp.asarray, params)


def _to_weights(
    network: VQGAN, params: Params, model_state: ModelState | None, layout: Layout
) -> dict[str, np.ndarray]:
    if type(network.quantizer) not in _NEAREST:
        raise InputError(
            f"there is no VQModel of {layout.library} with a "
            f"{type(network.quantizer).__name__}: its codes are those nearest to "
            "latents by distance, as of vq, ema and simvq"
        )

    def table(network: VQGAN) -> Any:
        return network.quantizer.lookup(jnp.arange(network.num_codes))

    variables = {"params": params, **(model_state or {})}
    codes = jnp.asarray(network.apply(variables, method=table))
    own = {name: part for name, part in params.items() if name != "quantizer"}
    own["quantizer"] = {"codebook": codes}
    return to_weights(own, rules(layout, len(network.sizes.widths)))


def _renamed(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keys of today to files of long ago."""

    def renamed(key: str) -> str:
        for old, new in _OLD_NAMES.items():
            if ".attentions." in key:
                key = key.replace(f".{old}.", f".{new}.")
        return key

    return {renamed(key): weight for key, weight in weights.items()}
