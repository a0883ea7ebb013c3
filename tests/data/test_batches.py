"""Batches: resident, streamed, and for evaluation."""

import itertools
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxlab.core.batch import Rows, materialize
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh, shard_batch
from jaxlab.data import batches as module
from jaxlab.data.batches import (
    evaluation_batches,
    resident_batches,
    streamed_batches,
    training_batches,
)
from jaxlab.data.images.image_set import ArraySource
from jaxlab.data.order import Order

SIZE = 10

# Run as a script: worker processes import it anew.
WORKERS = """
import itertools
import numpy as np
from jaxlab.data.batches import streamed_batches
from jaxlab.data.images.find import ArraySource
from jaxlab.data.order import Order

if __name__ == "__main__":
    image = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    source = ArraySource(image, np.arange(10, dtype=np.int32))
    batches = streamed_batches(source, Order(10, 4, seed=1), workers=2)
    for batch in itertools.islice(batches(3), 7):
        print(*batch["label"])
"""


@pytest.fixture
def source():
    image = np.arange(SIZE, dtype=np.uint8).reshape(SIZE, 1, 1, 1)
    return ArraySource(image, np.arange(SIZE, dtype=np.int32))


def labels(batches, count):
    """The labels of the first batches, which are the row numbers."""
    found = [materialize(batch) for batch in itertools.islice(batches, count)]
    for batch in found:
        assert batch["image"].dtype == np.uint8
        assert batch["label"].dtype == np.int32
        np.testing.assert_array_equal(batch["image"].ravel(), batch["label"])
    return [np.asarray(batch["label"]).tolist() for batch in found]


@pytest.mark.parametrize("start", [0, 1, 12345])
def test_resident_and_streamed_give_the_rows_of_the_order_from_any_step(source, start):
    order = Order(SIZE, 4, seed=1)
    expected = [order(start + step).tolist() for step in range(7)]
    resident = resident_batches(source, order, make_mesh("data=2"))
    assert labels(resident(start), 7) == expected
    assert labels(streamed_batches(source, order)(start), 7) == expected


@pytest.mark.slow
def test_two_worker_processes_give_the_same_rows_in_the_same_order(tmp_path):
    script = tmp_path / "stream.py"
    script.write_text(WORKERS)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, script],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    order = Order(SIZE, 4, seed=1)
    expected = [order(step).tolist() for step in range(3, 10)]
    assert [[*map(int, line.split())] for line in done.stdout.splitlines()] == expected


def test_the_data_set_is_on_the_devices_once_and_steps_send_row_numbers(source):
    batches = resident_batches(source, Order(SIZE, 4), make_mesh("data=4"))
    first, second = itertools.islice(batches(0), 2)
    assert isinstance(first, Rows)
    assert first.arrays["image"] is second.arrays["image"]
    assert first.arrays["image"].sharding.is_fully_replicated
    assert len(first.arrays["image"].devices()) == 4


def test_a_step_over_four_devices_gathers_the_rows_of_the_order(source):
    mesh = make_mesh("data=4")
    order = Order(SIZE, 8)
    batch = next(resident_batches(source, order, mesh)(2))
    gathered = jax.jit(materialize)(shard_batch(batch, mesh))
    assert gathered["label"].tolist() == order(2).tolist()


def test_small_sets_stay_on_the_device_and_large_ones_stream(source, monkeypatch):
    order, mesh = Order(SIZE, 4), make_mesh("data=1")
    assert isinstance(next(training_batches(source, order, mesh)(0)), Rows)
    streamed = next(training_batches(source, order, mesh, workers=0)(0))
    assert isinstance(streamed["image"], np.ndarray)
    # 1 + 4 bytes a row, once for each of the four virtual devices
    monkeypatch.setattr(module, "_FITS_ON_DEVICE", SIZE * 5 * 4 - 1)
    streamed = next(training_batches(source, order, mesh)(0))
    assert isinstance(streamed["image"], np.ndarray)


def test_fewer_than_no_workers_is_an_error(source):
    with pytest.raises(InputError, match="workers -1 must be 0"):
        streamed_batches(source, Order(SIZE, 4), workers=-1)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=1", "data=4", "data=2,fsdp=2", "tensor=4"])
@pytest.mark.parametrize("batch_size", [3, 5, 64])
@pytest.mark.parametrize("fits", [True, False])
def test_evaluation_gives_every_example_once_in_order(
    source, mesh, batch_size, fits, monkeypatch
):
    if not fits:
        monkeypatch.setattr(module, "_FITS_ON_DEVICE", 0)
    mesh = make_mesh(mesh)
    batches = evaluation_batches(source, batch_size, mesh)
    for _ in range(2):  # anew each time
        seen = []
        for batch, size in batches():
            found = materialize(shard_batch(batch, mesh))["label"]
            assert len(found) % mesh.size == 0
            assert len(found) >= batch_size
            assert (found[size:] == SIZE - 1).all()
            seen += found[:size].tolist()
        assert seen == list(range(SIZE))
