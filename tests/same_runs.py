"""Comparing the folders of two runs."""

import jax
import numpy as np
import orbax.checkpoint as ocp
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

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


def read_events(folder):
    """Return the rows of all event files, their checksums verified."""
    rows = []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        content = file.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            data, crc = content[12 : 12 + size], content[12 + size : 16 + size]
            assert int.from_bytes(crc, "little") == masked_crc32c(data)
            content = content[16 + size :]
            event = Event.FromString(data)
            if event.summary.value:
                values = {
                    value.tag: value.simple_value for value in event.summary.value
                }
                rows.append({"step": event.step, **values})
    return rows


def assert_events_whole(folder):
    """Compare the event files of a run with its rows, in TensorBoard's float32."""
    rows = [
        {name: value if name == "step" else np.float32(value) for name, value in row}
        for row in map(dict.items, read_metrics(folder))
    ]
    assert read_events(folder / "tensorboard") == rows
