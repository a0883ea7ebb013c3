"""Rules that hold for every file: it imports, says what it is, and stays short."""

import ast
import collections
import importlib
import inspect
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
LONGEST = {"jaxlab": 400, "experiments": 225}  # lines, jaxlab's to plan the cut at 300
MOST_FILES = 15  # in a folder of jaxlab
PEERS = {"torch", "tensorflow", "transformers", "safetensors"}
PEERS |= {"ot", "ott"}
PEERS |= {"xgboost", "lightgbm"}  # scikit-learn imports pandas where it is there
VAGUE = {"utils", "util", "helpers", "common", "misc", "base", "manager"}


def modules(folder):
    """The files of a package, and their names for import."""
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(
            ".__init__"
        ): file
        for file in sorted((ROOT / folder).rglob("*.py"))
    }


JAXLAB = modules("jaxlab")
EXPERIMENTS = modules("experiments")
BENCHMARKS = modules("benchmarks")


def public_objects(module):
    """The functions and classes that a module's `__all__` names and itself defines."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        is_object = inspect.isclass(value) or inspect.isfunction(value)
        if is_object and value.__module__ == module.__name__:
            yield name, value


def run(script, folder=ROOT):
    """Run a script in a fresh Python, and give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def test_every_module_imports_and_says_what_it_is_and_offers():
    wrong = []
    for name, file in JAXLAB.items():
        module = importlib.import_module(name)
        if not module.__doc__:
            wrong.append(f"{name} needs a docstring")
        if file.name != "__init__.py" and not module.__all__:
            wrong.append(f"{name} needs __all__")
        offered = getattr(module, "__all__", ())
        wrong += [f"{name} has no {p}" for p in offered if not hasattr(module, p)]
    assert wrong == []


def test_every_public_function_and_class_has_a_docstring():
    wrong = []
    for name in JAXLAB:
        for public, value in public_objects(importlib.import_module(name)):
            # A dataclass without one is given its signature.
            if not value.__doc__ or value.__doc__.startswith(f"{public}("):
                wrong.append(f"{name}.{public}")
    assert wrong == []


def test_files_and_folders_stay_small():
    lengths = {
        name: len(file.read_text().splitlines())
        for name, file in {**JAXLAB, **EXPERIMENTS}.items()
    }
    long = {n: k for n, k in lengths.items() if k > LONGEST[n.partition(".")[0]]}
    assert long == {}
    counts = collections.Counter(
        str(file.parent.relative_to(ROOT))
        for file in JAXLAB.values()
        if file.name != "__init__.py"
    )
    assert {folder: k for folder, k in counts.items() if k > MOST_FILES} == {}


def test_arguments_are_named_where_the_type_checker_sees_them():
    """No tuple is unpacked where it is written; in experiments, no mapping either."""
    wrong = []
    pages = {**EXPERIMENTS, **modules("docs")}
    for name, file in {**JAXLAB, **pages}.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            starred = [a.value for a in node.args if isinstance(a, ast.Starred)]
            if any(isinstance(value, ast.Tuple | ast.List) for value in starred):
                wrong.append(f"{name}:{node.lineno} unpacks a tuple")
            if name in pages and any(key.arg is None for key in node.keywords):
                wrong.append(f"{name}:{node.lineno} unpacks a mapping")
    assert wrong == []


def test_no_name_is_vague():
    names = (*JAXLAB, *EXPERIMENTS, *BENCHMARKS)
    assert [name for name in names if VAGUE & set(name.split("."))] == []


def test_tests_lie_where_their_modules_do():
    """A folder of tests mirrors a folder of jaxlab, or one at the top."""
    tests = ROOT / "tests"
    folders = {file.parent.relative_to(tests) for file in tests.rglob("test_*.py")}
    tops = (ROOT / "jaxlab", ROOT)
    lost = [f for f in folders if not any((top / f).is_dir() for top in tops)]
    assert lost == [pathlib.Path("soak")]


def test_experiments_and_benchmarks_import_and_do_nothing_by_that(tmp_path):
    names = [n for n in (*EXPERIMENTS, *BENCHMARKS) if not n.endswith("__main__")]
    script = f"""
import importlib
for name in {names}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {PEERS}:
            raise
import jax
jax.config.update("jax_num_cpu_devices", 3)  # refused once the devices are in use
"""
    assert run(script, tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_model_brings_no_optimiser_checkpoints_or_data_sets():
    script = """
import sys
import jaxlab.models.vision.vit
print(*{"optax", "orbax", "tensorflow_datasets", "grain", "sklearn"} & set(sys.modules))
"""
    assert run(script).split() == []


def test_jaxlab_needs_no_other_framework():
    script = f"""
import importlib, sys
for name in {list(JAXLAB)}:
    importlib.import_module(name)
print(*{PEERS} & set(sys.modules))
"""
    assert run(script).split() == []
