"""Spectral normalisation: layers whose matrix has the largest singular value 1.

Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks",
https://arxiv.org/abs/1802.05957.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.model import SPECTRAL
from jaxlab.core.precision import at_least_float32
from jaxlab.core.typing import Array, Float, Int, Key
from jaxlab.nn.conv.layers import Conv

__all__ = [
    "SpectralConv",
    "SpectralDense",
    "SpectralEmbed",
    "spectral_normalize",
    "spectral_start",
]

_START_ITERATIONS = 15  # torch's
_LEAST_NORM = 1e-12  # to divide by


def spectral_start(
    key: Key[Array, ""], kernel: Float[Array, "*j d"]
) -> Float[Array, " d"]:
    """Draw the vector u for a kernel, of norm 1.

    torch starts with 15 iterations: `spectral_normalize(kernel, u, 15)[1]`.
    """
    return _unit(jax.random.normal(key, kernel.shape[-1:]))


def spectral_normalize(
    kernel: Float[Array, "*j d"],
    u: Float[Array, " d"],
    num_iterations: int = 1,
) -> tuple[Float[Array, "*j d"], Float[Array, " d"]]:
    r"""Divide a kernel by its largest singular value $\sigma$, found by iteration.

    A kernel of Flax has outputs last: (in, out), (height, width, in, out). It is read
    as a matrix W of shape (out, rest), torch's with its columns in another order, which
    changes neither $\sigma$ nor u: torch's `_u` can be passed. (Its `_v` is
    $W^T u / |W^T u|$ and need not be kept.) Values are those of torch's
    `parametrizations.spectral_norm`; u and v are constants to the derivative.

    Args:
        kernel: Of any float type; computed in float32 at least.
        u: The state: pass on the one returned. Once for each step of the critic.
        num_iterations: None (0) in evaluation and in the generator's step.

    Returns:
        The kernel over $\sigma = u^T W v$, and the new u.

    Raises:
        InputError: If the number of iterations is negative.

    References:
        Miyato et al. 2018, https://arxiv.org/abs/1802.05957, algorithm 1.
    """
    if num_iterations < 0:
        raise InputError(
            f"{num_iterations} power iterations: must be 0 (keep u) or more"
        )
    wide = at_least_float32(kernel)
    matrix = wide.reshape(-1, kernel.shape[-1])  # the transpose of W
    fixed, u = jax.lax.stop_gradient((matrix, u))
    v = _unit(fixed @ u)
    for _ in range(num_iterations):
        image = v @ fixed
        # A kernel of zeros has no direction: u waits for one that has.
        u = jnp.where((image == 0).all(), u, _unit(image))
        v = _unit(fixed @ u)
    sigma = jnp.maximum(v @ matrix @ u, _LEAST_NORM)
    return (wide / sigma).astype(kernel.dtype), u


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.linalg.norm(x), _LEAST_NORM)


def _normalized(
    module: nn.Module,
    name: str,
    init: nn.initializers.Initializer,
    shape: Sequence[int],
    *,
    update: bool,
    outputs_first: bool = False,
) -> Array:
    """Give a module's parameter over its largest singular value; keep u beside it."""
    kernel = module.param(name, init, tuple(shape))
    if outputs_first:
        kernel = kernel.T

    def start() -> Array:
        u = spectral_start(module.make_rng("params"), kernel)
        return spectral_normalize(kernel, u, _START_ITERATIONS)[1]

    u = module.variable(SPECTRAL, "u", start)
    updates = update and not module.is_initializing()
    normal, new = spectral_normalize(kernel, u.value, int(updates))
    if updates and module.is_mutable_collection(SPECTRAL):
        u.value = new
    return normal.T if outputs_first else normal


class SpectralDense(nn.Module):
    """A dense layer with a spectrally normalised kernel.

    The vector u lies in the collection `SPECTRAL`.

    Attributes:
        features: Outputs.
        use_bias: Add a bias, which is not normalised.
        update: Make one power iteration, and keep its u if the collection is mutable:
            true while training.
        dtype: Of the computation; parameters and normalisation are float32.
        kernel_init: Of the kernel (in, out).
        bias_init: Of the bias.
    """

    features: int
    use_bias: bool = True
    update: bool = False
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b e"]:
        shape = (x.shape[-1], self.features)
        kernel = _normalized(
            self, "kernel", self.kernel_init, shape, update=self.update
        )
        out = x.astype(self.dtype) @ kernel.astype(self.dtype)
        if not self.use_bias:
            return out
        bias = self.param("bias", self.bias_init, (self.features,))
        return out + bias.astype(self.dtype).reshape(*(1,) * (x.ndim - 1), -1)


class SpectralConv(Conv):
    """A convolution with a spectrally normalised kernel, read as (out, rest).

    Attributes:
        update: See `SpectralDense`; the others are those of `Conv`.
    """

    update: bool = False

    def _kernel(self, shape: tuple[int, ...]) -> Array:
        return _normalized(self, "kernel", self.kernel_init, shape, update=self.update)


class SpectralEmbed(nn.Module):
    """An embedding whose table (class, width) is spectrally normalised.

    The matrix is the table as it stands, as in the authors' code: u has an entry for
    each class.

    Attributes:
        num_embeddings: Classes.
        features: Width of an embedding.
        update: See `SpectralDense`.
        dtype: See `SpectralDense`.
        embedding_init: Of the table.
    """

    num_embeddings: int
    features: int
    update: bool = False
    dtype: Any = jnp.float32
    embedding_init: nn.initializers.Initializer = nn.initializers.normal(1.0)

    @nn.compact
    def __call__(self, labels: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        table = _normalized(
            self,
            "embedding",
            self.embedding_init,
            (self.num_embeddings, self.features),
            update=self.update,
            outputs_first=True,
        )
        return table.astype(self.dtype)[labels]
