"""ViT weights of Hugging Face transformers, in the key layouts of versions 4 and 5.

Version 5 renamed the modules, but still writes files in the layout of version 4: its
`state_dict()` has the new keys, a `model.safetensors` the old ones.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Params
from jaxlab.interop.table import (
    KEEP,
    LINEAR,
    LINEAR_JOIN,
    Rule,
    Transform,
    linear,
    norm,
    to_params,
    to_weights,
)
from jaxlab.models.vit import ViT
from jaxlab.nn.activation import Activation
from jaxlab.nn.embed import resize_positions
from jaxlab.nn.stack import stack_blocks, unstack_blocks

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
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
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


def load_hf_vit(
    source: Mapping[str, Any] | str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    **fields: Any,
) -> tuple[ViT, Params]:
    """Load a `ViTModel` or `ViTForImageClassification` of transformers.

    The outputs are the logits of a classifier; the `pooler_output` of a `ViTModel`;
    or, without a pooler, its normalised class token. For `last_hidden_state` pass
    `pool="none", num_classes=0`. Images must be scaled as the model's own processor
    does; for the original ViT that is to [-1, 1].

    Args:
        source: A folder with `config.json` and `model.safetensors`, or weights by key
            (arrays or torch tensors), such as `model.state_dict()`.
        config: The configuration of transformers, such as `model.config.to_dict()`;
            read from the folder if None.
        num_classes: None keeps what is stored. A number drops the stored classifier
            and pooler for a new head of so many zeros, to fine-tune; 0 for none.
        image_size: Pixels of the images to come, or rows and columns of them; learned
            positions are resized to it. None: as stored.
        fields: Other fields of `ViT`, such as `scan`, `dtype` or `drop_path_rate`.

    Returns:
        The network and its float32 parameters. Dropout of attention weights, which
        `ViT` does not have, is left out.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named), or
            the configuration asks for what `ViT` does not have.
    """
    weights, config = _read(source, config)
    head = {"classifier": 0, "pooler": 0}
    for key in ("classifier.weight", "pooler.dense.weight"):
        if key in weights:
            head[key.split(".")[0]] = np.shape(weights[key])[0]
    if num_classes is not None:
        weights = {k: w for k, w in weights.items() if k.split(".")[0] not in head}
        head = {"classifier": 0, "pooler": 0}
    settings = {
        **_settings(config),
        "num_classes": head["classifier"],
        "representation_size": head["pooler"],
        **fields,
    }
    scan = settings.pop("scan", False)
    stored = ViT(**settings)
    stored_size = _pair(config["image_size"])
    params = to_params(
        weights,
        _rules(weights, stored.patch_size),
        _shapes(stored, stored_size, config["num_channels"]),
        # Only masked image modelling has one.
        ignore=dict.fromkeys(
            ("embeddings.mask_token", "vit.embeddings.mask_token"),
            "read only by masked image modelling",
        ),
    )
    params = jax.tree.map(jnp.asarray, params)
    size = stored_size if image_size is None else _pair(image_size)
    if size != stored_size:
        params["pos_embed"] = _resize(params["pos_embed"], stored, stored_size, size)
    if scan:
        params["encoder"] = stack_blocks(params["encoder"])
    if num_classes:
        params["head"] = {
            "kernel": jnp.zeros((stored.width, num_classes)),
            "bias": jnp.zeros(num_classes),
        }
    return stored.clone(
        scan=scan, num_classes=num_classes or stored.num_classes
    ), params
