"""Reading how to join the other processes."""

import jax
import pytest

from jaxlab.core.distributed import connect, is_main_process
from jaxlab.core.errors import InputError


@pytest.fixture
def calls(monkeypatch):
    """Record how `jax.distributed.initialize` is called."""
    calls = []

    def initialize(*args, **options):
        calls.append((args, options))

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    return calls


def test_no_text_is_a_single_process(calls):
    connect("")
    assert not calls
    assert is_main_process()


def test_auto_leaves_it_to_the_cluster(calls):
    connect("auto")
    assert calls == [((), {})]


def test_an_address_with_two_numbers_is_passed_on(calls):
    connect("10.0.0.1:1234,4,3")
    assert calls == [(("10.0.0.1:1234",), {"num_processes": 4, "process_id": 3})]


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "10.0.0.1",
        "10.0.0.1,2,0",
        "host:1",
        "host:1,2",
        "host:1,2,0,0",
        "host:1,2,x",
        "host:1,2,-1",
        "host:1,2,2",
        "host:1,0,0",
    ],
)
def test_any_other_text_is_an_error_that_shows_the_form(calls, text):
    with pytest.raises(InputError, match=r"HOST:PORT,PROCESSES,INDEX"):
        connect(text)
    assert not calls


def test_other_processes_are_not_the_main_one(monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert not is_main_process()
