"""jaxlab: a functional research framework in JAX and Flax.

The path is the API: `from jaxlab.models.vision.vit import ViT`. Packages, bottom up:
`core`, then `nn`, `losses`, `data`, then `models`, `train`, `interop`. Imports only
go down; importing a package starts no device and creates no array.
"""

__version__ = "0.1.0"
