"""The persistent compilation cache."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from jaxlab.core.compilation import cache_folder, use_compilation_cache

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
    assert folder_in_use() == str(tmp_path / "xla")


def test_a_folder_that_the_user_named_stays_in_force(tmp_path, options):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    use_compilation_cache()
    assert folder_in_use() == str(tmp_path)


def test_a_compiled_program_is_written_to_disk(tmp_path):
    environment = {**os.environ, "JAXLAB_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True)
    assert any((tmp_path / "xla").iterdir())
