"""Make JAX strict, and give every test the same small tools."""

import contextlib
import logging
import os
import shutil

# Before JAX starts: a CPU with four devices, unless a GPU run is asked for.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import pytest

from jaxlab.core.compilation import cache_folder, processor_key

# Read when kernels are first asked for, by the tests and what they start. A build that
# fails though there is a compiler stays an error.
HAS_COMPILER = bool(
    os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
)
if not HAS_COMPILER:
    os.environ.setdefault("JAXLAB_NATIVE", "0")

jax.config.update("jax_num_cpu_devices", 4)
# Compiled programs outlive the checkout: two thirds of the tests' time are XLA's.
CACHE = cache_folder() / "tests" / f"{jax.__version__}-{processor_key()}"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture(autouse=True)
def pictures_fail_loudly(monkeypatch):
    """Let a picture that cannot be drawn fail a test, as it never does a run."""
    monkeypatch.setattr("jaxlab.plots.figure._tell", pytest.fail)


@pytest.fixture
def key():
    """Give a PRNG key."""
    return jax.random.key(0)


@pytest.fixture
def rng():
    """Give a NumPy generator."""
    return np.random.default_rng(0)


@pytest.fixture
def same():
    """Tell whether two trees of arrays are equal bit for bit."""

    def same(a, b):
        leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return all(np.array_equal(_data(x), _data(y)) for x, y in leaves)

    return same


def _data(leaf):
    is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


@pytest.fixture
def compilations():
    """Collect the names of what JAX compiles in `with compilations() as names`."""

    @contextlib.contextmanager
    def collect():
        names = []

        class Collector(logging.Handler):
            def emit(self, record):
                text = record.getMessage()
                if text.startswith("Compiling"):
                    names.append(text.split()[1])

        logger, handler = logging.getLogger("jax"), Collector()
        logger.addHandler(handler)
        try:
            with jax.log_compiles():
                yield names
        finally:
            logger.removeHandler(handler)

    return collect


def pytest_collection_modifyitems(items):
    """Begin with the longest files: else one worker is left with them at the end."""
    items.sort(key=lambda item: "tests/experiments/" not in item.nodeid)


BEFORE = pytest.StashKey[float]()
# CPU seconds, from an empty cache, from which on a test needs a mark.
NEEDS_MARK = {"slow": 5.0, "claim": 20.0}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Count the CPU seconds of a test, and of the processes that it has waited for."""
    item.stash[BEFORE] = sum(os.times()[:4])
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "teardown":
        seconds = sum(os.times()[:4]) - item.stash[BEFORE]
        report.user_properties.append(("cpu_seconds", seconds))
    return report


def pytest_terminal_summary(terminalreporter):
    """List the tests that took more than their marks allow."""
    for report in terminalreporter.stats.get("", ()):
        seconds = dict(report.user_properties).get("cpu_seconds", 0.0)
        for mark, limit in NEEDS_MARK.items():
            if seconds > limit and not {mark, "claim", "soak"} & set(report.keywords):
                line = f"needs the mark {mark}: {seconds:.1f} s {report.nodeid}"
                terminalreporter.write_line(line)
