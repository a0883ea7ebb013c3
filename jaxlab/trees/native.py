"""The compiled CPU kernels, built from the C++ sources in `kernels`; never required.

    python -m jaxlab.trees.native      builds them now and says where they are

Without that command they are built at the first use, where a C++ compiler is found (ten
seconds, once for each machine and version of JAX). They are a plain shared library:
XLA calls them through its foreign function interface, on its own thread pool, and NumPy
arrays go in through ctypes. `JAXLAB_NATIVE=0` turns them off.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings

import jax
import jax.ffi

from jaxlab.core.compilation import cache_folder
from jaxlab.core.errors import InputError

__all__ = ["build", "has_native", "library", "release"]

_SOURCES = pathlib.Path(__file__).parent / "kernels"
# No fused multiply-add: the kernels' sums and gains equal XLA's, bit for bit.
_FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-pthread"),
    *("-ffp-contract=off", "-DNDEBUG"),
)
_HANDLERS = {
    "jaxlab_grow": "JaxlabGrow",
    "jaxlab_histogram": "JaxlabHistogram",
    "jaxlab_predict": "JaxlabPredict",
}


def has_native() -> bool:
    """Tell whether the kernels can be used: JAX runs on a CPU and they are built."""
    return jax.default_backend() == "cpu" and library() is not None


@functools.cache
def library() -> ctypes.CDLL | None:
    """Give the loaded kernels, building them if need be; None where that fails."""
    if os.environ.get("JAXLAB_NATIVE", "1") == "0":
        return None
    try:
        loaded = ctypes.CDLL(str(build()))
    except (InputError, OSError) as error:
        warnings.warn(
            f"trees are grown without compiled kernels, slower: {error}; "
            "JAXLAB_NATIVE=0 chooses that, python -m jaxlab.trees.native tries again",
            stacklevel=2,
        )
        return None
    for target, symbol in _HANDLERS.items():
        handler = jax.ffi.pycapsule(getattr(loaded, symbol))
        jax.ffi.register_ffi_target(target, handler, platform="cpu")
    return loaded


def release() -> None:
    """Free the memory that the kernels keep from one tree to the next."""
    if has_native():
        loaded = library()
        assert loaded is not None
        loaded.jaxlab_release()


def build() -> pathlib.Path:
    """Compile the kernels, unless this machine has them already.

    Returns:
        The path of the shared library, below jaxlab's cache folder.

    Raises:
        InputError: If there is no compiler, or it fails.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise InputError(
            "no C++ compiler was found, so trees are grown by XLA alone; install g++ "
            "or clang++, or name one in CXX"
        )
    path = cache_folder() / "kernels" / f"trees-{_fingerprint(compiler)}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = pathlib.Path(folder) / path.name
        sources = sorted(map(str, _SOURCES.glob("*.cc")))
        includes = ("-isystem", jax.ffi.include_dir())
        command = [*compiler.split(), *_FLAGS, *includes, *sources, "-o", str(part)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise InputError(
                f"the compiler {compiler!r} cannot be run ({error}); name another "
                "in CXX"
            ) from error
        if done.returncode:
            reason = done.stderr.strip()[-2000:] or f"exit code {done.returncode}"
            raise InputError(
                f"the compiler {compiler!r} failed, so trees are grown by XLA alone: "
                f"{reason}"
            )
        part.replace(path)  # at once: two processes may build
    return path


def _fingerprint(compiler: str) -> str:
    """Name what the binary depends on: sources, compiler, JAX's headers, processor."""
    digest = hashlib.sha256()
    for file in sorted(_SOURCES.iterdir()):
        if file.suffix in (".cc", ".h"):
            digest.update(file.read_bytes())
    parts = (compiler, *_FLAGS, jax.__version__, platform.machine(), _processor())
    digest.update("\n".join(parts).encode())
    return digest.hexdigest()[:16]


def _processor() -> str:
    """Give the processor's instruction sets: -march=native builds for just these."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Feat"))), "")


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{build()}\n")
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
