"""Evaluation sees every example once."""

import numpy as np
import pytest

from jaxlab.core.mesh import make_mesh
from jaxlab.data.images.image_set import ArraySource
from jaxlab.train.evaluate import make_collector, means, once_per_state


def per_example(state, batch):
    value = state * batch["image"].astype(np.float32).sum((1, 2, 3))
    return {"value": value, "label": batch["label"]}


@pytest.mark.parametrize("mesh", ["data=1", "data=2,fsdp=2"])
@pytest.mark.parametrize("batch_size", [3, 8, 64])
def test_values_come_in_order_and_without_padding(rng, mesh, batch_size):
    mesh = make_mesh(mesh)
    images = rng.integers(0, 255, (13, 2, 2, 1), dtype=np.uint8)
    source = ArraySource(images, np.arange(13, dtype=np.int32))
    collect = make_collector(per_example, source, mesh, batch_size=batch_size)
    values = collect(np.float32(2))
    np.testing.assert_array_equal(values["label"], np.arange(13))
    np.testing.assert_array_equal(values["value"], 2.0 * images.sum((1, 2, 3)))


def test_the_same_state_is_evaluated_once():
    images = np.ones((2, 1, 1, 1), np.uint8)
    source = ArraySource(images, np.arange(2, dtype=np.int32))
    collect = make_collector(per_example, source, make_mesh("data=1"))
    state = np.float32(1)
    found = collect(state)
    assert collect(state) is found
    assert collect(np.float32(1)) is not found


def test_a_state_is_measured_once_an_equal_one_anew():
    calls = []

    @once_per_state
    def measure(state, *rest, **options):
        calls.append((rest, options))
        return {"sum": state.sum()}

    state = np.ones(3)
    assert measure(state, 1, name="a") is measure(state)
    assert calls == [((1,), {"name": "a"})]
    assert measure(state.copy()) == {"sum": 3}
    measure(state)
    assert len(calls) == 3


def test_means_are_taken_in_double_precision():
    # Summed in float32, 1e8 would swallow the ones.
    values = {"loss": np.array([1e8] + [1.0] * 999, np.float32)}
    assert means(values, "loss") == {"loss": (1e8 + 999) / 1000}
