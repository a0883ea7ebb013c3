"""Parameters that are all random, so that everything a prior reads counts."""

import jax
import jax.numpy as jnp
import numpy as np


def random_params(module, *inputs, scale=0.5):
    """Draw the parameters of a module from normal distributions."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        mean = path[-1].key == "scale"  # small ones would hide what they scale
        return jnp.asarray(mean + scale * rng.normal(size=leaf.shape), leaf.dtype)

    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return jax.tree_util.tree_map_with_path(draw, shapes)
