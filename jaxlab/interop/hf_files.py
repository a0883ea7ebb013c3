"""What all readers of Hugging Face weights share: sources, tied weights, filling."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Params
from jaxlab.interop.hf_config import check_types, read_json
from jaxlab.interop.key_table import Rule, to_params
from jaxlab.interop.weight_files import Source, existing, file_in, read_weights
from jaxlab.nn.stack import stack_blocks, unstack_blocks

__all__ = [
    "check_offered",
    "fill",
    "fill_language_model",
    "looped",
    "merge_tied",
    "new_head",
    "num_rows",
    "read_source",
]

Network = TypeVar("Network", bound=nn.Module)


def read_source(
    source: Source, config: Mapping[str, Any] | None, defaults: Mapping[str, Any]
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Give weights and the complete configuration.

    Args:
        source: Weights by key; or a folder that `save_pretrained` wrote, with
            `config.json` and `model.safetensors`, whole or in shards (or
            `pytorch_model.bin`, which older ones have); or the path of a file of
            weights, see `read_weights`, with `config.json` beside it.
        config: The configuration; read from the folder if None.
        defaults: What transformers assumes where the configuration says nothing.

    Raises:
        InputError: If a file is missing or damaged, weights come without a
            configuration, or an entry of it cannot be.
    """
    name = "the configuration"
    if not isinstance(source, Mapping) and config is None:
        path = existing(source)
        file = file_in(path.parent if path.is_file() else path, "config.json")
        config, name = read_json(file), str(file)
    weights = read_weights(source)
    if config is None:
        raise InputError(
            "weights alone do not tell heads or groups; pass config, such as "
            "model.config.to_dict(), or dict(model.config) in diffusers"
        )
    whole = {**defaults, **config}
    check_types(whole, defaults, name, num_weights=len(weights))
    return weights, whole


def check_offered(
    network: nn.Module, theirs: str, offered: Mapping[str, Sequence[Any]]
) -> None:
    """Refuse to give the weights of a network that the other library does not have.

    Args:
        network: Ours.
        theirs: Name of theirs, for the message.
        offered: What each field may be.

    Raises:
        InputError: Naming the field, its value and what there is.
    """
    for name, values in offered.items():
        value = getattr(network, name)
        if value not in values:
            raise InputError(
                f"there is no {theirs} with {name}={value!r}; it has "
                f"{', '.join(map(repr, values))}"
            )


def num_rows(weights: Mapping[str, Any], key: str) -> int:
    """Count the outputs of a torch layer; 0 if there is none."""
    return int(np.shape(weights[key])[0]) if key in weights else 0


def merge_tied(weights: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Keep one of several weights that are the same, under the first of their keys.

    Files hold a tied weight once, under a key or another; `state_dict()` gives it
    under all.

    Raises:
        InputError: If two of them differ.
    """
    present = [key for key in keys if key in weights]
    for key in present[1:]:
        one, other = weights[present[0]], weights[key]
        if np.shape(one) != np.shape(other) or not bool((one == other).all()):
            raise InputError(
                f"{present[0]} and {key} differ, but are one weight by the "
                f"configuration; correct tie_word_embeddings there, or the weights"
            )
    rest = {key: weight for key, weight in weights.items() if key not in keys}
    return {**rest, **({keys[0]: weights[present[0]]} if present else {})}


def fill(
    network: Network,
    inputs: Sequence[Any],
    weights: Mapping[str, Any],
    rules: Sequence[Rule],
    *,
    stacks: Sequence[str],
    scan: bool,
    ignore: Mapping[str, str] | None = None,
) -> tuple[Network, Params]:
    """Convert weights by a table to the parameters of a network.

    Args:
        network: A network with a field `scan`, which is False.
        inputs: Examples of its inputs, for their shapes.
        weights: By key.
        rules: The table.
        stacks: Names of its `Stack`s.
        scan: Whether to stack their blocks.
        ignore: See `to_params`.

    Returns:
        The network, scanned or not, and its parameters.

    Raises:
        InputError: See `to_params`.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    params = to_params(weights, rules, shapes, ignore=ignore)
    params = jax.tree.map(jnp.asarray, params)
    if scan:
        params |= {name: stack_blocks(params[name]) for name in stacks}
    return network.clone(scan=scan), params


def fill_language_model(
    network: Network,
    weights: Mapping[str, Any],
    rules: Callable[[str], Sequence[Rule]],
    *,
    prefix: str,
    table: str,
    head: str,
    ignore: Mapping[str, str],
    scan: bool,
) -> tuple[Network, Params]:
    """Convert weights of a decoder alone, which may lack the prefix of a whole model.

    Args:
        network: A `TransformerLM` that does not scan.
        weights: By key.
        rules: The table, given the prefix.
        prefix: Of the keys of a model with a head; a bare one has none.
        table: Key of the table of tokens, after the prefix.
        head: Key of the softmax's matrix, the same as the table where it is tied.
        ignore: See `to_params`; keys after the prefix.
        scan: Whether to stack the blocks.

    Returns:
        The network, scanned or not, and its parameters.

    Raises:
        InputError: See `to_params` and `merge_tied`.
    """
    found = prefix if any(key.startswith(prefix) for key in weights) else ""
    if network.tie_softmax:
        weights = merge_tied(weights, found + table, head)
    return fill(
        network,
        [jax.ShapeDtypeStruct((1, 1), "int32")],
        weights,
        rules(found),
        stacks=["decoder"],
        scan=scan,
        ignore={found + key: why for key, why in ignore.items()},
    )


def looped(network: Any, params: Params, *stacks: str) -> Params:
    """Undo the stacking of the blocks of a network or stack, if it scans."""
    if not network.scan:
        return params
    return {**params, **{name: unstack_blocks(params[name]) for name in stacks}}


def new_head(width: int, num_classes: int) -> Params:
    """Give the parameters of a head to fine-tune: zeros."""
    return {"kernel": jnp.zeros((width, num_classes)), "bias": jnp.zeros(num_classes)}
