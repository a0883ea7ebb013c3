"""GPT-2 weights of Hugging Face transformers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlab.core.typing import Params
from jaxlab.interop.hf_config import ACTIVATIONS, check_config
from jaxlab.interop.hf_files import (
    check_offered,
    fill_language_model,
    looped,
    read_source,
)
from jaxlab.interop.key_table import (
    FLAT,
    LINEAR,
    LINEAR_JOIN,
    Rule,
    linear,
    norm,
    to_weights,
)
from jaxlab.interop.weight_files import Source, names_source
from jaxlab.models.transformer.decoder import TransformerLM

__all__ = ["load_hf_gpt2", "to_hf_gpt2"]

# What transformers assumes where a config.json says nothing.
_DEFAULTS: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "activation_function": "gelu_new",
    "resid_pdrop": 0.1,
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
_PREFIX = "transformer."  # which a bare GPT2Model lacks
_TABLE = "wte.weight"
_HEAD = "lm_head.weight"
_CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
_IGNORED = {
    "h.{i}.attn.bias": "the mask of causality, which is no parameter",
    "h.{i}.attn.masked_bias": "the score of what is masked, which is no parameter",
}


@names_source
def load_hf_gpt2(
    source: Source,
    config: Mapping[str, Any] | None = None,
    *,
    scan: bool = False,
    **fields: Any,
) -> tuple[TransformerLM, Params]:
    """Load a `GPT2LMHeadModel` or `GPT2Model` of transformers.

    Args:
        source: A folder with `config.json` and `model.safetensors`, or weights by key
            (arrays or torch tensors), such as `model.state_dict()`.
        config: The configuration of transformers, such as `model.config.to_dict()`;
            read from the folder if None.
        scan: Stack the blocks' parameters for `TransformerLM(scan=True)`.
        fields: Other fields of `TransformerLM`, such as `dtype` or `remat`.

    Returns:
        The network and its float32 parameters. The rate of dropout is the
        configuration's `resid_pdrop`; dropout of attention weights is left out.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named; of the
            shapes of `Conv1D`s the transposes), tied weights differ, or the
            configuration asks for what `TransformerLM` does not have.
    """
    weights, config = read_source(source, config, _DEFAULTS)
    network = TransformerLM(**{**_settings(config, _HEAD in weights), **fields})
    return fill_language_model(
        network,
        _turned(weights),
        _rules,
        prefix=_PREFIX,
        table=_TABLE,
        head=_HEAD,
        ignore=_IGNORED,
        scan=scan,
    )


def to_hf_gpt2(network: TransformerLM, params: Params) -> dict[str, np.ndarray]:
    """Give the weights of `GPT2LMHeadModel` for a `TransformerLM` that it can be.

    It needs a `GPT2Config` with the sizes, activation and `layer_norm_epsilon` of the
    network. A tied table is under both of its keys, as in `state_dict()`.

    Args:
        network: The network: learned positions, layer norms, biases.
        params: Its parameters, of a loop or a scan.

    Raises:
        InputError: If transformers has no such GPT-2.
    """
    offered: dict[str, list[Any]] = {
        "norm": ["layer"],
        "positions": ["learned"],
        "use_bias": [True],
        "num_kv_heads": [0, network.num_heads],
        "act": ["gelu", "gelu_tanh", "relu", "silu"],
    }
    check_offered(network, "GPT-2", offered)
    weights = to_weights(looped(network, params, "decoder"), _rules(_PREFIX))
    return {_HEAD: weights[_PREFIX + _TABLE], **_turned(weights)}


def _turned(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Transpose the (in, out) of `Conv1D` to the (out, in) of torch, or back.

    Then queries, keys and values are parts along the first axis, as tables have them.
    """
    return {k: w.T if k.endswith(_CONV1D) else w for k, w in weights.items()}


def _rules(prefix: str) -> list[Rule]:
    block, ours = f"{prefix}h.{{i}}", "decoder/block_{i}"
    rules = [
        Rule(prefix + _TABLE, "token_embed/embedding"),
        Rule(f"{prefix}wpe.weight", "token_embed/pos_embed"),
        *norm(f"{block}.ln_1", f"{ours}/attention_norm"),
        *linear(f"{block}.attn.c_proj", f"{ours}/attention/out", LINEAR_JOIN),
        *norm(f"{block}.ln_2", f"{ours}/mlp_norm"),
        *linear(f"{block}.mlp.c_fc", f"{ours}/mlp/up"),
        *linear(f"{block}.mlp.c_proj", f"{ours}/mlp/down"),
        *norm(f"{prefix}ln_f", "final_norm"),
        Rule(_HEAD, "head/kernel", LINEAR),
    ]
    for index, name in enumerate(("query", "key", "value")):
        source, target = f"{block}.attn.c_attn", f"{ours}/attention/{name}"
        rules += [
            Rule(f"{source}.weight", f"{target}/kernel", LINEAR, (index, 3)),
            Rule(f"{source}.bias", f"{target}/bias", FLAT, (index, 3)),
        ]
    return rules


def _settings(config: Mapping[str, Any], has_head: bool) -> dict[str, Any]:
    """Translate a configuration to fields of `TransformerLM`."""
    offered: dict[str, list[Any]] = {
        "model_type": ["gpt2"],
        "activation_function": list(ACTIVATIONS),
        "scale_attn_weights": [True],
        "scale_attn_by_inverse_layer_idx": [False],
        "add_cross_attention": [False],
    }
    check_config(config, "TransformerLM", offered)
    return {
        "vocab_size": config["vocab_size"],
        "depth": config["n_layer"],
        "width": config["n_embd"],
        "num_heads": config["n_head"],
        "hidden_dim": config["n_inner"] or 0,
        "act": ACTIVATIONS[config["activation_function"]],
        "norm_eps": config["layer_norm_epsilon"],
        "max_len": config["n_positions"],
        # A bare GPT2Model has no head: ours is then the table, whatever is configured.
        "tie_softmax": config["tie_word_embeddings"] or not has_head,
        "dropout_rate": float(config["resid_pdrop"]),
    }
