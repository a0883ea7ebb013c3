"""The persistent compilation cache: a second start skips the compiler."""

import os
import pathlib

import jax

__all__ = ["cache_folder", "use_compilation_cache"]


def cache_folder() -> pathlib.Path:
    """Give jaxlab's cache folder: `$JAXLAB_CACHE`, or `~/.cache/jaxlab`."""
    chosen = os.environ.get("JAXLAB_CACHE", "~/.cache/jaxlab")
    return pathlib.Path(chosen).expanduser()


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, below `cache_folder()`.

    A folder that the user named (`JAX_COMPILATION_CACHE_DIR`) is left in force.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    # Small programs too: starting a run compiles dozens of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
