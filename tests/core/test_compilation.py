"""The persistent compilation cache."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jaxlab.core.compilation import (
    cache_folder,
    processor_key,
    use_compilation_cache,
)

OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)

SCRIPT = """
import jax
from jaxlab.core.compilation import use_compilation_cache

use_compilation_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x * 2 + 1)(3.0)
"""


@pytest.fixture
def options():
    """Put the options of the cache back afterwards."""
    before = {name: jax.config.values[name] for name in OPTIONS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # else it stays in the folder that it opened


def folder_in_use():
    return jax.config.values["jax_compilation_cache_dir"]


def test_the_folder_is_the_user_s_choice_or_below_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("JAXLAB_CACHE", "~/elsewhere")
    assert cache_folder() == pathlib.Path.home() / "elsewhere"
    monkeypatch.delenv("JAXLAB_CACHE")
    assert cache_folder() == pathlib.Path.home() / ".cache" / "jaxlab"


def test_programs_are_kept_below_the_folder(monkeypatch, tmp_path, options):
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    use_compilation_cache()
    assert folder_in_use() == str(tmp_path / "xla" / processor_key())


def test_a_folder_that_the_user_named_stays_in_force(tmp_path, options):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    use_compilation_cache()
    assert folder_in_use() == str(tmp_path)


def test_a_compiled_program_is_written_to_disk(tmp_path):
    environment = {**os.environ, "JAXLAB_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True)
    assert any((tmp_path / "xla").iterdir())


INTEL = "processor: 0\nmodel name: Xeon\ncpu MHz: 2400.1\nflags: fpu avx2 avx512f\n"
CPU_INFO = {
    "intel": INTEL,
    "intel_later": INTEL.replace("2400.1", "3100.9"),  # its clock alone differs
    "intel_older": INTEL.replace(" avx512f", ""),
    "arm": "processor: 0\nBogoMIPS: 243.75\nFeatures: fp asimd\nCPU part: 0xd40\n",
    "arm_later": "processor: 0\nBogoMIPS: 250\nFeatures: fp asimd\nCPU part: 0xd40\n",
    "arm_newer": "processor: 0\nBogoMIPS: 243.75\nFeatures: fp sve\nCPU part: 0xd40\n",
}


def test_machines_that_differ_do_not_share_programs(tmp_path):
    keys = {}
    for name, text in CPU_INFO.items():
        (tmp_path / name).write_text(text)
        keys[name] = processor_key(tmp_path / name)
    assert keys["intel"] == keys["intel_later"]
    assert keys["arm"] == keys["arm_later"]
    assert len(set(keys.values())) == 4
    assert processor_key(tmp_path / "absent")


@pytest.fixture
def hits():
    """Count the programs that JAX has found in its cache on disk."""
    found = []

    def listen(event, **details):
        if event == "/jax/compilation_cache/cache_hits":
            found.append(event)

    jax.monitoring.register_event_listener(listen)
    yield found
    jax.monitoring.unregister_event_listener(listen)


def compile_anew():
    """Compile a program that no other test has, with nothing kept in memory."""
    jax.clear_caches()
    jax.jit(lambda x: jax.numpy.sin(x) @ x + 3.25)(np.ones((7, 7), np.float32))


def test_the_cache_of_the_tests_hits(hits, options):
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compile_anew()
    hits.clear()
    compile_anew()
    assert hits, "this processor never finds its programs again (jax-ml/jax#38445)"


def test_a_damaged_entry_is_compiled_again(tmp_path, options, hits):
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compile_anew()
    entries = [file for file in tmp_path.iterdir() if file.name.endswith("-cache")]
    assert entries
    for file in entries:
        file.write_bytes(b"damaged")
    hits.clear()
    compile_anew()  # warnings are errors in tests, but for this one
    assert not hits
