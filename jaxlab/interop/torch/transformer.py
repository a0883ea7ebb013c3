"""Weights of torch's `nn.Transformer`, and of its encoder and decoder alone.

They have no embeddings and no softmax: stacks of blocks, each with a normalisation at
its end, also where the blocks themselves normalise last.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Bool, Float, Params
from jaxlab.interop.hf_files import check_offered, looped, num_rows
from jaxlab.interop.key_table import (
    FLAT,
    LINEAR,
    LINEAR_JOIN,
    Rule,
    linear,
    norm,
    to_params,
    to_weights,
)
from jaxlab.interop.weight_files import Source, read_weights
from jaxlab.nn.activation import Activation
from jaxlab.nn.blocks import Block
from jaxlab.nn.norm import LayerNorm
from jaxlab.nn.stack import Stack, stack_blocks

__all__ = [
    "EncoderDecoder",
    "NormedStack",
    "load_torch_transformer",
    "to_torch_transformer",
]

# Their prefixes to our names.
_ONE = {"": "stack"}
_TWO = {"encoder.": "encoder", "decoder.": "decoder"}


class NormedStack(nn.Module):
    """A stack and a normalisation: torch's `TransformerEncoder`, `TransformerDecoder`.

    Attributes:
        stack: The blocks.
        norm: What ends them; None: nothing.
    """

    stack: Stack
    norm: LayerNorm | None = None

    def __call__(
        self,
        x: Float[Array, "b t d"],
        visible: Bool[Array, "#b #h #t t"] | None = None,
        memory: Float[Array, "b m d"] | None = None,
        memory_visible: Bool[Array, "#b #h #t m"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b t d"]:
        """Pass tokens on; the arguments are those of `Block`."""
        x = self.stack(x, visible, memory, memory_visible, train=train)
        return x if self.norm is None else self.norm(x)


class EncoderDecoder(nn.Module):
    """Two stacks, the second of which reads the first: torch's `nn.Transformer`.

    The parameters have the names that they have in
    `jaxlab.models.transformer.encoder_decoder`: with `final_norm=True`, whose
    `Transformer` adds embeddings and a softmax, they can replace those of the same
    names there.

    Attributes:
        encoder: Blocks without memory.
        decoder: Blocks with memory.
        encoder_norm: What ends the encoder; None: nothing.
        decoder_norm: What ends the decoder; None: nothing.
    """

    encoder: Stack
    decoder: Stack
    encoder_norm: LayerNorm | None = None
    decoder_norm: LayerNorm | None = None

    def __call__(
        self,
        source: Float[Array, "b m d"],
        target: Float[Array, "b t d"],
        source_visible: Bool[Array, "#b #h #m m"] | None = None,
        target_visible: Bool[Array, "#b #h #t t"] | None = None,
        memory_visible: Bool[Array, "#b #h #t m"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b t d"]:
        """Encode a source and pass a target on, given that.

        Args:
            source: Vectors.
            target: Vectors.
            source_visible: True where one vector of the source may see another: the
                opposite of torch's `src_mask` and `src_key_padding_mask`.
            target_visible: The same of the target, besides causality.
            memory_visible: Which of the target see which of the source; as in torch,
                hidden sources must be hidden here again.
            train: Whether to drop.
        """
        memory = self.encoder(source, source_visible, train=train)
        if self.encoder_norm is not None:
            memory = self.encoder_norm(memory)
        x = self.decoder(target, target_visible, memory, memory_visible, train=train)
        return x if self.decoder_norm is None else self.decoder_norm(x)


def load_torch_transformer(
    source: Source,
    num_heads: int,
    *,
    act: Activation,
    norm_first: bool,
    norm_eps: float = 1e-5,
    is_causal: bool = True,
    scan: bool = False,
    **fields: Any,
) -> tuple[EncoderDecoder | NormedStack, Params]:
    """Load an `nn.Transformer`, `nn.TransformerEncoder` or `nn.TransformerDecoder`.

    Args:
        source: Arrays or torch tensors by key, such as `model.state_dict()`, or a
            `.safetensors` file.
        num_heads: torch's `nhead`. No weight tells this and the next four, so that
            what decides over right and wrong must be said.
        act: torch's `activation`: "relu" is its default, its "gelu" is "gelu" here.
        norm_first: As in torch, where False is the default.
        norm_eps: torch's `layer_norm_eps`.
        is_causal: Whether a decoder has causality in it; False where torch is called
            without `tgt_mask`. An encoder has none: give it a mask in the call.
        scan: Stack the blocks' parameters, for a `Stack` that scans.
        fields: Other fields of `Block`, such as `dtype` or `dropout_rate`.

    Returns:
        The network and its float32 parameters: an `EncoderDecoder`, or a `NormedStack`
        for an encoder or a decoder alone. Batches come first, whatever `batch_first`
        is in torch.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named), or
            the model was made with `bias=False`.
    """
    weights = read_weights(source)
    parts = _TWO if any(key.startswith("decoder.") for key in weights) else _ONE
    shared = {"num_heads": num_heads, "act": act, "norm_first": norm_first, **fields}
    stacks: dict[str, Any] = {}
    norms: dict[str, Any] = {}
    for prefix, name in parts.items():
        stack = _stack(weights, prefix, {**shared, "norm_eps": norm_eps}, is_causal)
        stacks[name] = stack
        if f"{prefix}norm.weight" in weights:
            norms[_norm_name(name)] = LayerNorm(norm_eps, stack.fields["dtype"])
    make = EncoderDecoder if len(parts) > 1 else NormedStack
    network = make(**stacks, **norms)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *_examples(network))
    params = to_params(weights, _rules(network), shapes["params"])
    params = jax.tree.map(jnp.asarray, params)
    if scan:
        params |= {name: stack_blocks(params[name]) for name in stacks}
        stacks = {name: stack.clone(scan=True) for name, stack in stacks.items()}
    return make(**stacks, **norms), params


def to_torch_transformer(
    network: EncoderDecoder | NormedStack, params: Params
) -> dict[str, np.ndarray]:
    """Give torch's weights, for `load_state_dict`, of a network that torch has too.

    Args:
        network: With layer norms, biases, and as many heads of keys as of queries.
        params: Its parameters, of loops or scans.

    Raises:
        InputError: If torch has no such Transformer.
    """
    for name in _parts(network).values():
        stack = getattr(network, name)
        fields = Block(**stack.fields, parent=None)
        offered: dict[str, list[Any]] = {
            "norm": ["layer"],
            "use_bias": [True],
            "num_kv_heads": [0, fields.num_heads],
            "rotary": [0],
            "act": ["relu", "gelu", "gelu_tanh", "silu"],
        }
        check_offered(fields, "layer of torch", offered)
        params = looped(stack, params, name)
    return to_weights(params, _rules(network))


def _parts(network: EncoderDecoder | NormedStack) -> dict[str, str]:
    return _TWO if isinstance(network, EncoderDecoder) else _ONE


def _stack(
    weights: Mapping[str, Any], prefix: str, fields: dict[str, Any], is_causal: bool
) -> Stack:
    """Read the sizes of a stack from its weights."""
    layers = re.compile(rf"{re.escape(prefix)}layers\.(\d+)\.")
    numbers = {int(found[1]) for found in map(layers.match, weights) if found}
    first = f"{prefix}layers.0"
    if not numbers or f"{first}.linear1.weight" not in weights:
        raise InputError(
            f"there is no {first}.linear1.weight; give the weights of torch's "
            f"Transformer, TransformerEncoder or TransformerDecoder"
        )
    if f"{first}.linear1.bias" not in weights:
        raise InputError(
            "a Transformer of torch with bias=False is not offered: LayerNorm here has "
            "a bias"
        )
    has_memory = any(key.startswith(f"{first}.multihead_attn") for key in weights)
    block = {
        "width": num_rows(weights, f"{first}.linear2.weight"),
        "hidden_dim": num_rows(weights, f"{first}.linear1.weight"),
        "has_memory": has_memory,
        "is_causal": has_memory and is_causal,
        "dtype": jnp.float32,
    }
    return Stack(max(numbers) + 1, {**block, **fields})


def _examples(network: EncoderDecoder | NormedStack) -> tuple[Any, ...]:
    """Give inputs to make the network with."""
    stack = getattr(network, next(iter(_parts(network).values())))
    x = jax.ShapeDtypeStruct((1, 1, stack.fields["width"]), jnp.float32)
    if isinstance(network, EncoderDecoder):
        return x, x
    return (x, None, x) if stack.fields["has_memory"] else (x,)


def _rules(network: EncoderDecoder | NormedStack) -> list[Rule]:
    rules: list[Rule] = []
    for prefix, name in _parts(network).items():
        block, ours = f"{prefix}layers.{{i}}", f"{name}/block_{{i}}"
        attentions = {"self_attn": "attention", "multihead_attn": "memory_attention"}
        norms = ["attention_norm", "mlp_norm"]
        if getattr(network, name).fields["has_memory"]:
            norms.insert(1, "memory_norm")
        for theirs, attention in attentions.items():
            source, target = f"{block}.{theirs}", f"{ours}/{attention}"
            rules += linear(f"{source}.out_proj", f"{target}/out", LINEAR_JOIN)
            for index, part in enumerate(("query", "key", "value")):
                share, path = (index, 3), f"{target}/{part}"
                rules += [
                    Rule(f"{source}.in_proj_weight", f"{path}/kernel", LINEAR, share),
                    Rule(f"{source}.in_proj_bias", f"{path}/bias", FLAT, share),
                ]
        for number, target in enumerate(norms, 1):
            rules += norm(f"{block}.norm{number}", f"{ours}/{target}")
        rules += linear(f"{block}.linear1", f"{ours}/mlp/up")
        rules += linear(f"{block}.linear2", f"{ours}/mlp/down")
        rules += norm(f"{prefix}norm", _norm_name(name))
    return rules


def _norm_name(stack: str) -> str:
    return "norm" if stack == "stack" else f"{stack}_norm"
