"""Comparing the folders of two runs."""

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxlab.core.pytree import flat_paths
from jaxlab.runs.checkpoint import Checkpoints
from jaxlab.runs.run_files import read_metrics


def last_arrays(folder):
    """Read the last state of a run, by path."""
    with Checkpoints(folder / "checkpoints") as checkpoints:
        path = folder.absolute() / "checkpoints" / str(checkpoints.latest_step())
    with ocp.PyTreeCheckpointer() as reader:
        saved = dict(reader.metadata(path / "state").item_metadata)
        as_numpy = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved
        )
        args = ocp.args.PyTreeRestore(saved, restore_args=as_numpy)
        return flat_paths(reader.restore(path / "state", args=args))


def assert_same_run(one, other, note=""):
    """Compare two runs: the bits of their last states, and their rows but for time."""
    expected, found = map(last_arrays, (one, other))
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=f"{path} {note}")
    expected, found = (
        [{**row, "seconds": 0} for row in read_metrics(folder)]
        for folder in (one, other)
    )
    assert found == expected
    for file in one.rglob("*.npz"):  # models, and what pictures are drawn of
        with np.load(file) as a, np.load(other / file.relative_to(one)) as b:
            assert set(a) == set(b)
            for name in a:
                np.testing.assert_array_equal(a[name], b[name], err_msg=name)
