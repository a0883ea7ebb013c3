"""Inception-v3 of the Frechet distance, from files of pytorch-fid or torch-fidelity.

Both projects converted the graph that TensorFlow released on 5 December 2015; their
files (`pt_inception-2015-12-05-6726825d.pth` and
`weights-inception-2015-12-05-6726825d.pth`) have the same keys. The weights of
torchvision's Inception-v3 are others, and refused: see
`jaxlab.models.vision.inception`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths
from jaxlab.core.typing import Params
from jaxlab.interop.hf_files import num_rows
from jaxlab.interop.key_table import CONV, KEEP, LINEAR, Rule, to_params, to_weights
from jaxlab.interop.weight_files import Source, read_weights
from jaxlab.models.vision.inception import INCEPTION_SIZE, Inception

__all__ = ["load_torch_inception", "to_torch_inception"]

# Arrays of a convolution and its normalisation: ours, and theirs.
_ARRAYS = {
    "kernel": ("conv.weight", CONV),
    "scale": ("bn.weight", KEEP),
    "bias": ("bn.bias", KEEP),
    "mean": ("bn.running_mean", KEEP),
    "var": ("bn.running_var", KEEP),
}
_HEAD = (Rule("fc.weight", "fc_kernel", LINEAR), Rule("fc.bias", "fc_bias"))


def load_torch_inception(source: Source) -> tuple[Inception, Params]:
    """Load the Inception-v3 that scores of generated images are defined with.

    Args:
        source: A file, `.pth` (read without torch), `.safetensors` or `.npz`; or
            arrays or torch tensors by key.

    Returns:
        The network, with as many classes as stored (1008), and its parameters. Of its
        inputs see `inception_inputs`.

    Raises:
        InputError: If a weight is missing, left over or of another shape (named), as
            of torchvision's Inception.
    """
    weights = read_weights(source)
    if any(key.startswith("AuxLogits.") for key in weights):
        raise InputError(
            "the weights have AuxLogits, so they are of torchvision's Inception, whose "
            "features are not those of FID; give pt_inception-2015-12-05-6726825d.pth "
            "of pytorch-fid"
        )
    num_classes = num_rows(weights, "fc.weight") or Inception.num_classes
    inception = Inception(num_classes=num_classes)
    shapes = _shapes(inception)
    rules = _rules(shapes)
    counts = {
        rule.source.replace("running_var", "num_batches_tracked"): "for training alone"
        for rule in rules
        if rule.source.endswith("running_var")
    }
    params = to_params(weights, rules, shapes, ignore=counts)
    return inception, jax.tree.map(jnp.asarray, params)


def to_torch_inception(params: Params) -> dict[str, np.ndarray]:
    """Give the weights of pytorch-fid's and torch-fidelity's module.

    Raises:
        InputError: If a parameter is none of `Inception`.
    """
    return to_weights(params, _rules(_shapes(Inception())))


def _shapes(inception: Inception) -> Params:
    images = jax.ShapeDtypeStruct((1, INCEPTION_SIZE, INCEPTION_SIZE, 3), jnp.float32)
    return jax.eval_shape(inception.init, jax.random.key(0), images)["params"]


def _rules(shapes: Params) -> list[Rule]:
    """Give the table: layers have the names of theirs, arrays have not."""
    layers = [
        path.removesuffix("/kernel")
        for path in flat_paths(shapes)
        if path.endswith("/kernel")
    ]
    return [*_HEAD] + [
        Rule(f"{layer.replace('/', '.')}.{theirs}", f"{layer}/{ours}", transform)
        for layer in layers
        for ours, (theirs, transform) in _ARRAYS.items()
    ]
