"""BERT weights of Hugging Face transformers."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxlab.core.typing import Params
from jaxlab.interop.hf_config import ACTIVATIONS, check_config
from jaxlab.interop.hf_files import (
    check_offered,
    fill,
    looped,
    new_head,
    num_rows,
    read_source,
)
from jaxlab.interop.key_table import LINEAR_JOIN, Rule, linear, norm, to_weights
from jaxlab.interop.weight_files import Source, names_source
from jaxlab.models.transformer.encoder import Pool, TransformerEncoder

__all__ = ["load_hf_bert", "to_hf_bert"]

# What transformers assumes where a config.json says nothing.
_DEFAULTS: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "is_decoder": False,
    "position_embedding_type": "absolute",  # of version 4
}
_PRETRAINING = "a head of pre-training, which no feature depends on"
_IGNORED = {
    "{prefix}embeddings.position_ids": "the numbers 0, 1, 2, ...",
    "cls.predictions.bias": _PRETRAINING,
    "cls.predictions.decoder.weight": _PRETRAINING,
    "cls.predictions.decoder.bias": _PRETRAINING,
    "cls.predictions.transform.dense.weight": _PRETRAINING,
    "cls.predictions.transform.dense.bias": _PRETRAINING,
    "cls.predictions.transform.LayerNorm.weight": _PRETRAINING,
    "cls.predictions.transform.LayerNorm.bias": _PRETRAINING,
    "cls.seq_relationship.weight": _PRETRAINING,
    "cls.seq_relationship.bias": _PRETRAINING,
}


@names_source
def load_hf_bert(
    source: Source,
    config: Mapping[str, Any] | None = None,
    *,
    num_classes: int | None = None,
    pool: Pool | None = None,
    scan: bool = False,
    **fields: Any,
) -> tuple[TransformerEncoder, Params]:
    """Load a BERT: bare, of classes (of sequences or tokens) or of pre-training.

    The outputs are the logits of a classifier (`BertForSequenceClassification`,
    `BertForTokenClassification`); the `pooler_output` of a `BertModel`; or, without a
    pooler, the features of the first token. With `pool="none"` they are the
    `last_hidden_state`.

    Args:
        source: A folder with `config.json` and `model.safetensors`, or weights by key
            (arrays or torch tensors), such as `model.state_dict()`.
        config: The configuration of transformers, such as `model.config.to_dict()`;
            read from the folder if None.
        num_classes: None keeps what is stored. A number drops the stored classifier
            for a new head of so many zeros, to fine-tune; 0 for none.
        pool: None pools as the stored model does. Else the stored classifier is
            dropped, and the stored pooler too unless this is `token`.
        scan: Stack the blocks' parameters for `TransformerEncoder(scan=True)`.
        fields: Other fields of `TransformerEncoder`, such as `dtype` or `remat`.

    Returns:
        The network and its float32 parameters. Dropout of attention weights and heads
        of pre-training (`cls`) are left out.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named), or
            the configuration asks for what `TransformerEncoder` does not have.
    """
    weights, config = read_source(source, config, _DEFAULTS)
    # Old files have TensorFlow's names of scale and bias.
    weights = {
        key.replace("Norm.gamma", "Norm.weight").replace("Norm.beta", "Norm.bias"): w
        for key, w in weights.items()
    }
    prefix = "bert." if any(key.startswith("bert.") for key in weights) else ""
    if num_classes is not None or pool is not None:
        weights = _without(weights, "classifier.")
    if pool not in (None, "token"):
        weights = _without(weights, f"{prefix}pooler.")
    settings = _settings(config)
    representation_size = num_rows(weights, f"{prefix}pooler.dense.weight")
    settings["representation_size"] = representation_size
    settings["num_classes"] = num_rows(weights, "classifier.weight")
    of_tokens = settings["num_classes"] and not representation_size
    settings["pool"] = pool or ("none" if of_tokens else "token")
    network, params = fill(
        TransformerEncoder(**{**settings, **fields}),
        [jax.ShapeDtypeStruct((1, 1), "int32")],
        weights,
        _rules(prefix),
        stacks=["encoder"],
        scan=scan,
        ignore={key.replace("{prefix}", prefix): why for key, why in _IGNORED.items()},
    )
    if num_classes:
        width = network.representation_size or network.width
        params["head"] = new_head(width, num_classes)
        network = network.clone(num_classes=num_classes)
    return network, params


def to_hf_bert(network: TransformerEncoder, params: Params) -> dict[str, np.ndarray]:
    """Give the weights of transformers for a `TransformerEncoder` that it has too.

    With a head, those of `BertForSequenceClassification`, or with `pool="none"` of
    `BertForTokenClassification`; without, of `BertModel`, with a pooler if
    `representation_size` is not 0. All need a `BertConfig` with the sizes, activation,
    `layer_norm_eps` and padding of the network.

    Args:
        network: The network: normalised after each part and after the embeddings,
            learned positions, kinds of tokens.
        params: Its parameters, of a loop or a scan.

    Raises:
        InputError: If transformers has no such BERT.
    """
    offered: dict[str, list[Any]] = {
        "norm_first": [False],
        "embed_norm": [True],
        "norm": ["layer"],
        "positions": ["learned"],
        "pool": ["token", "none"],
        "use_bias": [True],
        "num_kv_heads": [0, network.num_heads],
        "act": ["gelu", "gelu_tanh", "relu", "silu"],
        "representation_size": [0, network.width],
    }
    if network.num_classes:  # of sequences behind the pooler, of tokens without it
        sizes = {"token": [network.width], "none": [0]}
        offered["representation_size"] = sizes.get(network.pool, [])
    check_offered(network, "BERT", offered)
    prefix = "bert." if network.num_classes else ""
    return to_weights(looped(network, params, "encoder"), _rules(prefix))


def _without(weights: Mapping[str, Any], start: str) -> dict[str, Any]:
    return {key: w for key, w in weights.items() if not key.startswith(start)}


def _rules(prefix: str) -> list[Rule]:
    embeddings = f"{prefix}embeddings"
    block, ours = f"{prefix}encoder.layer.{{i}}", "encoder/block_{i}"
    attention = f"{block}.attention"
    rules = [
        Rule(f"{embeddings}.word_embeddings.weight", "token_embed/embedding"),
        Rule(f"{embeddings}.position_embeddings.weight", "token_embed/pos_embed"),
        Rule(f"{embeddings}.token_type_embeddings.weight", "type_embed"),
        *norm(f"{embeddings}.LayerNorm", "first_norm"),
        *linear(f"{attention}.output.dense", f"{ours}/attention/out", LINEAR_JOIN),
        *norm(f"{attention}.output.LayerNorm", f"{ours}/attention_norm"),
        *linear(f"{block}.intermediate.dense", f"{ours}/mlp/up"),
        *linear(f"{block}.output.dense", f"{ours}/mlp/down"),
        *norm(f"{block}.output.LayerNorm", f"{ours}/mlp_norm"),
        *linear(f"{prefix}pooler.dense", "pre_logits"),
        *linear("classifier", "head"),
    ]
    for part in ("query", "key", "value"):
        rules += linear(f"{attention}.self.{part}", f"{ours}/attention/{part}")
    return rules


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a configuration to fields of `TransformerEncoder`."""
    offered: dict[str, list[Any]] = {
        "model_type": ["bert"],
        "hidden_act": list(ACTIVATIONS),
        "is_decoder": [False],
        "position_embedding_type": ["absolute"],
    }
    check_config(config, "TransformerEncoder", offered)
    return {
        "vocab_size": config["vocab_size"],
        "depth": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["intermediate_size"],
        "num_types": config["type_vocab_size"],
        "act": ACTIVATIONS[config["hidden_act"]],
        "norm_eps": config["layer_norm_eps"],
        "max_len": config["max_position_embeddings"],
        "dropout_rate": float(config["hidden_dropout_prob"]),
        "pad": config["pad_token_id"],
    }
