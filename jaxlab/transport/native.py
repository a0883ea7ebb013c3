"""The compiled CPU kernels of transport; see `jaxlab.core.native`."""

import ctypes

from jaxlab.core.native import NativeLibrary

__all__ = ["library"]

_LIBRARY = NativeLibrary(
    package="transport",
    handlers={},
    without="exact transport is solved without compiled kernels, slower",
)


def library() -> ctypes.CDLL | None:
    """Give the loaded kernels, building them if need be; None where that fails."""
    return _LIBRARY.load()
