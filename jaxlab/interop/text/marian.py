"""Marian translation weights of Hugging Face transformers (the OPUS-MT models)."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Params
from jaxlab.interop.hf_config import ACTIVATIONS, check_config
from jaxlab.interop.hf_files import check_offered, fill, looped, merge_tied, read_source
from jaxlab.interop.key_table import (
    LINEAR,
    LINEAR_JOIN,
    Rule,
    Transform,
    as_array,
    linear,
    norm,
    to_weights,
)
from jaxlab.interop.weight_files import Source, names_source
from jaxlab.models.transformer.encoder_decoder import Transformer

__all__ = ["load_hf_marian", "to_hf_marian"]

# What transformers assumes where a config.json says nothing.
_DEFAULTS: dict[str, Any] = {
    "model_type": "marian",
    "vocab_size": 58101,
    "decoder_vocab_size": None,
    "max_position_embeddings": 1024,
    "encoder_layers": 12,
    "encoder_ffn_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_layers": 12,
    "decoder_ffn_dim": 4096,
    "decoder_attention_heads": 16,
    "activation_function": "gelu",
    "d_model": 1024,
    "dropout": 0.1,
    "scale_embedding": False,
    "pad_token_id": 58100,
    "share_encoder_decoder_embeddings": True,
    "tie_word_embeddings": True,
}
_EPS = 1e-5  # torch's own: Marian's configuration has none
_STACKS = ("encoder", "decoder")
_SHARED = "model.shared.weight"
_EMBED = {stack: f"model.{stack}.embed_tokens.weight" for stack in _STACKS}
_HEAD = "lm_head.weight"
_POSITIONS = {stack: f"model.{stack}.embed_positions.weight" for stack in _STACKS}
# Theirs and ours of a block; those of `encoder_attn` are the decoder's alone.
_ATTENTION = {"self_attn": "attention", "encoder_attn": "memory_attention"}
_NORMS = {
    "self_attn_layer_norm": "attention_norm",
    "encoder_attn_layer_norm": "memory_norm",
    "final_layer_norm": "mlp_norm",
}
_BIAS = Transform(lambda a: a, lambda a: a[None])  # (1, v) to (v,)
# bfloat16, in which a table may have been stored, rounds numbers below 1 by 2**-9.
_POSITIONS_ATOL = 2**-8


@names_source
def load_hf_marian(
    source: Source,
    config: Mapping[str, Any] | None = None,
    *,
    scan: bool = False,
    **fields: Any,
) -> tuple[Transformer, Params]:
    """Load a `MarianMTModel` of transformers.

    Decoding begins with `decoder_start_token_id`, which for Marian is the padding
    token, `Transformer.pad`; that is None, and nothing is hidden, where
    `pad_token_id` is.

    Args:
        source: A folder with `config.json` and `model.safetensors`, or weights by key
            (arrays or torch tensors), such as `model.state_dict()`.
        config: The configuration of transformers, such as `model.config.to_dict()`;
            read from the folder if None.
        scan: Stack the blocks' parameters for `Transformer(scan=True)`.
        fields: Other fields of `Transformer`, such as `dtype` or `dropout_rate`.

    Returns:
        The network and its float32 parameters. The rate of dropout is the
        configuration's `dropout`; LayerDrop and dropout of attention weights are left
        out.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named), tied
            weights differ, or the configuration asks for what `Transformer` does not
            have.
    """
    weights, config = read_source(source, config, _DEFAULTS)
    network = Transformer(**{**_settings(config), **fields})
    if network.target_vocab_size:
        weights = merge_tied(weights, _EMBED["decoder"], _HEAD)
    else:
        weights = merge_tied(weights, _SHARED, *_EMBED.values(), _HEAD)
    for key in _POSITIONS.values():
        if key in weights:
            _check_positions(key, weights[key], network)
    tokens = jax.ShapeDtypeStruct((1, 1), "int32")
    return fill(
        network,
        [tokens, tokens],
        weights,
        _rules(network),
        stacks=_STACKS,
        scan=scan,
        ignore=dict.fromkeys(_POSITIONS.values(), "computed: positions='halves'"),
    )


def to_hf_marian(network: Transformer, params: Params) -> dict[str, np.ndarray]:
    """Give the weights of `MarianMTModel` for a `Transformer` that it can be.

    It needs a `MarianConfig` with the sizes, activation, `scale_embedding` and padding
    of the network, and `max_position_embeddings` equal to its `max_len`. A tied table
    is under each of its keys, as in `state_dict()`.

    Args:
        network: The network: normalised after each part, positions in halves.
        params: Its parameters, of a loop or a scan.

    Raises:
        InputError: If transformers has no such Marian.
    """
    offered: dict[str, list[Any]] = {
        "norm_first": [False],
        "final_norm": [None, False],
        "norm": ["layer"],
        "norm_eps": [_EPS],
        "positions": ["halves"],
        "tie_softmax": [True],
        "use_bias": [True],
        "num_kv_heads": [0, network.num_heads],
        "act": ["gelu", "gelu_tanh", "relu", "silu"],
    }
    check_offered(network, "Marian", offered)
    weights = to_weights(looped(network, params, *_STACKS), _rules(network))
    if network.target_vocab_size:
        weights[_HEAD] = weights[_EMBED["decoder"]]
    else:
        copies = (*_EMBED.values(), _HEAD)
        weights |= dict.fromkeys(copies, weights[_SHARED])
    if not network.has_logits_bias:
        size = len(weights[_HEAD])
        weights["final_logits_bias"] = np.zeros((1, size), np.float32)
    positions = _positions(network.max_len, network.width)
    return weights | {key: positions.copy() for key in _POSITIONS.values()}


def _rules(network: Transformer) -> list[Rule]:
    rules = [Rule("final_logits_bias", "logits_bias", _BIAS)]
    if network.target_vocab_size:
        rules += [
            Rule(_EMBED["encoder"], "source_embed/embedding"),
            Rule(_EMBED["decoder"], "target_embed/embedding"),
        ]
    else:
        rules.append(Rule(_SHARED, "source_embed/embedding"))
    for stack in _STACKS:
        block, ours = f"model.{stack}.layers.{{i}}", f"{stack}/block_{{i}}"
        for theirs, name in _ATTENTION.items():
            for part in ("query", "key", "value"):
                source = f"{block}.{theirs}.{part[0]}_proj"
                rules += linear(source, f"{ours}/{name}/{part}", LINEAR)
            source = f"{block}.{theirs}.out_proj"
            rules += linear(source, f"{ours}/{name}/out", LINEAR_JOIN)
        for theirs, name in _NORMS.items():
            rules += norm(f"{block}.{theirs}", f"{ours}/{name}")
        rules += linear(f"{block}.fc1", f"{ours}/mlp/up")
        rules += linear(f"{block}.fc2", f"{ours}/mlp/down")
    return rules


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a configuration to fields of `Transformer`."""
    check_config(
        config,
        "Transformer",
        {
            "model_type": ["marian"],
            "activation_function": list(ACTIVATIONS),
            "tie_word_embeddings": [True],
            # Both stacks have the same sizes.
            "decoder_attention_heads": [config["encoder_attention_heads"]],
            "decoder_ffn_dim": [config["encoder_ffn_dim"]],
        },
    )
    if config["d_model"] % 2:
        raise InputError(
            f"d_model {config['d_model']} of the configuration is odd; Transformer has "
            "a sine and a cosine for each pair of numbers of a position"
        )
    target_size = config["decoder_vocab_size"] or config["vocab_size"]
    is_shared = config["share_encoder_decoder_embeddings"]
    if is_shared and target_size != config["vocab_size"]:
        raise InputError(
            f"decoder_vocab_size {target_size} of the configuration does not fit its "
            f"one table of {config['vocab_size']} tokens for both languages"
        )
    return {
        "vocab_size": config["vocab_size"],
        "target_vocab_size": 0 if is_shared else target_size,
        "encoder_depth": config["encoder_layers"],
        "decoder_depth": config["decoder_layers"],
        "width": config["d_model"],
        "num_heads": config["encoder_attention_heads"],
        "hidden_dim": config["encoder_ffn_dim"],
        "act": ACTIVATIONS[config["activation_function"]],
        "norm_eps": _EPS,
        "positions": "halves",
        "max_len": config["max_position_embeddings"],
        "has_logits_bias": True,
        "scale_embedding": config["scale_embedding"],
        "dropout_rate": float(config["dropout"]),
        "pad": config["pad_token_id"],
    }


def _positions(count: int, width: int) -> np.ndarray:
    """Give the table of Marian: as it makes it, by float64, to the last bit."""
    steps = np.arange(count)[:, None]
    angles = steps / np.power(10_000, 2 * np.arange(width // 2)[None] / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _check_positions(key: str, table: Any, network: Transformer) -> None:
    """Refuse positions that ours would not have, in any precision."""
    found, expected = as_array(key, table), _positions(network.max_len, network.width)
    if found.shape != expected.shape or not np.allclose(
        found.astype(np.float32), expected, rtol=0, atol=_POSITIONS_ATOL
    ):
        raise InputError(
            f"{key} does not hold the sines and cosines that Marian has for "
            f"{network.max_len} positions of width {network.width}"
        )
