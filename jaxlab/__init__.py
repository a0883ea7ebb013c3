"""jaxlab: a functional research framework in JAX and Flax.

The path is the API: `from jaxlab.models.vision.vit import ViT`. Packages, bottom up:
`core`; `nn`, `data`, `trees`, `losses`, `transport`, `plots`; `models`, `metrics`,
`train`; `interop`; `evals`. Imports only go down; importing a package starts no device
and creates no array.
"""

__version__ = "0.1.0"
