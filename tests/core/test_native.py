"""The kernels: built once, by several at once, and never required."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from jaxlab.core import native
from jaxlab.core.errors import InputError
from jaxlab.nn.conv import native as conv_native
from jaxlab.transport import simplex
from jaxlab.trees import native as trees_native
from jaxlab.trees.native import has_native
from tests.conftest import HAS_COMPILER

ROOT = pathlib.Path(__file__).parents[2]
LIBRARIES = {
    "nn": conv_native._LIBRARY,
    "transport": simplex._LIBRARY,
    "trees": trees_native._LIBRARY,
}
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler here")
# Takes its time, and writes what it was told to build.
FAKE = """#!{python}
import sys, time
time.sleep(0.5)
open(sys.argv[sys.argv.index("-o") + 1], "w").write("built")
print("built", file=open({log!r}, "a"))
"""


def start(script, **env):
    """Start a fresh Python with other settings."""
    return subprocess.Popen(
        [sys.executable, *script],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def some_library():
    """Give a library that has not been loaded yet."""
    return native.NativeLibrary("trees", {}, "trees go without compiled kernels")


@pytest.fixture
def fake(tmp_path):
    """Give a compiler that only pretends, and what it has built."""
    compiler, log = tmp_path / "fake", tmp_path / "log"
    compiler.write_text(FAKE.format(python=sys.executable, log=str(log)))
    compiler.chmod(0o755)
    return compiler, log


@pytest.fixture
def broken(tmp_path):
    """Give a compiler that fails."""
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho 'cannot do it' >&2\nexit 3\n")
    compiler.chmod(0o755)
    return compiler


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Let kernels be looked for in an empty cache."""
    monkeypatch.setenv("JAXLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXLAB_NATIVE", raising=False)
    return tmp_path / "cache"


@needs_compiler
@pytest.mark.parametrize("package", LIBRARIES)
def test_kernels_are_there_where_a_compiler_is(package):
    if os.environ.get("JAXLAB_NATIVE") == "0":
        pytest.skip("turned off")
    library = LIBRARIES[package]
    assert library.is_available()
    assert library.loaded is library.loaded


@needs_compiler
def test_what_is_built_is_not_built_again(monkeypatch):
    path = native.build_kernels("trees")
    assert path.is_file()

    def refuse(*_, **__):
        raise AssertionError("compiled again")

    monkeypatch.setattr(native.subprocess, "run", refuse)
    assert native.build_kernels("trees") == path


def test_a_built_kernel_stands_alone_in_its_folder(monkeypatch, fresh, fake):
    monkeypatch.setenv("CXX", str(fake[0]))
    path = native.build_kernels("trees")
    assert path.read_text() == "built"
    assert list(path.parent.iterdir()) == [path]
    assert fresh in path.parents


def test_without_a_compiler_the_way_out_is_told(monkeypatch, fresh):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(native.shutil, "which", lambda _: None)
    with pytest.raises(InputError, match=r"no C\+\+ compiler.*install g\+\+"):
        native.build_kernels("trees")
    with pytest.warns(UserWarning, match="without compiled kernels.*install g"):
        assert some_library().loaded is None


def test_a_compiler_that_fails_is_quoted_and_nothing_is_left(
    monkeypatch, fresh, broken
):
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(InputError, match="cannot do it"):
        native.build_kernels("trees")
    with pytest.warns(UserWarning, match="cannot do it"):
        assert some_library().loaded is None
    assert not [file for file in fresh.rglob("*") if file.is_file()]


def test_a_broken_library_is_no_library(monkeypatch, fresh, fake):
    monkeypatch.setenv("CXX", str(fake[0]))
    with pytest.warns(UserWarning, match="without compiled kernels"):
        assert some_library().loaded is None  # text, not machine code


def test_a_compiler_that_is_not_there_is_no_crash(monkeypatch, fresh):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(UserWarning, match="cannot be run.*name another in CXX"):
        assert some_library().loaded is None


def test_kernels_can_be_turned_off(monkeypatch):
    monkeypatch.setenv("JAXLAB_NATIVE", "0")
    assert some_library().loaded is None


@pytest.mark.slow
def test_the_warning_names_the_line_that_asked_for_the_library(tmp_path):
    script = "from jaxlab.trees.native import library\nlibrary()"
    env = {"CXX": "no-such-compiler", "JAXLAB_CACHE": str(tmp_path)}
    _, error = start(["-c", script], JAXLAB_NATIVE="1", **env).communicate()
    assert "<string>:2: UserWarning: trees are grown without" in error


@pytest.mark.slow
def test_turned_off_the_same_trees_are_grown_in_jax():
    script = """
import hashlib, jax, numpy as np
from jaxlab.trees.table.binning import fit_binner
from jaxlab.trees.boost.boosting import Config, bin_rows, train
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.grow.histogram import choose
X = np.random.default_rng(0).normal(size=(300, 4))
forest = train(
    bin_rows(fit_binner(X), X), X[:, 0], find_objective("squared_error"),
    Config(num_rounds=2, max_depth=3), jax.random.key(0),
).forest
bits = b"".join(map(bytes, jax.tree.leaves(forest)))
print(choose(), hashlib.sha256(bits).hexdigest())
"""
    on, off = (start(["-c", script], JAXLAB_NATIVE=value) for value in "10")
    (name_on, bits_on), (name_off, bits_off) = (
        run.communicate()[0].split() for run in (on, off)
    )
    assert name_off == "xla"
    assert name_on == ("native" if has_native() else "xla")
    assert bits_on == bits_off


@pytest.mark.slow
def test_two_processes_may_build_at_once(fake, tmp_path):
    compiler, log = fake
    env = {"CXX": str(compiler), "JAXLAB_CACHE": str(tmp_path / "cache")}
    runs = [start(["-m", "jaxlab.core.native"], **env) for _ in range(2)]
    first, second = (run.communicate()[0].split() for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert first == second
    paths = list(map(pathlib.Path, first))
    names = {path.name.partition("-")[0] for path in paths}
    assert names == {"nn", "transport", "trees"}
    assert all(path.read_text() == "built" for path in paths)
    assert set(paths[0].parent.iterdir()) == set(paths)
    assert len(paths) <= len(log.read_text().split()) <= 2 * len(paths)


@pytest.mark.slow
def test_the_command_that_builds_says_why_it_cannot(broken, tmp_path):
    env = {"CXX": str(broken), "JAXLAB_CACHE": str(tmp_path / "cache")}
    run = start(["-m", "jaxlab.core.native"], **env)
    out, error = run.communicate()
    assert run.returncode == 1
    assert not out
    assert "failed" in error
    assert "Traceback" not in error


def test_a_change_of_source_compiler_or_processor_is_another_kernel(
    monkeypatch, tmp_path
):
    sources = native._PACKAGES / "trees" / "kernels"
    copy = shutil.copytree(sources, tmp_path / "kernels")
    names = {native._fingerprint(name, sources) for name in ("g++", "clang++")}
    assert native._fingerprint("g++", copy) in names
    for file in ("split.h", "flags.txt"):
        with (copy / file).open("a") as stream:
            stream.write("// changed\n")
        names.add(native._fingerprint("g++", copy))
    shared = shutil.copytree(native._SHARED, tmp_path / "shared")
    monkeypatch.setattr(native, "_SHARED", shared)
    assert native._fingerprint("g++", copy) in names
    with (shared / "team.h").open("a") as stream:
        stream.write("// changed\n")
    names.add(native._fingerprint("g++", copy))
    monkeypatch.setattr(native, "processor_key", lambda: "another one")
    names.add(native._fingerprint("g++", copy))
    assert len(names) == 6
