"""The compiled CPU kernels of tree building; see `jaxlab.core.native`."""

import ctypes

from jaxlab.core.native import NativeLibrary

__all__ = ["has_native", "library", "release"]

# flags.txt forbids fused multiply-add: the kernels' sums and gains equal XLA's, bit for
# bit.
_LIBRARY = NativeLibrary(
    package="trees",
    handlers={
        "jaxlab_grow": "JaxlabGrow",
        "jaxlab_histogram": "JaxlabHistogram",
        "jaxlab_predict": "JaxlabPredict",
    },
    without="trees are grown without compiled kernels, slower",
)


def has_native() -> bool:
    """Tell whether the kernels can be used: JAX runs on a CPU and they are built."""
    return _LIBRARY.is_available()


def library() -> ctypes.CDLL | None:
    """Give the loaded kernels, building them if need be; None where that fails."""
    return _LIBRARY.loaded


def release() -> None:
    """Free the memory that the kernels keep from one tree to the next."""
    if has_native():
        loaded = library()
        assert loaded is not None
        loaded.jaxlab_release()
