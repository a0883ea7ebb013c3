"""Every histogram implementation against one naive double loop, to the last bit."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees.grow import histogram
from jaxlab.trees.grow.histogram import (
    IMPLEMENTATIONS,
    build_histograms,
    choose,
    is_by_rows,
)
from jaxlab.trees.native import has_native

ROWS, SLOTS, EMPTY = 700, 5, 2


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def naive(bins, values, slot, num_bins):
    """Add up row by row, feature by feature."""
    found = np.zeros((SLOTS, bins.shape[1], num_bins, values.shape[1]), np.int64)
    for row, node in enumerate(slot):
        if node < SLOTS:
            for feature, bin in enumerate(bins[row]):
                found[node, feature, bin] += values[row]
    return found


def make(rng, num_features, num_bins, channels, rows=ROWS):
    """Rows of all slots but one; some rows belong to none, some far above."""
    bins = rng.integers(0, num_bins, (rows, num_features)).astype(np.uint8)
    values = rng.integers(-(2**38), 2**38, (rows, channels))
    slot = rng.choice([0, 1, 3, 4, SLOTS, SLOTS + 3], rows).astype(np.int32)
    return bins, values, slot


def build(name, bins, values, slot, num_bins):
    if name == "native" and not has_native():
        pytest.skip("no compiled kernels here")
    placed = bins if is_by_rows(name) else np.ascontiguousarray(bins.T)
    arrays = map(jnp.asarray, (placed, values, slot))
    return np.asarray(
        build_histograms(
            *arrays, num_slots=SLOTS, num_bins=num_bins, implementation=name
        )
    )


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("num_features", "num_bins", "channels"),
    list(itertools.product((1, 31), (17, 256), (2, 3))),
)
def test_histograms_are_those_of_a_double_loop(
    rng, name, num_features, num_bins, channels
):
    given = make(rng, num_features, num_bins, channels)
    found = build(name, *given, num_bins)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, naive(*given, num_bins))
    assert not found[EMPTY].any()


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_count_as_well(rng, name, rows):
    given = make(rng, 3, 17, 2, rows)
    np.testing.assert_array_equal(build(name, *given, 17), naive(*given, 17))


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_rows_of_no_slot_leave_nothing(rng, name):
    bins, values, slot = make(rng, 3, 17, 2)
    assert not build(name, bins, values, np.full_like(slot, SLOTS), 17).any()


@pytest.mark.parametrize("slab", [1, 64, 699, 700, 701])
def test_slabs_do_not_matter(rng, monkeypatch, slab):
    bins, values, slot = make(rng, 3, 17, 2)
    if slab == 1:
        bins, values, slot = bins[:9], values[:9], slot[:9]
    monkeypatch.setattr(histogram, "_SLAB", slab)
    found = build("flat", bins, values, slot, 17)
    np.testing.assert_array_equal(found, naive(bins, values, slot, 17))


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_the_sibling_is_the_parent_less_the_child(rng, name):
    bins, values, slot = make(rng, 31, 17, 2)
    parent = build(name, bins, values, np.zeros_like(slot), 17)[0]
    children = build(name, bins, values, (slot > 1).astype(np.int32), 17)
    np.testing.assert_array_equal(parent - children[0], children[1])


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_each_feature_has_the_same_total(rng, name):
    bins, values, slot = make(rng, 31, 17, 2)
    totals = build(name, bins, values, slot, 17).sum(2)
    for node in range(SLOTS):
        expected = values[slot == node].sum(0)
        np.testing.assert_array_equal(totals[node], np.tile(expected, (31, 1)))


def test_an_unknown_implementation_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match="'cuda' is not one of auto, native, xla, flat"
    ):
        choose("cuda")


@pytest.mark.parametrize("name", ["xla", "flat"])
def test_a_name_is_taken_at_its_word(name):
    assert choose(name) == name


@pytest.mark.parametrize(
    ("backend", "native", "expected"),
    [("cpu", True, "native"), ("cpu", False, "xla"), ("gpu", False, "flat")],
)
def test_the_device_chooses_by_default(monkeypatch, backend, native, expected):
    monkeypatch.setattr(histogram, "has_native", lambda: native)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert choose() == choose("auto") == expected


def test_kernels_that_are_not_there_are_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(histogram, "has_native", lambda: False)
    with pytest.raises(InputError, match=r"python -m jaxlab.core.native.*'xla'"):
        choose("native")
