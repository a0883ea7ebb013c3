"""ViT weights of Hugging Face transformers, in the key layouts of versions 4 and 5.

Version 5 renamed the modules, but still writes files in the layout of version 4: its
`state_dict()` has the new keys, a `model.safetensors` the old ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Params
from jaxlab.interop.hf_config import ACTIVATIONS, check_config
from jaxlab.interop.hf_files import fill, looped, new_head, num_rows, read_source
from jaxlab.interop.key_table import (
    LINEAR,
    LINEAR_JOIN,
    Rule,
    Transform,
    linear,
    norm,
    to_weights,
)
from jaxlab.interop.weight_files import Source, names_source
from jaxlab.models.vision.vit import ViT
from jaxlab.nn.embed import resize_positions

__all__ = ["Layout", "load_hf_vit", "to_hf_vit"]

Layout: TypeAlias = Literal["v4", "v5"]

# What transformers assumes where a config.json says nothing.
_DEFAULTS: dict[str, Any] = {
    "model_type": "vit",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "qkv_bias": True,
    "pooler_act": "tanh",
}
_BLOCKS = {"v4": "encoder.layer.{i}", "v5": "layers.{i}"}
# Ours: theirs in version 4, in version 5, and how the kernel changes.
_LAYERS: dict[str, tuple[str, str, Transform]] = {
    "attention/query": ("attention.attention.query", "attention.q_proj", LINEAR),
    "attention/key": ("attention.attention.key", "attention.k_proj", LINEAR),
    "attention/value": ("attention.attention.value", "attention.v_proj", LINEAR),
    "attention/out": ("attention.output.dense", "attention.o_proj", LINEAR_JOIN),
    "mlp/up": ("intermediate.dense", "mlp.fc1", LINEAR),
    "mlp/down": ("output.dense", "mlp.fc2", LINEAR),
}


@names_source
def load_hf_vit(
    source: Source,
    config: Mapping[str, Any] | None = None,
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    scan: bool = False,
    **fields: Any,
) -> tuple[ViT, Params]:
    """Load a `ViTModel` or `ViTForImageClassification` of transformers.

    The outputs are the logits of a classifier; the `pooler_output` of a `ViTModel`;
    or, without a pooler, its normalised class token. For `last_hidden_state` pass
    `pool="none", num_classes=0`.

    Images must be scaled as the model's own processor does, which not all do to the
    [-1, 1] that our own runs have: `load_hf_preprocessing`, of the same folder, gives
    the function from pixels to inputs.

    Args:
        source: A folder with `config.json` and `model.safetensors`, or weights by key
            (arrays or torch tensors), such as `model.state_dict()`.
        config: The configuration of transformers, such as `model.config.to_dict()`;
            read from the folder if None.
        num_classes: None keeps what is stored. A number drops the stored classifier
            and pooler for a new head of so many zeros, to fine-tune; 0 for none.
        image_size: Pixels of the images to come, or rows and columns of them; learned
            positions are resized to it. None: as stored.
        scan: Stack the blocks' parameters for `ViT(scan=True)`.
        fields: Other fields of `ViT`, such as `dtype`, `remat` or `drop_path_rate`.

    Returns:
        The network and its float32 parameters. Dropout of attention weights, which
        `ViT` does not have, is left out.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named), or
            the configuration asks for what `ViT` does not have.
    """
    weights, config = read_source(source, config, _DEFAULTS)
    prefix = "vit." if any(key.startswith("vit.") for key in weights) else ""
    if num_classes is not None:
        heads = ("classifier.", f"{prefix}pooler.")
        weights = {k: w for k, w in weights.items() if not k.startswith(heads)}
    settings = _settings(config)
    settings["num_classes"] = num_rows(weights, "classifier.weight")
    if not settings["num_classes"]:  # a classifier of transformers has no pooler
        settings["representation_size"] = num_rows(weights, "pooler.dense.weight")
    vit = ViT(**{**settings, **fields})
    stored_size = _pair(config["image_size"])
    images = jax.ShapeDtypeStruct((1, *stored_size, config["num_channels"]), "float32")
    layout: Layout = "v4" if any("encoder.layer." in key for key in weights) else "v5"
    vit, params = fill(
        vit,
        [images],
        weights,
        _rules(layout, prefix, vit.patch_size),
        stacks=["encoder"],
        scan=scan,
        ignore={f"{prefix}embeddings.mask_token": "for masked image modelling alone"},
    )
    if image_size is not None:
        grids = (_grid(size, vit.patch_size) for size in (stored_size, image_size))
        positions = resize_positions(params["pos_embed"][0], *grids)
        params["pos_embed"] = positions[None]
    if num_classes:
        params["head"] = new_head(vit.width, num_classes)
        vit = vit.clone(num_classes=num_classes)
    return vit, params


def to_hf_vit(
    vit: ViT, params: Params, *, layout: Layout = "v4"
) -> dict[str, np.ndarray]:
    """Give the weights of transformers for a ViT that it has too.

    With a head, those of `ViTForImageClassification`; without, of `ViTModel`. Both
    need a `ViTConfig` with the sizes, activation and `layer_norm_eps` of the network.

    Args:
        vit: The network: class token, learned positions, linear patches.
        params: Its parameters, of a loop or a scan.
        layout: `v4` is what files hold whatever the version of transformers; `v5` is
            for `load_state_dict` in version 5.

    Raises:
        InputError: If a parameter has no counterpart in transformers.
    """
    if vit.pool not in ("token", "none") or vit.pos_embed != "learned":
        raise InputError(
            f"transformers has no ViT with pool={vit.pool!r} and "
            f"pos_embed={vit.pos_embed!r}; it has a class token and learned positions"
        )
    params = looped(vit, params, "encoder")
    if "head" in params and "pre_logits" in params:
        raise InputError(
            "transformers has no ViT with both pre_logits and a head; use a ViT with "
            "representation_size=0 or num_classes=0"
        )
    prefix = "vit." if "head" in params else ""
    return to_weights(params, _rules(layout, prefix, vit.patch_size))


def _rules(layout: Layout, prefix: str, patch_size: int) -> list[Rule]:
    patches = Transform(  # a convolution to a Dense on flat patches, see `patchify`
        lambda a: a.transpose(2, 3, 1, 0),
        lambda a: a.reshape(patch_size, patch_size, -1, a.shape[-1]).transpose(
            3, 2, 0, 1
        ),
    )
    embeddings = f"{prefix}embeddings"
    block, ours = f"{prefix}{_BLOCKS[layout]}", "encoder/block_{i}"
    rules = [
        Rule(f"{embeddings}.cls_token", "cls"),
        Rule(f"{embeddings}.position_embeddings", "pos_embed"),
        *linear(f"{embeddings}.patch_embeddings.projection", "patch_embed", patches),
        *norm(f"{block}.layernorm_before", f"{ours}/attention_norm"),
        *norm(f"{block}.layernorm_after", f"{ours}/mlp_norm"),
        *norm(f"{prefix}layernorm", "norm"),
        *linear(f"{prefix}pooler.dense", "pre_logits"),
        *linear("classifier", "head"),
    ]
    for target, (v4, v5, transform) in _LAYERS.items():
        name = v4 if layout == "v4" else v5
        rules += linear(f"{block}.{name}", f"{ours}/{target}", transform)
    return rules


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a configuration to fields of `ViT`."""
    offered: dict[str, list[Any]] = {
        "model_type": ["vit"],
        "hidden_act": list(ACTIVATIONS),
        "pooler_act": ["tanh"],
        "qkv_bias": [True],
    }
    check_config(config, "ViT", offered)
    patch_size, other_side = _pair(config["patch_size"])
    if patch_size != other_side:
        raise InputError(
            f"patches of {patch_size} x {other_side} are not offered; ViT has squares"
        )
    return {
        "patch_size": patch_size,
        "width": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["intermediate_size"],
        "act": ACTIVATIONS[config["hidden_act"]],
        "dropout_rate": float(config["hidden_dropout_prob"]),
        "norm_eps": config["layer_norm_eps"],
    }


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _grid(size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    rows, columns = _pair(size)
    if rows % patch_size or columns % patch_size:
        raise InputError(
            f"patch_size {patch_size} does not divide image_size {rows} x {columns}"
        )
    return rows // patch_size, columns // patch_size
