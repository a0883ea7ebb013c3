"""Tests of `jaxlab.metrics.code_usage`."""

import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.metrics.code_usage import code_usage, count_codes


def test_even_use_of_all_codes():
    found = code_usage(count_codes(np.arange(512).reshape(2, 16, 16), 512))
    assert found["used_codes"] == 512
    assert found["usage"] == 1
    assert found["perplexity"] == pytest.approx(512, abs=1e-3)


def test_a_set_is_counted_and_not_its_batches():
    batches = np.arange(512).reshape(16, 32)
    counts = sum(count_codes(batch, 512) for batch in batches)
    assert code_usage(counts)["perplexity"] == pytest.approx(512, abs=1e-3)
    assert code_usage(count_codes(batches[0], 512))["perplexity"] == pytest.approx(32)


def test_some_codes():
    found = code_usage(np.array([2, 1, 1, 0]))
    assert found == {
        "used_codes": 3.0,
        "usage": 0.75,
        "perplexity": pytest.approx(2**1.5),
    }


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_of_no_code_is_refused(index):
    with pytest.raises(InputError, match=f"index {index} is that of no code"):
        count_codes(np.array([0, index]), 4)


@pytest.mark.parametrize("counts", [[0, 0], [1, -1], [1, np.nan]])
def test_what_counts_nothing_is_refused(counts):
    with pytest.raises(InputError, match="at least one example"):
        code_usage(np.array(counts))
