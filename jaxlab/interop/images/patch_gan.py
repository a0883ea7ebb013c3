"""PatchGAN's weights in the layout of taming-transformers (`NLayerDiscriminator`)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import ModelState, Params
from jaxlab.interop.key_table import (
    CONV,
    Rule,
    linear,
    norm,
    to_params,
    to_weights,
)
from jaxlab.interop.weight_files import Source, names_source, read_weights
from jaxlab.models.codes.patch_gan import PatchGAN

__all__ = ["load_taming_critic", "to_taming_critic"]

_PREFIX = "loss.discriminator."  # in a checkpoint of all networks


@names_source
def load_taming_critic(
    source: Source, **fields: Any
) -> tuple[PatchGAN, Params, ModelState]:
    """Load the critic (`NLayerDiscriminator`) of taming-transformers.

    Args:
        source: A file of weights, or weights by key: those of the critic alone, or all
            of a checkpoint, of whose other networks nothing is read.
        fields: Other fields of `PatchGAN`, such as `dtype`.

    Returns:
        The critic, its float32 parameters and its running statistics.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named).
    """
    weights = read_weights(source)
    if any(key.startswith(_PREFIX) for key in weights):
        weights = {
            key.removeprefix(_PREFIX): weight
            for key, weight in weights.items()
            if key.startswith(_PREFIX)
        }
    num_layers = sum(key.endswith(".running_mean") for key in weights)
    first = np.shape(weights.get("main.0.weight", ()))
    if len(first) != 4 or not num_layers:
        raise InputError(
            "no main.0.weight of four axes and no norm with running_mean are among "
            "the weights, so they are of no critic with batch normalisation"
        )
    critic = PatchGAN(width=first[0], num_layers=num_layers, **fields)
    side = 4 * 2**num_layers
    images = jax.ShapeDtypeStruct((1, side, side, first[1]), "float32")
    shapes = jax.eval_shape(critic.init, jax.random.key(0), images)
    counts = {"main.{i}.num_batches_tracked": "for training alone"}
    table = _critic_rules(num_layers)
    found = to_params(weights, table, shapes, ignore=counts)
    found = jax.tree.map(jnp.asarray, found)
    return critic, found["params"], {"batch_stats": found["batch_stats"]}


def to_taming_critic(
    critic: PatchGAN, params: Params, model_state: ModelState
) -> dict[str, np.ndarray]:
    """Give the weights of taming-transformers' critic, without a prefix.

    Args:
        critic: The critic, with batch normalisation.
        params: The network's parameters.
        model_state: The network's running statistics.

    Raises:
        InputError: If there is no such critic there.
    """
    if critic.norm != "batch" or critic.spectral:
        raise InputError(
            f"a critic with norm={critic.norm!r} and spectral={critic.spectral} is "
            "none of taming-transformers, which has norm='batch', spectral=False"
        )
    whole = {"params": params, **model_state}
    return to_weights(whole, _critic_rules(critic.num_layers))


def _critic_rules(num_layers: int) -> list[Rule]:
    """Give the table: convolutions, norms and activations are numbered as one list."""
    found = [
        *linear("main.0", "params/conv_0", CONV),
        *linear(f"main.{3 * num_layers + 2}", "params/score", CONV),
    ]
    for layer in range(1, num_layers + 1):
        conv, batch = f"main.{3 * layer - 1}", f"main.{3 * layer}"
        ours = f"norm_{layer}/batch"
        found += [
            Rule(f"{conv}.weight", f"params/conv_{layer}/kernel", CONV),
            *norm(batch, f"params/{ours}"),
            Rule(f"{batch}.running_mean", f"batch_stats/{ours}/mean"),
            Rule(f"{batch}.running_var", f"batch_stats/{ours}/var"),
        ]
    return found
