"""Padded sizes: enough, close, few, and the same for any number of devices."""

import numpy as np
import pytest

from jaxlab.trees.grow.layout import padded_rows

SIZES = np.unique(np.geomspace(1, 5e7, 4000).astype(int))


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_padded_rows_hold_all_rows_and_split_over_the_devices(devices):
    padded = np.array([padded_rows(int(size), devices) for size in SIZES])
    assert (padded >= SIZES).all()
    assert (padded % devices == 0).all()
    assert (np.diff(padded) >= 0).all()


def test_padding_is_an_eighth_at_most_beyond_small_tables():
    padded = np.array([padded_rows(int(size)) for size in SIZES])
    large = SIZES > 2048
    assert (padded[large] <= 1.126 * SIZES[large]).all()
    assert len(np.unique(padded)) < 150, "few sizes, so that programs are shared"


def test_sizes_are_the_same_for_one_two_four_and_eight_devices():
    for size in SIZES.tolist():
        assert len({padded_rows(size, devices) for devices in (1, 2, 4, 8)}) == 1


def test_three_devices_get_equal_parts():
    assert padded_rows(1000, 3) % 3 == 0
