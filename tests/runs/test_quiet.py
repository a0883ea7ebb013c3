"""A failed write is told once, and nothing else is left out."""

import errno
import logging

import pytest

from jaxlab.runs.quiet import quieten_orbax

LOST = "Future exception was never retrieved"


def record(text, error=None):
    info = error and (type(error), error, None)
    return logging.LogRecord("asyncio", logging.ERROR, "", 0, text, (), info)


@pytest.mark.parametrize(
    ("text", "error", "is_told"),
    [
        (f"{LOST} orbax-checkpoint-tmp", None, False),
        (LOST, OSError(errno.ENOSPC, "No space left on device"), False),
        (LOST, OSError(errno.ENOENT, "No such file"), True),
        (LOST, ZeroDivisionError(), True),
        ("Executing took 3 seconds", OSError(errno.ENOSPC, "full"), True),
    ],
)
def test_only_echoes_of_a_failed_write_are_left_out(text, error, is_told):
    quieten_orbax()
    assert bool(logging.getLogger("asyncio").filter(record(text, error))) == is_told
