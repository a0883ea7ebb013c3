"""Keep freed host memory in the process: up to a third faster steps on a CPU."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step instead of returning it.

    XLA takes a step's scratch memory (hundreds of megabytes) from malloc and frees it
    at the end. By default glibc returns it to the kernel, which hands it back page by
    page, zeroed: 120,000 page faults a step for a small ViT. With one arena, no mmap
    and no trimming there are none. The price: memory once used stays with the process.

    Call it before the first use of JAX's devices; it does nothing for memory on GPUs
    and TPUs.

    Returns:
        Whether it had an effect: True on Linux with glibc, else False.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has none
        return False
    return all(
        mallopt(option, value) == 1
        for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
    )
