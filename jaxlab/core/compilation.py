"""The persistent compilation cache: a second start skips the compiler."""

import hashlib
import os
import pathlib
import platform

import jax

__all__ = ["cache_folder", "processor_key", "use_compilation_cache"]


# Of Intel and AMD; of ARM.
_KIND = ("model name", "flags", "Features", "CPU part")


def cache_folder() -> pathlib.Path:
    """Give jaxlab's cache folder: `$JAXLAB_CACHE`, or `~/.cache/jaxlab`."""
    chosen = os.environ.get("JAXLAB_CACHE", "~/.cache/jaxlab")
    return pathlib.Path(chosen).expanduser()


def processor_key(info: pathlib.Path = pathlib.Path("/proc/cpuinfo")) -> str:
    """Return a short name of the kind of processor that programs are compiled for.

    JAX's own key does not know it: machines that share a home folder would run each
    other's instructions.

    Args:
        info: Linux's description of the processors.
    """
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    kind = {line for line in lines if line.startswith(_KIND)}
    made_for = (platform.machine(), *sorted(kind or {platform.processor()}))
    return hashlib.sha256(repr(made_for).encode()).hexdigest()[:12]


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, below `cache_folder()`, by kind of processor.

    A folder that the user named (`JAX_COMPILATION_CACHE_DIR`) is left in force.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        folder = cache_folder() / "xla" / processor_key()
        jax.config.update("jax_compilation_cache_dir", str(folder))
    # Small programs too: starting a run compiles dozens of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
