"""Llama weights of Hugging Face transformers, where rotations are not scaled."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Params
from jaxlab.interop.hf_config import check_config
from jaxlab.interop.hf_files import (
    check_offered,
    fill_language_model,
    looped,
    read_source,
)
from jaxlab.interop.key_table import LINEAR, LINEAR_JOIN, Rule, linear, to_weights
from jaxlab.interop.weight_files import Source, names_source
from jaxlab.models.transformer.decoder import TransformerLM
from jaxlab.nn.activation import GatedActivation

__all__ = ["load_hf_llama", "to_hf_llama"]

# What transformers assumes where a config.json says nothing.
_DEFAULTS: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "rope_theta": 10_000.0,  # this and the next of version 4
    "rope_scaling": None,
    "attention_bias": False,
    "mlp_bias": False,
    "head_dim": None,
}
_GATED: dict[str, GatedActivation] = {
    "silu": "swiglu",
    "swish": "swiglu",
    "gelu": "geglu",
    "relu": "reglu",
}
_PREFIX = "model."  # which a bare LlamaModel lacks
_TABLE = "embed_tokens.weight"
_HEAD = "lm_head.weight"
_IGNORED = {
    "layers.{i}.self_attn.rotary_emb.inv_freq": "frequencies, computed of rotary_base"
}


@names_source
def load_hf_llama(
    source: Source,
    config: Mapping[str, Any] | None = None,
    *,
    scan: bool = False,
    **fields: Any,
) -> tuple[TransformerLM, Params]:
    """Load a `LlamaForCausalLM` of transformers, or a `LlamaModel` of tied tables.

    Args:
        source: A folder with `config.json` and `model.safetensors`, whole or in shards,
            or weights by key (arrays or torch tensors), such as `model.state_dict()`.
        config: The configuration of transformers, such as `model.config.to_dict()`;
            read from the folder if None.
        scan: Stack the blocks' parameters for `TransformerLM(scan=True)`.
        fields: Other fields of `TransformerLM`, such as `dtype` or `remat`.

    Returns:
        The network, which drops nothing, and its float32 parameters.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named), tied
            weights differ, or the configuration asks for what `TransformerLM` does not
            have: scaled rotations, for one.
    """
    weights, config = read_source(source, config, _DEFAULTS)
    network = TransformerLM(**{**_settings(config), **fields})
    return fill_language_model(
        network,
        weights,
        _rules,
        prefix=_PREFIX,
        table=_TABLE,
        head=_HEAD,
        ignore=_IGNORED,
        scan=scan,
    )


def to_hf_llama(network: TransformerLM, params: Params) -> dict[str, np.ndarray]:
    """Give the weights of `LlamaForCausalLM` for a `TransformerLM` that it can be.

    It needs a `LlamaConfig` with the sizes, activation, `rms_norm_eps` and `rope_theta`
    of the network. A tied table is under both of its keys, as in `state_dict()`.

    Args:
        network: The network: rotary positions, root mean square norms, a gated MLP.
        params: Its parameters, of a loop or a scan.

    Raises:
        InputError: If transformers has no such Llama.
    """
    offered: dict[str, list[Any]] = {
        "norm": ["rms"],
        "positions": ["rotary"],
        "act": sorted(set(_GATED.values())),
    }
    check_offered(network, "Llama", offered)
    weights = to_weights(looped(network, params, "decoder"), _rules(_PREFIX))
    return {_HEAD: weights[_PREFIX + _TABLE], **weights}


def _rules(prefix: str) -> list[Rule]:
    block, ours = f"{prefix}layers.{{i}}", "decoder/block_{i}"
    rules = [
        Rule(prefix + _TABLE, "token_embed/embedding"),
        Rule(f"{block}.input_layernorm.weight", f"{ours}/attention_norm/scale"),
        *linear(f"{block}.self_attn.o_proj", f"{ours}/attention/out", LINEAR_JOIN),
        Rule(f"{block}.post_attention_layernorm.weight", f"{ours}/mlp_norm/scale"),
        Rule(f"{prefix}norm.weight", "final_norm/scale"),
        Rule(_HEAD, "head/kernel", LINEAR),
    ]
    for name in ("query", "key", "value"):
        source = f"{block}.self_attn.{name[0]}_proj"
        rules += linear(source, f"{ours}/attention/{name}")
    for name in ("gate", "up", "down"):
        rules += linear(f"{block}.mlp.{name}_proj", f"{ours}/mlp/{name}")
    return rules


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a configuration to fields of `TransformerLM`."""
    head_width = config["hidden_size"] // config["num_attention_heads"]
    offered: dict[str, list[Any]] = {
        "model_type": ["llama"],
        "hidden_act": list(_GATED),
        "head_dim": [None, head_width],
        # One field tells of all biases.
        "mlp_bias": [config["attention_bias"]],
    }
    check_config(config, "TransformerLM", offered)
    return {
        "vocab_size": config["vocab_size"],
        "depth": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "num_kv_heads": config["num_key_value_heads"] or 0,
        "hidden_dim": config["intermediate_size"],
        "act": _GATED[config["hidden_act"]],
        "norm": "rms",
        "norm_eps": config["rms_norm_eps"],
        "positions": "rotary",
        "max_len": config["max_position_embeddings"],
        "rotary_base": _rotary_base(config),
        "use_bias": config["attention_bias"],
        "tie_softmax": config["tie_word_embeddings"],
        "dropout_rate": 0.0,
    }


def _rotary_base(config: Mapping[str, Any]) -> float:
    """Give the base of rotations, of versions 4 and 5; refuse to scale them."""
    rope = {**(config["rope_scaling"] or {}), **(config["rope_parameters"] or {})}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default" or rope.get("partial_rotary_factor", 1.0) != 1:
        raise InputError(
            f"rope_type {kind!r} of the configuration, {rope}, is not offered; "
            f"TransformerLM has rotations of all numbers of a head, not scaled"
        )
    return float(rope.get("rope_theta", config["rope_theta"]))
