"""A random forest on `jaxlab.trees.grow` (Breiman 2001), without boosting.

python docs/examples/forest.py
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from jaxlab.trees.grow.grow import grow_tree
from jaxlab.trees.grow.layout import lay_out, tree_spec
from jaxlab.trees.grow.predict import Predictor
from jaxlab.trees.grow.sampling import draw_masks
from jaxlab.trees.grow.split import SplitNumbers
from jaxlab.trees.grow.tree import Forest
from jaxlab.trees.table.binning import Binner, fit_binner, transform


def grow_forest(
    binner: Binner, X: np.ndarray, y: np.ndarray, key: jax.Array, trees: int
) -> Predictor:
    """Grow each tree on rows drawn with replacement; a leaf holds their mean target."""
    n = len(X)
    spec = tree_spec(binner, n, max_depth=0)
    table = lay_out(spec, transform(binner, X), n, binner)
    rules = SplitNumbers(0.0, 0.0, 1.0, 0.0, 2, np.inf, 1)
    share = X.shape[1] ** -0.5  # of the features, for each node

    @jax.jit
    def grow(key: jax.Array) -> jax.Array:
        row_key, mask_key = jax.random.split(key)
        rows = jax.random.randint(row_key, n, 0, n)
        count = jnp.zeros(spec.num_rows, jnp.float32).at[rows].add(1.0)
        target = jnp.zeros(spec.num_rows, jnp.float32).at[:n].set(y.astype(np.float32))
        masks = draw_masks(mask_key, X.shape[1], spec.num_nodes, 1, 1.0, 1.0, share)
        grown = grow_tree(table, -count * target, count, count > 0, masks, rules, spec)
        return grown.nodes

    with jax.enable_x64(True):
        nodes = [jax.device_get(grow(k)) for k in jax.random.split(key, trees)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *nodes)
    means = (stacked.value / trees).astype(np.float32)
    stacked = dataclasses.replace(stacked, value=means)
    return Predictor(Forest(stacked, np.zeros(1, np.float32), binner.num_bins))


def main(trees: int = 100) -> float:
    """Return the accuracy on held-out rows of the breast-cancer table."""
    X, y = load_breast_cancer(return_X_y=True)
    X, held_out, y, labels = train_test_split(X, y, random_state=0)
    binner = fit_binner(X)
    forest = grow_forest(binner, X, y, jax.random.key(0), trees)
    scores = forest.raw(transform(binner, held_out))[0]
    return float(((scores > 0.5) == labels).mean())


if __name__ == "__main__":
    sys.stdout.write(f"accuracy {main():.3f}\n")
