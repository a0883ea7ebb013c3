"""Compiled CPU kernels, built from C++ sources where a compiler is found.

    python -m jaxlab.core.native       builds all of them now and says where they are

Never required. A package keeps its sources in a folder `kernels` beside its modules.
Without that command they are built at the first use (seconds, once for each machine and
version of JAX). They are plain shared libraries: XLA calls them through its foreign
function interface, on its own thread pool, and NumPy arrays go in through ctypes.
`JAXLAB_NATIVE=0` turns them off. `jax.export` needs that: a program with calls of
compiled kernels cannot be exported, as no other machine need have them.
"""

import ctypes
import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping

import jax
import jax.ffi
import numpy as np

from jaxlab.core.compilation import cache_folder, processor_key
from jaxlab.core.errors import InputError

__all__ = ["NativeLibrary", "build_kernels", "pointer"]

_PACKAGES = pathlib.Path(__file__).parents[1]
_SHARED = pathlib.Path(__file__).parent / "kernels"  # headers
_FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-pthread"),
    "-DNDEBUG",
)
_OWN_FLAGS = "flags.txt"  # beside the sources


@dataclasses.dataclass(frozen=True, eq=False)
class NativeLibrary:
    """The kernels of one package.

    Attributes:
        package: Name of the package below `jaxlab` whose folder `kernels` holds the
            sources. A file `flags.txt` there holds further flags of the compiler.
        handlers: Symbols of XLA's custom calls by the name of their target.
        without: What the user loses without them, for the warning.
    """

    package: str
    handlers: Mapping[str, str]
    without: str

    @functools.cached_property
    def loaded(self) -> ctypes.CDLL | None:
        """The library, built if need be; None, with a warning, where that fails."""
        if os.environ.get("JAXLAB_NATIVE", "1") == "0":
            return None
        try:
            loaded = ctypes.CDLL(str(build_kernels(self.package)))
        except (InputError, OSError) as error:
            warnings.warn(
                f"{self.without}: {error}; JAXLAB_NATIVE=0 chooses that, "
                "python -m jaxlab.core.native tries again",
                stacklevel=4,  # over functools and a package's `library()`: its caller
            )
            return None
        for target, symbol in self.handlers.items():
            handler = jax.ffi.pycapsule(getattr(loaded, symbol))
            jax.ffi.register_ffi_target(target, handler, platform="cpu")
        return loaded

    def is_available(self) -> bool:
        """Tell whether JAX runs on a CPU and the library is there."""
        return jax.default_backend() == "cpu" and self.loaded is not None


def build_kernels(package: str) -> pathlib.Path:
    """Compile the kernels of a package, unless this machine has them already.

    Returns:
        The path of the shared library, below jaxlab's cache folder.

    Raises:
        InputError: If there is no compiler, or it fails.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise InputError(
            "no C++ compiler was found; install g++ or clang++, or name one in CXX"
        )
    sources = _PACKAGES / package / "kernels"
    name = f"{package}-{_fingerprint(compiler, sources)}.so"
    path = cache_folder() / "kernels" / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = pathlib.Path(folder) / path.name
        command = [
            *(*compiler.split(), *_FLAGS, *_own_flags(sources)),
            *("-isystem", jax.ffi.include_dir(), "-I", str(_SHARED)),
            *sorted(map(str, sources.glob("*.cc"))),
            *("-o", str(part)),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise InputError(
                f"the compiler {compiler!r} cannot be run ({error}); name another "
                "in CXX"
            ) from error
        if done.returncode:
            reason = done.stderr.strip()[-2000:] or f"exit code {done.returncode}"
            raise InputError(f"the compiler {compiler!r} failed: {reason}")
        part.replace(path)  # at once: two processes may build
    return path


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    """Give the address of an array's numbers, to pass to a kernel."""
    return ctypes.c_void_p(array.ctypes.data)


def _own_flags(sources: pathlib.Path) -> list[str]:
    file = sources / _OWN_FLAGS
    return file.read_text().split() if file.exists() else []


def _fingerprint(compiler: str, sources: pathlib.Path) -> str:
    """Name what the binary depends on: sources, compiler, JAX's headers, processor."""
    digest = hashlib.sha256()
    for file in [*sorted(sources.iterdir()), *sorted(_SHARED.iterdir())]:
        if file.suffix in (".cc", ".h", ".txt"):
            digest.update(file.read_bytes())
    parts = (compiler, *_FLAGS, jax.__version__, processor_key())
    digest.update("\n".join(parts).encode())
    return digest.hexdigest()[:16]


def main() -> int:
    """Build the kernels of all packages; say where they lie, or why they cannot be."""
    for folder in sorted(set(_PACKAGES.glob("*/kernels")) - {_SHARED}):
        try:
            sys.stdout.write(f"{build_kernels(folder.parent.name)}\n")
        except InputError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
